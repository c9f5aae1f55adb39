"""One chromium for all browser tests, one server a module, and visits that must end without an error on the console."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes import FakePipeline, served
from playwright.sync_api import Browser, Page, expect, sync_playwright
from visitor import PATIENCE, Outlining, Visits

CHROMIUM = Path("/usr/bin/chromium")
# WebGL2 without a graphics card, for the volume viewer; no calls home, which would look like our page's
ARGUMENTS = "--no-sandbox --disable-background-networking --use-gl=angle --use-angle=swiftshader"
SHOTS = os.environ.get("MRI_SCREENSHOTS")  # a folder to keep the pictures in


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """While it runs, an event loop of another test needs a thread of its own."""
    if not CHROMIUM.exists():
        pytest.skip(f"no browser at {CHROMIUM}")
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        arguments = [*ARGUMENTS.split(), "--enable-unsafe-swiftshader"]
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def fake() -> FakePipeline:
    """What answers behind the page; a module that needs another has a fixture of the same name."""
    return Outlining()


@pytest.fixture(scope="module")
def url(browser: Browser, fake: FakePipeline) -> Iterator[str]:
    """The address of the app with `fake` behind it."""
    with served(fake) as address:
        yield address


@pytest.fixture
def visit(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visits]:
    """Visits of one test. It fails when a console held an error or anybody else was asked for something."""
    visits = Visits(browser, lambda: request.getfixturevalue("url"))
    yield visits
    visits.end()
    assert visits.troubles == []


@pytest.fixture
def keep(tmp_path: Path) -> Callable[[Page, str], None]:
    """Takes a picture of the whole page, kept in the folder MRI_SCREENSHOTS where that is set."""

    def keep(page: Page, name: str) -> None:
        picture = page.screenshot(path=Path(SHOTS or tmp_path) / f"{name}.png", full_page=True)
        assert len(picture) > 20_000  # an empty page compresses to less

    return keep
