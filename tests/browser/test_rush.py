"""Visitors in a hurry: the next image before the last one's map, a comparison before the maps are checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import gradio as gr
import pytest
from fakes import scan_png
from playwright.sync_api import Page, Route, expect
from visitor import Outlining, Visits, upload

from mri_models.explain import METHODS
from mri_models.types import Attribution, Report, Scan


class Slow(Outlining):
    """Judges, explains and checks when it is told to."""

    def __init__(self):
        super().__init__()
        self.judging, self.explaining, self.checking = Event(), Event(), Event()
        self.broken = False

    def verdict(self, scan: Scan, name: str = "image", **options: Any) -> Report:
        assert self.judging.wait(120)
        return super().verdict(scan, name, **options)

    def explain(self, scan: Scan, report: Report, method: str = "integrated_gradients") -> Attribution:
        assert self.explaining.wait(120)
        if self.broken:
            raise RuntimeError("out of memory")
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
    fake.judging.set()
    fake.explaining.clear()
    fake.checking.clear()
    fake.broken = False
    yield
    fake.judging.set()
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


def mapped(visit: Visits, fake: Slow) -> Page:
    """A visit with a first image and its two maps, which were checked."""
    fake.explaining.set()
    fake.checking.set()
    page = visit()
    upload(page, "first.png", scan_png("glioma"))
    expect(page.locator("#maps .mri-badge.is-passed")).to_have_count(2)
    return page


def drop(page: Page, name: str, data: bytes) -> None:
    """Hand a file in whose verdict nobody waits for; another one must not stand in its place."""
    if (clear := page.locator("#drop button[aria-label='Clear']")).is_visible():
        clear.click()
    file = {"name": name, "mimeType": "application/octet-stream", "buffer": data}
    page.locator("#drop input[type=file]").set_input_files(file)
    page.locator("#way .progress-text").wait_for()


def expect_only_the_second(page: Page) -> None:
    """Map, picture, tiles and JSON are of second.png, a brain without a tumour pattern."""
    expect(page.locator("#verdict .mri-kicker")).to_contain_text("second.png")
    expect(page.locator("#maps .mri-badge.is-passed")).to_have_count(2)
    expect(page.locator("#maps")).to_contain_text("no tumour pattern")
    expect(page.locator("#note")).to_contain_text("no tumour pattern")
    expect(page.locator("#view .mri-under")).to_have_attribute("alt", "second.png, as the models see it")
    page.locator("#details > button").click()
    expect(page.locator("#details")).to_contain_text("second.png")


def test_a_method_chosen_while_the_next_verdict_is_worked_out_leaves_that_alone(visit: Visits, fake: Slow):
    page = mapped(visit, fake)
    fake.judging.clear()
    fake.explaining.clear()
    drop(page, "second.png", scan_png("healthy"))
    page.locator("#method").get_by_text("SHAP", exact=True).click()
    expect(page.locator("#note")).to_contain_text("Working out")
    fake.judging.set()
    expect(page.locator("#verdict .mri-kicker")).to_contain_text("second.png")
    fake.explaining.set()
    expect_only_the_second(page)


def test_an_image_dropped_on_a_comparison_ends_it_without_a_word(visit: Visits, fake: Slow):
    page = mapped(visit, fake)
    fake.explaining.clear()
    page.locator("#compare").click()
    expect(page.locator("#maps .is-waiting")).to_have_count(1)
    upload(page, "second.png", scan_png("healthy"))
    fake.explaining.set()
    expect_only_the_second(page)


@contextmanager
def overtaking(page: Page, late: int) -> Iterator[None]:
    """The request for what is asked for as number `late` arrives after all that are sent meanwhile."""
    held: list[Route] = []

    def arrive(route: Route) -> None:
        if route.request.post_data_json["data"][:2] == [None, late]:
            held.append(route)
        else:
            route.continue_()

    page.route("**/queue/join*", arrive)
    yield
    assert len(held) == 1
    held[0].continue_()


def test_the_example_clicked_last_is_the_one_that_stands(visit: Visits, fake: Slow):
    fake.explaining.set()
    fake.checking.set()
    page = visit()
    fake.judging.clear()
    tiles = page.locator("#gallery [data-example]")
    names = [tiles.nth(place).get_attribute("data-example") for place in range(3)]
    with overtaking(page, 2):
        for place in range(3):
            tiles.nth(place).click()
            page.locator("#way .progress-text").wait_for()
        fake.judging.set()
        expect(page.locator("#verdict .mri-kicker")).to_contain_text(names[2])
    expect(page.locator("#way .progress-text")).to_have_count(0)
    expect(page.locator("#verdict .mri-kicker")).to_contain_text(names[2])
    expect(page.locator("#view .mri-over")).to_be_visible()
    expect(page.locator("#view .mri-under")).to_have_attribute("alt", f"{names[2]}, as the models see it")


def test_an_answer_delayed_on_its_way_to_the_screen_does_not_replace_a_later_one(
    visit: Visits, fake: Slow, monkeypatch: pytest.MonkeyPatch
):
    fake.explaining.set()
    fake.checking.set()
    page = visit()
    tiles = page.locator("#gallery [data-example]")
    first, last = (tiles.nth(place).get_attribute("data-example") for place in (0, 2))
    delayed, go_on = Event(), Event()
    postprocess = gr.HTML.postprocess

    def slow(component: gr.HTML, value: str | None) -> Any:
        if value and "mri-kicker" in value and first in value:
            delayed.set()
            assert go_on.wait(120)
        return postprocess(component, value)

    monkeypatch.setattr(gr.HTML, "postprocess", slow)
    tiles.nth(0).click()
    assert delayed.wait(60)
    tiles.nth(2).click()
    expect(page.locator("#verdict .mri-kicker")).to_contain_text(last)
    go_on.set()
    expect(page.locator("#way .progress-text")).to_have_count(0)
    expect(page.locator("#verdict .mri-kicker")).to_contain_text(last)
    expect(page.locator("#maps .mri-badge.is-passed")).to_have_count(2)
    expect(page.locator("#view .mri-under")).to_have_attribute("alt", f"{last}, as the models see it")


def test_the_volume_clicked_last_is_the_one_that_stands(visit: Visits, fake: Slow):
    page = visit("Volume")
    fake.judging.clear()
    tiles = page.locator("#vol-gallery [data-example]")
    last = tiles.nth(1).get_attribute("data-example")
    for place in range(2):
        tiles.nth(place).click()
        expect(page.locator("#vol-verdict progress")).to_be_visible()
    fake.judging.set()
    expect(page.locator("#vol-verdict .mri-kicker")).to_contain_text(last)
    expect(page.locator("#vol-verdict progress")).to_have_count(0)


def test_a_volume_whose_request_comes_late_is_not_worked_out(visit: Visits, fake: Slow):
    page = visit("Volume")
    tiles = page.locator("#vol-gallery [data-example]")
    with overtaking(page, 1):
        tiles.nth(0).click()
        tiles.nth(1).click()
        expect(page.locator("#vol-verdict .mri-kicker")).to_contain_text(tiles.nth(1).get_attribute("data-example"))
        fake.judging.clear()  # it would stand at its progress from now on
    page.wait_for_timeout(2000)
    expect(page.locator("#vol-verdict progress")).to_have_count(0)


def test_a_map_that_breaks_is_told_and_leaves_the_verdict(visit: Visits, fake: Slow):
    page = mapped(visit, fake)
    fake.broken = True
    page.locator("#method").get_by_text("SHAP", exact=True).click()
    expect(page.locator(".toast-body")).to_contain_text("There is no map. The step 'explanation' failed")
    expect(page.locator("#note")).to_contain_text("Choose a method to try again")
    page.locator(".toast-close").click()
    expect(page.locator(".toast-body")).to_have_count(0)
    page.locator("#compare").click()
    expect(page.locator(".toast-body")).to_contain_text("There is no map")
    expect(page.locator("#compare")).to_be_visible()
    expect(page.locator("#maps [data-method]")).to_have_count(2)
    fake.broken = False
    page.locator("#method").get_by_text("Occlusion", exact=True).click()
    expect(page.locator("#note .mri-map")).to_have_attribute("data-method", "occlusion")
    expect(page.locator("#verdict h2")).to_contain_text("Resembles: glioma pattern")
    visit.end()
    visit.troubles[:] = [trouble for trouble in visit.troubles if "There is no map" not in trouble]


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
