"""A visitor who asks too often is told how long to wait."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fakes import FakePipeline, served
from playwright.sync_api import Browser, expect
from visitor import Visits


@pytest.fixture(scope="module")
def url(browser: Browser, fake: FakePipeline) -> Iterator[str]:
    """A server with a low rate; the only one of this module, for Gradio can't build a page while another answers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRI_RATE", "4/minute")
        with served(fake) as address:
            yield address


def test_an_address_that_asks_too_often_is_told_how_long_to_wait(visit: Visits):
    page = visit()
    page.context.set_extra_http_headers({"X-Forwarded-For": "9.9.9.9"})
    page.locator("[data-example]").first.click()
    expect(page.locator("#verdict h2")).to_contain_text("Resembles")
    expect(page.locator(".toast-body").first).to_contain_text("at most 4 in a minute. Wait")
    expect(page.locator("#way .progress-text")).to_be_hidden()
    expect(page.locator("#verdict h2")).to_contain_text("Resembles")
    assert visit.troubles
    assert all("429" in trouble or "Too many requests" in trouble for trouble in visit.troubles)
    visit.troubles.clear()
