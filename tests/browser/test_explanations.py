"""Explanations side by side: two maps at first, all five on demand, badges that tell them apart; phone, keyboard."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import scan_png
from playwright.sync_api import Browser, Page, expect
from test_journey import CHROMIUM, browser, keep, upload, url, visit  # noqa: F401

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}"),
]

PATIENCE = 60_000  # ms: five maps are five events, and CI's cores are shared


def tiles(page: Page) -> list[str]:
    return page.locator("#maps [data-method]").evaluate_all("figures => figures.map(figure => figure.dataset.method)")


def test_all_methods_stand_side_by_side_with_their_badges(browser: Browser, url: str, tmp_path: Path):  # noqa: F811
    page = visit(browser, url)
    upload(page, "mine.png", scan_png("glioma"))
    expect(page.locator("#maps .mri-badge.is-passed")).to_have_count(2, timeout=PATIENCE)
    assert tiles(page) == ["integrated_gradients", "grad_cam"]

    page.get_by_role("button", name="Compare with LayerCAM, SHAP and Occlusion").click()
    expect(page.locator("#maps [data-method] img")).to_have_count(5, timeout=PATIENCE)
    expect(page.locator('[data-method="layer_cam"] .mri-badge')).to_have_text("Fails on test patients")
    expect(page.locator('[data-method="occlusion"] .mri-badge')).to_have_text("Read with care")
    expect(page.locator("#compare")).to_be_hidden()
    expect(page.locator("#note")).to_contain_text("The map adds up")  # the large picture stays as it was
    assert page.locator('#maps [data-method] img:not([alt*="red regions speak for glioma"])').count() == 0
    keep(page, "maps", tmp_path)


def test_the_next_image_starts_afresh_and_a_refusal_has_no_maps(browser: Browser, url: str):  # noqa: F811
    page = visit(browser, url)
    upload(page, "mine.png", scan_png("glioma"))
    page.locator("#compare").click()
    expect(page.locator("#maps [data-method] img")).to_have_count(5, timeout=PATIENCE)

    upload(page, "next.png", scan_png("healthy"))
    expect(page.locator("#maps .mri-badge.is-passed")).to_have_count(2, timeout=PATIENCE)
    expect(page.locator("#maps")).to_contain_text("no tumour pattern")
    assert len(tiles(page)) == 2
    upload(page, "photo.png", scan_png("photo"))
    expect(page.locator("#maps")).to_be_hidden()
    expect(page.locator("#compare")).to_be_hidden()


def test_a_phone_and_the_keyboard_are_enough(browser: Browser, url: str, tmp_path: Path):  # noqa: F811
    page = visit(browser, url, width=390, height=844)
    upload(page, "mine.png", scan_png("glioma"))
    page.locator("#compare").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#maps [data-method] img")).to_have_count(5, timeout=PATIENCE)

    page.locator('[data-method="occlusion"] summary').focus()
    page.keyboard.press("Enter")
    expect(page.locator('[data-method="occlusion"] .mri-reasons')).to_contain_text("no faster than a random order")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    keep(page, "maps-phone", tmp_path)
