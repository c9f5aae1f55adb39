"""One visitor in a real browser: example, map, upload, refusal, phone, dark mode, cards."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fakes import scan_png
from playwright.sync_api import Page, expect
from visitor import TABS, Visits, open_tab, sideways, upload


def test_a_visitor_tries_an_example_then_an_own_image(visit: Visits, keep: Callable[[Page, str], None]):
    page = visit()
    page.locator('[data-example="01_brain_t1_axial.png"]').click()
    expect(page.locator("#verdict h2")).to_contain_text("Resembles")
    expect(page.locator(".mri-way li.is-passed")).to_have_count(5)
    expect(page.locator("#note")).to_contain_text("The map adds up")

    page.locator("#method").get_by_text("Grad-CAM", exact=True).click()
    expect(page.locator("#note")).to_contain_text("no check of completeness")

    upload(page, "mine.png", scan_png("doubt"))
    expect(page.locator("#verdict h2")).to_have_text("Unable to determine")
    expect(page.locator("#verdict")).to_contain_text("Not a medical device")
    keep(page, "desktop")


def test_a_broken_file_is_refused_where_it_stopped(visit: Visits):
    page = visit()
    upload(page, "notes.png", b"no picture at all")
    expect(page.locator("#verdict h2")).to_have_text("Refused: not a readable image")
    expect(page.locator("#way li").first).to_have_class("is-stopped")
    expect(page.locator(".mri-stage")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scroll(visit: Visits, theme: str, keep: Callable[[Page, str], None]):
    page = visit(width=390, height=844, theme=theme)
    upload(page, "mine.png", scan_png("glioma"))
    page.locator(".mri-over").first.wait_for()
    for tab in TABS:
        open_tab(page, tab)
        assert sideways(page) <= 0
    open_tab(page, "Analyse")
    expect(page.locator("#view .mri-over")).to_be_visible()
    keep(page, f"phone-{theme}")


def test_the_models_tab_shows_the_chosen_card(visit: Visits):
    page = visit("Models")
    page.get_by_text("Brain patterns", exact=True).click()
    expect(page.locator("#card h1")).to_have_text("diagnosis/brain")
