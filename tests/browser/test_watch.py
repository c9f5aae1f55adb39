"""The watch that all browser tests stand on sees what it must; the page calls nobody and says nothing wrong."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect
from visitor import TABS, Visits, open_tab


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("console.error('broken')", "console: broken"),
        ("setTimeout(() => { throw new Error('broken'); })", "exception: broken"),
        ("fetch('https://example.org/x').catch(() => 0)", "Content Security Policy"),
        ("document.body.append(Object.assign(document.createElement('p'), {className: 'toast-body'}))", "message"),
    ],
)
def test_the_watch_sees(visit: Visits, script: str, said: str):
    page = visit("About")
    page.evaluate(script)
    page.wait_for_function("new Promise((done) => setTimeout(done))")  # the page has had its turn
    visit.end()
    assert any(said in trouble for trouble in visit.troubles)
    visit.troubles.clear()


def test_every_tab_is_quiet(visit: Visits):
    page = visit()
    for tab in TABS:
        open_tab(page, tab)
    page.get_by_role("button", name="Use it from a program").click()  # ends on the tab About
    expect(page.get_by_role("heading", name="Call it from a program")).to_be_in_viewport()
