"""A whole visit without a mouse: every stop on the way shows where it is."""

from __future__ import annotations

import pytest
from playwright.sync_api import Page, expect
from visitor import TABS, Visits

# What has the focus, and the ring that shows it: on itself, its label, or (an invisible range) what stands beside it
FOCUS = """() => {
  const focused = document.activeElement;
  const ring = (element) => {
    if (!element) return 0;
    const { outlineStyle, outlineWidth } = getComputedStyle(element);
    const drawn = outlineStyle === 'none' ? 0 : parseFloat(outlineWidth);
    const divider = element.matches('.mri-split') ? getComputedStyle(element.nextElementSibling, '::after') : null;
    return divider ? parseFloat(divider.outlineWidth) * (divider.outlineStyle !== 'none') : drawn;
  };
  const own = ring(focused), around = ring(focused.closest('label'));
  const name = focused.dataset.example ?? focused.getAttribute('aria-label') ?? focused.innerText ?? '';
  return { name: `${focused.tagName} ${focused.id || focused.type || ''} ${name}`.trim(), ring: Math.max(own, around) };
}"""


def start(page: Page) -> None:
    """The next Tab goes to the first stop of the page."""
    page.evaluate("document.body.tabIndex = -1; document.body.focus()")


def stops(page: Page) -> list[str]:
    """Press Tab from the top of the page until it begins again; every stop must show itself."""
    start(page)
    page.keyboard.press("Tab")
    page.evaluate("window.first = document.activeElement")
    seen: list[str] = []
    while len(seen) < 150:
        focus = page.evaluate(FOCUS)
        if not focus["name"].startswith("BODY"):  # the end, or for one press after Gradio's list of drifts
            assert focus["ring"] >= 2, f"no visible focus on {focus['name']}"
            seen.append(focus["name"])
        page.keyboard.press("Tab")
        if page.evaluate("window.first === document.activeElement"):
            return seen
    raise AssertionError(f"Tab does not come round: {seen[-5:]}")


def reach(page: Page, selector: str, key: str = "Tab") -> None:
    """Press a key until the focus is there."""
    for _ in range(80):
        if page.evaluate("(selector) => document.activeElement.matches(selector)", selector):
            return
        page.keyboard.press(key)
    raise AssertionError(f"{key} never comes to {selector}")


def test_a_visit_without_a_mouse(visit: Visits):
    page = visit()
    start(page)
    reach(page, '[data-example="02_brain_t1_sagittal.png"]')
    page.keyboard.press("Enter")
    expect(page.locator("#verdict .mri-kicker")).to_contain_text("02_brain_t1_sagittal.png")
    expect(page.locator("#note .mri-badge")).to_be_visible()

    reach(page, ".mri-split")
    page.keyboard.press("End")
    expect(page.locator("#view .mri-over")).to_have_css("clip-path", "inset(0px 0px 0px 100%)")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#view .mri-over")).to_have_css("clip-path", "inset(0px 0px 0px 1%)")
    reach(page, "[data-variable='--strength']")
    page.keyboard.press("Home")
    expect(page.locator("#view .mri-over")).to_have_css("opacity", "0")

    reach(page, "#method input")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#note .mri-map")).to_have_attribute("data-method", "grad_cam")
    reach(page, "#paper > button")
    page.keyboard.press("Enter")
    page.locator(".mri-paper").wait_for()


def test_the_tabs_are_walked_with_arrows(visit: Visits):
    page = visit()
    start(page)
    reach(page, "button[role=tab]")
    for tab, part in list(TABS.items())[1:]:
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name=tab, selected=True)).to_be_focused()
        page.locator(part).first.wait_for()
        assert page.evaluate(FOCUS)["ring"] >= 2


@pytest.mark.parametrize("tab", TABS)
def test_every_stop_shows_where_it_is(visit: Visits, tab: str):
    page = visit(tab)
    if tab == "Analyse":
        page.locator('[data-example="01_brain_t1_axial.png"]').click()
        expect(page.locator("#note .mri-badge")).to_be_visible()
    assert len(stops(page)) >= len(TABS) + 1  # the tabs, and the foot of the page
