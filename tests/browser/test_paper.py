"""A visitor opens the report, tells something, switches the language and takes the PDF away; no file is left behind."""

from __future__ import annotations

from pathlib import Path

from fakes import scan_png
from playwright.sync_api import Page, expect
from visitor import Visits, sideways, upload


def open_report(page: Page) -> None:
    page.locator("#paper").get_by_role("button", name="Report").click()
    page.locator(".mri-paper").wait_for()


def test_a_visitor_takes_a_german_report_away(visit: Visits):
    page = visit()
    upload(page, "mine.png", scan_png("healthy"))
    open_report(page)
    page.get_by_text("Tell something about the person").click()
    page.get_by_label("seizure").check()
    expect(page.locator(".mri-paper")).to_contain_text("Symptom: seizure.")
    page.get_by_label("Deutsch").check()
    expect(page.locator(".mri-paper")).to_contain_text("Beschwerde: Krampfanfall.")
    expect(page.get_by_label("Kopfschmerz")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="PDF").click()
    assert download.value.suggested_filename == "mine.report.pdf"
    assert Path(download.value.path()).read_bytes().startswith(b"%PDF-")


def test_the_report_follows_the_next_image_and_a_phone_shows_it(visit: Visits):
    page = visit(width=390, height=844)
    upload(page, "mine.png", scan_png("healthy"))
    open_report(page)
    upload(page, "notes.png", b"no picture at all")
    expect(page.locator(".mri-paper")).to_contain_text("Repeat with the image exported anew")
    assert sideways(page) <= 0


def test_the_report_needs_no_mouse(visit: Visits):
    page = visit()
    upload(page, "mine.png", scan_png("photo"))
    page.locator("#paper").get_by_role("button", name="Report").focus()
    page.keyboard.press("Enter")
    page.locator(".mri-paper").wait_for()
    page.get_by_label("Deutsch").focus()
    page.keyboard.press("Space")
    expect(page.locator(".mri-paper")).to_have_attribute("lang", "de")
    page.get_by_role("link", name="PDF").focus()
    with page.expect_download():
        page.keyboard.press("Enter")
