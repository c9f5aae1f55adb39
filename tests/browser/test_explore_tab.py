"""The Explore tab in a real browser: the slider by keyboard moves numbers and cells; on a phone, in both themes."""

from __future__ import annotations

import explore_case
import pytest
from fakes import FakePipeline
from playwright.sync_api import Page, expect
from visitor import Visits, sideways


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> FakePipeline:
    return FakePipeline(explore_case.write(tmp_path_factory.mktemp("weights")))


def said(page: Page, name: str) -> str:
    return page.locator(f'[data-out="{name}"]').inner_text()


def test_the_slider_moves_numbers_and_cells_by_keyboard(visit: Visits):
    page = visit("Explore")
    slider, dot = page.get_by_label("Least score that is accepted"), page.locator('[data-dot="risk"]')
    expect(slider).to_have_value("60")
    before, place = said(page, "coverage"), dot.get_attribute("cx")

    slider.focus()
    page.keyboard.press("End")
    expect(page.locator('[data-out="threshold"]')).to_have_text("1.00")
    assert said(page, "coverage") == "0.0%"
    assert said(page, "accuracy") == "–"
    assert page.locator("[data-cell]").all_inner_texts() == ["0"] * 16
    expect(slider).to_have_attribute("aria-valuetext", "1.00: 0.0% answered, – of them right")
    assert dot.get_attribute("cx") != place

    page.get_by_role("button", name="Served for brain: 0.60").click()
    assert said(page, "coverage") == before


def test_an_answer_of_its_own_starts_at_its_threshold(visit: Visits):
    page = visit("Explore")
    page.get_by_label("Least score that is accepted").fill("50")  # the counts of all answers are read once
    page.locator("#exp-choices").get_by_text("knee", exact=True).click()
    expect(page.locator('[data-out="threshold"]')).to_have_text("0.90")
    script = explore_case.stage()
    cells = script.cells[1, :, 1]
    page.get_by_label("Least score that is accepted").fill("75")
    expect(page.locator('[data-out="wrong"]')).to_have_text(str(cells[:, 75].sum() - cells[1, 75]))


@pytest.mark.parametrize(("width", "theme"), [(390, "light"), (390, "dark"), (360, "light")])
def test_a_phone_needs_no_sideways_scroll(visit: Visits, width: int, theme: str):
    page = visit("Explore", width=width, theme=theme)
    assert page.get_by_role("tab").filter(visible=True).count() == 6
    waits = {"Data": ".exp-sources", "Training": ".exp-empty", "Pictures": ".exp-tiles", "Answers": ".exp-hero"}
    for view, part in waits.items():
        page.locator("#exp-view").get_by_text(view, exact=True).click()
        page.locator(part).first.wait_for()
        assert sideways(page) <= 0
