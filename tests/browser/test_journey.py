"""One visitor in a real browser: example, map, upload, refusal, phone, dark mode, keyboard."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import scan_png, served
from playwright.sync_api import Browser, Page, expect, sync_playwright

CHROMIUM = Path("/usr/bin/chromium")
SHOTS = os.environ.get("MRI_SCREENSHOTS")  # a folder to keep the pictures in
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}"),
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        yield chromium
        chromium.close()


def visit(browser: Browser, address: str, width: int = 1280, height: int = 900) -> Page:
    page = browser.new_context(viewport={"width": width, "height": height}).new_page()
    page.set_default_timeout(60_000)
    page.goto(address)
    page.locator("[data-example]").first.wait_for()
    return page


def upload(page: Page, name: str, data: bytes) -> None:
    page.locator("#drop input[type=file]").set_input_files({"name": name, "mimeType": "image/png", "buffer": data})
    expect(page.locator("#verdict .mri-kicker")).to_contain_text(name)


def keep(page: Page, name: str, tmp_path: Path) -> None:
    picture = page.screenshot(path=Path(SHOTS or tmp_path) / f"{name}.png", full_page=True)
    assert len(picture) > 20_000  # an empty page compresses to less


def test_a_visitor_tries_an_example_then_an_own_image(browser: Browser, url: str, tmp_path: Path):
    page = visit(browser, url)
    foreign: list[str] = []
    page.on("request", lambda request: foreign.append(request.url) if "127.0.0.1" not in request.url else None)

    page.locator('[data-example="01_brain_t1_axial.png"]').click()
    expect(page.locator("#verdict h2")).to_contain_text("Resembles")
    expect(page.locator(".mri-way li.is-passed")).to_have_count(5)
    expect(page.locator("#note")).to_contain_text("The map adds up", timeout=30_000)

    page.locator("#method").get_by_text("Grad-CAM", exact=True).click()
    expect(page.locator("#note")).to_contain_text("no check of completeness")

    upload(page, "mine.png", scan_png("doubt"))
    expect(page.locator("#verdict h2")).to_have_text("Unable to determine")
    expect(page.locator("#verdict")).to_contain_text("Not a medical device")
    keep(page, "desktop", tmp_path)
    assert [address for address in foreign if not address.startswith(("data:", "blob:"))] == []


def test_a_broken_file_is_refused_where_it_stopped(browser: Browser, url: str):
    page = visit(browser, url)
    upload(page, "notes.png", b"no picture at all")
    expect(page.locator("#verdict h2")).to_have_text("Refused: not a readable image")
    expect(page.locator(".mri-way li").first).to_have_class("is-stopped")
    expect(page.locator(".mri-stage")).to_have_count(0)


def test_the_keyboard_is_enough(browser: Browser, url: str):
    page = visit(browser, url)
    page.locator("[data-example]").first.focus()
    page.keyboard.press("Enter")
    divider = page.get_by_label("Uncover the plain image")
    divider.focus()
    page.keyboard.press("End")
    expect(page.locator(".mri-over")).to_have_css("clip-path", "inset(0px 0px 0px 100%)")
    page.get_by_label("Strength of the colours").focus()
    page.keyboard.press("Home")
    expect(page.locator(".mri-over")).to_have_css("opacity", "0")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scroll(browser: Browser, url: str, theme: str, tmp_path: Path):
    page = visit(browser, f"{url}/?__theme={theme}", width=390, height=844)
    upload(page, "mine.png", scan_png("glioma"))
    page.locator(".mri-over").wait_for()
    for tab in ("Analyse", "Models", "About"):
        page.get_by_role("tab", name=tab).click()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.get_by_role("tab", name="Analyse").click()
    expect(page.locator(".mri-over")).to_be_visible()
    keep(page, f"phone-{theme}", tmp_path)


def test_the_models_tab_shows_the_chosen_card(browser: Browser, url: str):
    page = visit(browser, url)
    page.get_by_role("tab", name="Models").click()
    page.get_by_text("Brain patterns", exact=True).click()
    expect(page.locator("#card h1")).to_have_text("diagnosis/brain")
