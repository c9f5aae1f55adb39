"""The Monitor tab in a real browser: play a drift, hear the alarm, reset; on a phone, by keyboard, in both themes."""

from __future__ import annotations

import pytest
from fakes import FakePipeline
from playwright.sync_api import expect
from streams import weights
from visitor import Visits, sideways


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> FakePipeline:
    return FakePipeline(weights(tmp_path_factory.mktemp("weights")))


def test_a_played_drift_rings_and_is_reset(visit: Visits):
    page = visit("Monitor")
    expect(page.locator("#live h2")).to_have_text("Too little data")
    page.locator("#play").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#played")).to_contain_text("The alarm rang within")
    expect(page.locator("#played .mon-plot").first).to_be_visible()
    page.locator("#reset").click()
    expect(page.locator("#played .mon-glance")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scroll(visit: Visits, theme: str):
    page = visit("Monitor", width=390, theme=theme)
    page.locator("#play").click()
    page.locator("#played .mon-chips").first.wait_for()
    assert sideways(page) <= 0
