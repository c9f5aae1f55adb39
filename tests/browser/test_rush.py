"""Visitors in a hurry: the next image before the last one's map, a comparison before the maps are checked."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event

import pytest
from fakes import scan_png
from playwright.sync_api import expect
from visitor import Outlining, Visits, upload

from mri_models.explain import METHODS
from mri_models.types import Attribution, Report, Scan


class Slow(Outlining):
    """Explains and checks when it is told to."""

    def __init__(self):
        super().__init__()
        self.explaining, self.checking = Event(), Event()

    def explain(self, scan: Scan, report: Report, method: str = "integrated_gradients") -> Attribution:
        assert self.explaining.wait(120)
        return super().explain(scan, report, method)

    def check(self, scan: Scan, report: Report, attribution: Attribution) -> Attribution:
        assert self.checking.wait(120)
        return super().check(scan, report, attribution)


@pytest.fixture(scope="module")
def fake() -> Slow:
    return Slow()


@pytest.fixture(autouse=True)
def told(fake: Slow) -> Iterator[None]:
    """A failing test must not leave the server waiting."""
    fake.explaining.clear()
    fake.checking.clear()
    yield
    fake.explaining.set()
    fake.checking.set()


def test_the_last_image_s_map_never_stands_under_the_next_verdict(visit: Visits, fake: Slow):
    fake.checking.set()
    page = visit()
    upload(page, "first.png", scan_png("glioma"))
    upload(page, "second.png", scan_png("healthy"))
    fake.explaining.set()
    expect(page.locator("#note .mri-badge")).to_be_visible()
    expect(page.locator("#view .mri-under")).to_have_attribute("alt", "second.png, as the models see it")
    expect(page.locator("#note")).to_contain_text("no tumour pattern")


def test_a_comparison_asked_for_while_maps_are_checked_is_made(visit: Visits, fake: Slow):
    fake.explaining.set()
    page = visit()
    upload(page, "mine.png", scan_png("glioma"))
    expect(page.locator("#maps .mri-badge.is-waiting").first).to_be_visible()
    page.locator("#compare").click()
    fake.checking.set()
    expect(page.locator("#maps [data-method] img")).to_have_count(len(METHODS))


def test_a_method_chosen_for_one_image_is_no_error_for_another(visit: Visits, fake: Slow):
    """A refused image has no method to choose: the choice is hidden, and must come back unharmed."""
    fake.explaining.set()
    fake.checking.set()
    page = visit()
    upload(page, "mine.png", scan_png("glioma"))
    page.locator("#method").get_by_text("Grad-CAM", exact=True).click()
    expect(page.locator("#note .mri-map")).to_have_attribute("data-method", "grad_cam")
    expect(page.locator("#note .mri-badge")).to_be_visible()
    upload(page, "photo.png", scan_png("photo"))
    expect(page.locator("#note")).to_contain_text("nothing to explain")
    upload(page, "next.png", scan_png("healthy"))
    expect(page.locator("#note .mri-badge")).to_be_visible()
    expect(page.locator("#note .mri-map")).to_have_attribute("data-method", "grad_cam")
    expect(page.get_by_role("radio", name="Grad-CAM")).to_be_checked()
