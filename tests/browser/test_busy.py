"""A visitor among many: a place in the queue, then the verdict."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest
from fakes import FakePipeline, scan_png
from playwright.sync_api import expect
from visitor import Outlining, Visits

from mri_models.page.traffic import CORES
from mri_models.types import Report, Scan

IMAGE = {"name": "scan.png", "mimeType": "image/png", "buffer": scan_png("glioma")}
WAITING = "#way .progress-text"


class Held(Outlining):
    """Gives its verdicts when it is told to."""

    def __init__(self):
        super().__init__()
        self.go_on = Event()

    def verdict(self, scan: Scan, name: str = "image", **options: Any) -> Report:
        assert self.go_on.wait(120)
        return super().verdict(scan, name, **options)


@pytest.fixture(scope="module")
def fake() -> Held:
    return Held()


@pytest.fixture(autouse=True)
def told(fake: Held) -> Iterator[None]:
    """A failing test must not leave the server waiting."""
    yield
    fake.go_on.set()


def test_who_waits_sees_the_place_and_then_the_verdict(visit: Visits, fake: FakePipeline):
    fake.go_on.clear()
    pages = [visit() for _ in range(CORES + 2)]
    for page in pages:
        page.locator("#drop input[type=file]").set_input_files(IMAGE)
        page.locator(WAITING).wait_for()
    expect(pages[-1].locator(WAITING)).to_contain_text("queue: 2/2")
    expect(pages[-1].locator("#way .wrap")).to_have_css("opacity", "1")
    fake.go_on.set()
    for page in pages:
        expect(page.locator("#verdict .mri-kicker")).to_contain_text("scan.png")
        expect(page.locator(WAITING)).to_have_count(0)
