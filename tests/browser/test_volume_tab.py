"""The Volume tab in a real browser: upload, planes, overlays, the viewer with software WebGL2, phone, refusal."""

from __future__ import annotations

import base64
import gzip
import os
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from fakes import FakePipeline, served
from playwright.sync_api import Browser, Page, expect, sync_playwright
from volume_cases import brain_nifti

from mri_models.types import Mask, Scan
from mri_models.volumes.pipeline import TUMOUR

CHROMIUM = Path("/usr/bin/chromium")
SHOTS = os.environ.get("MRI_SCREENSHOTS")  # a folder to keep the pictures in
WEBGL = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
PLAIN = ["--no-sandbox", "--disable-background-networking"]
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}"),
]
TUMOUR_SCAN = brain_nifti(["glioma"] * 9)


class Bright:
    """Outlines what is bright."""

    digest = "b7" * 32

    def __call__(self, scan: Scan) -> Mask:
        return Mask((scan.pixels > 0.7).astype(np.uint8), scan.pixels.copy(), ("tumour",), 0.9, 0.5)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    pipeline = FakePipeline()
    pipeline.outlines = {TUMOUR: Bright()}
    with served(pipeline) as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=[*PLAIN, *WEBGL])
        yield chromium
        chromium.close()


def visit(browser: Browser, address: str, width: int = 1280, height: int = 900) -> Page:
    page = browser.new_context(viewport={"width": width, "height": height}).new_page()
    page.set_default_timeout(90_000)
    page.goto(address)
    page.get_by_role("tab", name="Volume").click()
    page.locator("#vol-gallery [data-example]").first.wait_for()
    return page


def upload(page: Page, data: bytes, name: str = "mine.nii.gz") -> None:
    file = {"name": name, "mimeType": "application/octet-stream", "buffer": data}
    page.locator("#vol-drop input[type=file]").set_input_files(file)
    expect(page.locator("#vol-verdict .mri-kicker")).to_contain_text(name, timeout=90_000)


def keep(page: Page, name: str, tmp_path: Path) -> None:
    picture = page.screenshot(path=Path(SHOTS or tmp_path) / f"{name}.png", full_page=True)
    assert len(picture) > 20_000  # an empty page compresses to less


def greys(page: Page, plane: str) -> list[int]:
    """The red channel of a plane's canvas, every 7th pixel."""
    return page.evaluate(
        """(plane) => { const c = document.querySelector(`.vol-plane[data-plane="${plane}"] canvas`);
        return [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data].filter((_, i) => i % 28 === 0); }""",
        plane,
    )


def test_a_visitor_uploads_browses_and_takes_the_mask_away(browser: Browser, url: str, tmp_path: Path):
    page = visit(browser, url)
    foreign: list[str] = []
    page.on("request", lambda request: foreign.append(request.url) if "127.0.0.1" not in request.url else None)
    upload(page, TUMOUR_SCAN)
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
    keep(page, "volume-desktop", tmp_path)

    link = page.locator("#vol-verdict a[download='mine.mask.nii.gz']").get_attribute("href")
    mask = nibabel.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(link.partition(",")[2])))
    original = nibabel.Nifti1Image.from_bytes(gzip.decompress(TUMOUR_SCAN))
    assert mask.shape == original.shape
    np.testing.assert_allclose(mask.affine, original.affine)
    assert [address for address in foreign if not address.startswith(("data:", "blob:"))] == []


def test_the_viewer_draws_the_volume_from_our_own_server(browser: Browser, url: str, tmp_path: Path):
    page = visit(browser, url)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    upload(page, TUMOUR_SCAN)
    page.locator(".vol-view[data-ready]").wait_for()
    assert not any("niivue" in address for address in asked)  # loaded when asked for
    page.get_by_role("button", name="3D viewer").click()
    page.locator(".vol-viewer[data-ready]").wait_for()
    expect(page.locator(".vol-viewer p")).to_contain_text("NiiVue")
    assert any(address.endswith("/viewer/niivue.js") for address in asked)
    assert all("127.0.0.1" in address or address.startswith(("data:", "blob:")) for address in asked)
    picture = page.locator(".vol-viewer canvas").screenshot(path=Path(SHOTS or tmp_path) / "viewer.png")
    assert len(picture) > 15_000  # an empty canvas compresses to less


def test_without_webgl_the_planes_stay(browser: Browser, url: str):
    page = visit(browser, url)
    page.evaluate(
        """() => { const get = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...rest) {
          return kind.startsWith('webgl') ? null : get.call(this, kind, ...rest); }; }"""
    )
    upload(page, TUMOUR_SCAN)
    page.locator(".vol-view[data-ready]").wait_for()
    page.get_by_role("button", name="3D viewer").click()
    expect(page.locator(".vol-viewer p")).to_contain_text("no WebGL2")
    page.get_by_role("button", name="Three planes").click()
    expect(page.locator(".vol-planes")).to_be_visible()


def test_a_broken_archive_is_refused_with_its_reason(browser: Browser, url: str):
    page = visit(browser, url)
    upload(page, b"PK\x03\x04 no archive", "series.zip")
    expect(page.locator("#vol-verdict h2")).to_have_text("Refused: not a readable volume")
    expect(page.locator("#vol-verdict")).to_contain_text("damaged or cut short")
    expect(page.locator(".vol-view")).to_have_count(0)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scroll(browser: Browser, url: str, theme: str, tmp_path: Path):
    page = visit(browser, f"{url}/?__theme={theme}", width=390, height=844)
    upload(page, TUMOUR_SCAN)
    page.locator(".vol-view[data-ready]").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    keep(page, f"volume-phone-{theme}", tmp_path)


def test_the_examples_are_offered_and_open(browser: Browser, url: str):
    page = visit(browser, url)
    page.locator('#vol-gallery [data-example="21_brain_t1.nii.gz"]').click()
    expect(page.locator("#vol-verdict .mri-kicker")).to_contain_text("21_brain_t1.nii.gz")
    page.locator(".vol-view[data-ready]").wait_for()
    assert max(greys(page, "sagittal")) > 100
