"""axe-core on every tab, in both themes, wide and narrow, with answers, refusals and everything unfolded on screen."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from fakes import scan_png
from playwright.sync_api import Page, expect
from visitor import Visits, upload, upload_volume
from volume_cases import brain_nifti

from mri_models.explain import METHODS

GRAVE = ("serious", "critical")
MENDED = """() => [...document.querySelectorAll('.mri-prose pre, .mri-prose table')]
  .every((box) => box.scrollWidth <= box.clientWidth || box.tabIndex === 0)"""  # frame.js needs a frame for it


def findings(page: Page, where: str) -> list[str]:
    """Grave violations as lines; Gradio's own markup is no excuse."""
    page.wait_for_function(MENDED)
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    return [
        f"{where}: {violation['id']} at {', '.join(map(str, node['target']))}: {node['failureSummary']}"
        for violation in found
        if violation["impact"] in GRAVE
        for node in violation["nodes"]
    ]


def unfold(page: Page) -> None:
    """Open whatever can be opened."""
    page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")


def analyse(page: Page) -> Iterator[str]:
    yield "nothing yet"
    upload(page, "mine.png", scan_png("glioma"))
    expect(page.locator("#maps .mri-badge.is-passed")).to_have_count(2)
    page.locator("#compare").click()
    expect(page.locator("#maps [data-method] img")).to_have_count(len(METHODS))
    page.locator("#paper").get_by_role("button", name="Report").click()
    page.locator(".mri-paper").wait_for()
    page.locator(".mri-tell > button").click()
    page.locator("#details > button").click()
    unfold(page)
    yield "an answer, unfolded"
    upload(page, "photo.png", scan_png("photo"))
    expect(page.locator("#note")).to_contain_text("nothing to explain")
    yield "a refusal"
    upload(page, "doubt.png", scan_png("doubt"))
    expect(page.locator("#note .mri-badge")).to_be_visible()
    yield "a doubt"


def volume(page: Page) -> Iterator[str]:
    yield "nothing yet"
    upload_volume(page, "mine.nii.gz", brain_nifti(["glioma"] * 9))
    page.locator(".vol-view[data-ready]").wait_for()
    page.locator("#vol-details > button").click()
    unfold(page)
    yield "an answer, unfolded"
    page.get_by_role("button", name="3D viewer").click()
    page.locator(".vol-viewer[data-ready]").wait_for()
    yield "the viewer"
    upload_volume(page, "series.zip", b"PK\x03\x04 no archive")
    yield "a refusal"


def explore(page: Page) -> Iterator[str]:
    views = {"Data": ".exp-sources", "Training": ".exp-many", "Pictures": ".exp-tiles", "Answers": ".exp-hero"}
    for view, part in views.items():
        page.locator("#exp-view").get_by_text(view, exact=True).click()
        page.locator(part).first.wait_for()
        unfold(page)
        yield view


def monitor(page: Page) -> Iterator[str]:
    yield "live"
    page.locator("#play").click()
    expect(page.locator("#played")).to_contain_text("image 110")
    unfold(page)
    yield "a drift, played"


def models(page: Page) -> Iterator[str]:
    yield "the first card"


def about(page: Page) -> Iterator[str]:
    yield "all"


TOURS = {"Analyse": analyse, "Volume": volume, "Explore": explore, "Monitor": monitor, "Models": models, "About": about}


@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("tab", TOURS)
def test_no_grave_finding(visit: Visits, tab: str, theme: str, width: int):
    page = visit(tab, theme=theme, width=width)
    found = [line for where in TOURS[tab](page) for line in findings(page, where)]
    assert not found, "\n".join(found)
