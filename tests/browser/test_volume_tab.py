"""The Volume tab in a real browser: upload, planes, overlays, the viewer with software WebGL2, phone, refusal."""

from __future__ import annotations

import base64
import gzip
from collections.abc import Callable

import nibabel
import numpy as np
import pytest
from playwright.sync_api import Page, expect
from visitor import Visits, sideways, upload_volume
from volume_cases import brain_nifti

TUMOUR_SCAN = brain_nifti(["glioma"] * 9)


def greys(page: Page, plane: str) -> list[int]:
    """The red channel of a plane's canvas, every 7th pixel."""
    return page.evaluate(
        """(plane) => { const c = document.querySelector(`.vol-plane[data-plane="${plane}"] canvas`);
        return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 28 === 0); }""",
        plane,
    )


def test_a_visitor_uploads_browses_and_takes_the_mask_away(visit: Visits, keep: Callable[[Page, str], None]):
    page = visit("Volume")
    upload_volume(page, "mine.nii.gz", TUMOUR_SCAN)
    expect(page.locator("#vol-verdict h2")).to_contain_text("Resembles: glioma pattern")
    expect(page.locator("#vol-verdict")).to_contain_text("Not a medical device")
    expect(page.locator("#vol-way li.is-passed")).to_have_count(5)
    page.locator(".vol-view[data-ready]").wait_for()
    expect(page.locator(".vol-plane")).to_have_count(3)

    axial = page.get_by_label("Axial slice", exact=True)
    expect(page.locator('.vol-plane[data-plane="axial"] output')).to_have_text("5 of 9")
    axial.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator('.vol-plane[data-plane="axial"] output')).to_have_text("6 of 9")
    page.locator("#vol-plot .vol-hit").nth(1).click()
    expect(page.locator('.vol-plane[data-plane="axial"] output')).to_have_text("2 of 9")

    tinted = greys(page, "axial")
    page.locator("[data-label]").uncheck()
    assert greys(page, "axial") != tinted
    expect(page.locator("#vol-measures")).to_contain_text("ml")
    keep(page, "volume-desktop")

    link = page.locator("#vol-verdict a[download='mine.mask.nii.gz']").get_attribute("href")
    mask = nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(link.partition(",")[2])))
    original = nibabel.Nifti1Image.from_bytes(gzip.decompress(TUMOUR_SCAN))
    assert mask.shape == original.shape
    np.testing.assert_allclose(mask.affine, original.affine)


def test_the_viewer_draws_the_volume_from_our_own_server(visit: Visits):
    page = visit("Volume")
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    upload_volume(page, "mine.nii.gz", TUMOUR_SCAN)
    page.locator(".vol-view[data-ready]").wait_for()
    assert not any("niivue" in address for address in asked)  # loaded when asked for
    page.get_by_role("button", name="3D viewer").click()
    page.locator(".vol-viewer[data-ready]").wait_for()
    expect(page.locator(".vol-viewer p")).to_contain_text("NiiVue")
    assert any(address.endswith("/viewer/niivue.js") for address in asked)
    picture = page.locator(".vol-viewer canvas").screenshot()
    assert len(picture) > 15_000  # an empty canvas compresses to less


def test_without_webgl_the_planes_stay(visit: Visits):
    page = visit("Volume")
    page.evaluate(
        """() => { const get = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
          return kind.startsWith('webgl') ? null : get.call(this, kind, ...rest); }; }"""
    )
    upload_volume(page, "mine.nii.gz", TUMOUR_SCAN)
    page.locator(".vol-view[data-ready]").wait_for()
    page.get_by_role("button", name="3D viewer").click()
    expect(page.locator(".vol-viewer p")).to_contain_text("no WebGL2")
    page.get_by_role("button", name="Three planes").click()
    expect(page.locator(".vol-planes")).to_be_visible()


def test_a_broken_archive_is_refused_with_its_reason(visit: Visits):
    page = visit("Volume")
    upload_volume(page, "series.zip", b"PK\x03\x04 no archive")
    expect(page.locator("#vol-verdict h2")).to_have_text("Refused: not a readable volume")
    expect(page.locator("#vol-verdict")).to_contain_text("damaged or cut short")
    expect(page.locator(".vol-view")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scroll(visit: Visits, theme: str, keep: Callable[[Page, str], None]):
    page = visit("Volume", width=390, height=844, theme=theme)
    upload_volume(page, "mine.nii.gz", TUMOUR_SCAN)
    page.locator(".vol-view[data-ready]").wait_for()
    assert sideways(page) <= 0
    keep(page, f"volume-phone-{theme}")


def test_a_phone_is_shown_start_and_end_and_only_the_end_is_read_aloud(visit: Visits):
    page = visit("Volume", width=390, height=844)
    page.evaluate(
        "Element.prototype.scrollIntoView = function () { (window.asked ??= []).push(this.id); }"
    )  # Gradio scrolls too
    page.evaluate(
        """() => { window.aloud = new Set();
        const verdict = document.getElementById('vol-verdict');
        new MutationObserver(() => {
          const shown = verdict.querySelector('.mri-verdict');
          if (shown) window.aloud.add(`${shown.className}: ${shown.closest('[aria-live]').ariaLive}`);
        }).observe(verdict, { childList: true, subtree: true }); }"""
    )
    upload_volume(page, "mine.nii.gz", TUMOUR_SCAN)
    page.locator(".vol-view[data-ready]").wait_for()
    assert [name for name in page.evaluate("window.asked") if name] == ["vol-way"] * 2
    aloud = page.evaluate("[...window.aloud]")
    assert "mri-verdict vol-progress: off" in aloud
    assert "mri-verdict is-passed: polite" in aloud


def test_the_examples_are_offered_and_open(visit: Visits):
    page = visit("Volume")
    page.locator('#vol-gallery [data-example="21_brain_t1.nii.gz"]').click()
    expect(page.locator("#vol-verdict .mri-kicker")).to_contain_text("21_brain_t1.nii.gz")
    page.locator(".vol-view[data-ready]").wait_for()
    assert max(greys(page, "sagittal")) > 100
