"""Explanations side by side: two maps at first, all of them on demand, badges that tell them apart; phone, keyboard."""

from __future__ import annotations

from collections.abc import Callable

from fakes import scan_png
from playwright.sync_api import Page, expect
from visitor import Visits, sideways, upload

from mri_models.explain import METHODS


def tiles(page: Page) -> list[str]:
    return page.locator("#maps [data-method]").evaluate_all("figures => figures.map(figure => figure.dataset.method)")


def test_all_methods_stand_side_by_side_with_their_badges(visit: Visits, keep: Callable[[Page, str], None]):
    page = visit()
    upload(page, "mine.png", scan_png("glioma"))
    expect(page.locator("#maps .mri-badge.is-passed")).to_have_count(2)
    assert tiles(page) == ["integrated_gradients", "grad_cam"]

    page.get_by_role("button", name="Compare with LayerCAM, Consensus, SHAP and Occlusion").click()
    expect(page.locator("#maps [data-method] img")).to_have_count(len(METHODS))
    expect(page.locator('[data-method="layer_cam"] .mri-badge')).to_have_text("Fails on test patients")
    expect(page.locator('[data-method="occlusion"] .mri-badge')).to_have_text("Read with care")
    expect(page.locator("#compare")).to_be_hidden()
    expect(page.locator("#note")).to_contain_text("The map adds up")  # the large picture stays as it was
    assert page.locator('#maps [data-method] img:not([alt*="red regions speak for glioma"])').count() == 0
    keep(page, "maps")


def test_the_next_image_starts_afresh_and_a_refusal_has_no_maps(visit: Visits):
    page = visit()
    upload(page, "mine.png", scan_png("glioma"))
    page.locator("#compare").click()
    expect(page.locator("#maps [data-method] img")).to_have_count(len(METHODS))

    upload(page, "next.png", scan_png("healthy"))
    expect(page.locator("#maps .mri-badge.is-passed")).to_have_count(2)
    expect(page.locator("#maps")).to_contain_text("no tumour pattern")
    assert len(tiles(page)) == 2
    upload(page, "photo.png", scan_png("photo"))
    expect(page.locator("#maps")).to_be_hidden()
    expect(page.locator("#compare")).to_be_hidden()


def test_a_phone_and_the_keyboard_are_enough(visit: Visits, keep: Callable[[Page, str], None]):
    page = visit(width=390, height=844)
    upload(page, "mine.png", scan_png("glioma"))
    page.locator("#compare").focus()
    page.keyboard.press("Enter")
    expect(page.locator("#maps [data-method] img")).to_have_count(len(METHODS))

    page.locator('[data-method="occlusion"] summary').focus()
    page.keyboard.press("Enter")
    expect(page.locator('[data-method="occlusion"] .mri-reasons')).to_contain_text("no faster than a random order")
    assert sideways(page) <= 0
    keep(page, "maps-phone")
