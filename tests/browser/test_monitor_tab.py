"""The Monitor tab in a real browser: play a drift, hear the alarm, reset; on a phone, by keyboard, in both themes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import FakePipeline, served
from playwright.sync_api import Browser, Page, expect, sync_playwright
from streams import weights

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}"),
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with served(FakePipeline(weights(tmp_path_factory.mktemp("weights")))) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


def monitor(browser: Browser, address: str, width: int = 1280) -> Page:
    page = browser.new_context(viewport={"width": width, "height": 900}).new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    page.get_by_role("tab", name="Monitor").click()
    page.locator("#live .mon-glance").wait_for()
    return page


def test_a_played_drift_rings_and_is_reset(browser: Browser, url: str):
    page = monitor(browser, url)
    expect(page.locator("#live h2")).to_have_text("Too little data")
    page.locator("#play").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#played")).to_contain_text("The alarm rang within", timeout=60_000)
    expect(page.locator("#played .mon-plot").first).to_be_visible()
    page.locator("#reset").click()
    expect(page.locator("#played .mon-glance")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scroll(browser: Browser, url: str, theme: str):
    page = monitor(browser, f"{url}/?__theme={theme}", width=390)
    page.locator("#play").click()
    page.locator("#played .mon-chips").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
