"""The server goes away under an open page and comes back: the visitor is told, nothing spins, the next try works."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from apart import running
from fakes import scan_png
from playwright.sync_api import Locator, Page, TimeoutError, expect
from visitor import Visits

from mri_models.evaluation.visitors import free_port


class Server:
    """The app apart, which can be killed without notice and started again at the same address."""

    def __init__(self, folder: Path):
        self._folder, self._port = folder, free_port()
        self._lives = ExitStack()
        self.start()

    def start(self) -> None:
        self.url, self._process = self._lives.enter_context(running(self._folder, port=self._port))

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def end(self) -> None:
        self._lives.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    yield server
    server.end()


@pytest.fixture
def page(visit: Visits, server: Server) -> Iterator[Page]:
    """A visitor with a verdict on screen; what a browser says about a lost connection is no trouble of ours."""
    page = visit(at=server.url)
    choose(page, "01_brain_t1_axial.png")
    expect(page.locator("#note .mri-badge")).to_be_visible()
    yield page
    visit.end()
    lost = (
        "Failed to load resource: net::ERR_",
        "Failed to fetch",
        "TypeError: network error",  # how chromium 156 words a stream that was cut off
        "message on the page:",
        "Connection errored out",
    )
    visit.troubles[:] = [trouble for trouble in visit.troubles if not any(words in trouble for words in lost)]


def choose(page: Page, example: str) -> None:
    page.locator(f'[data-example="{example}"]').click()
    expect(page.locator("#verdict .mri-kicker")).to_contain_text(example)


def send(page: Page, file: dict[str, object]) -> None:
    """As people do it, so that nothing may lie over the place to click."""
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Click to upload or drop files").filter(visible=True).click()
    chooser.value.set_files(file)


def invitation(page: Page) -> Locator:
    """What stands on a page that was just loaded."""
    return page.get_by_role("heading", name="Drop an image, or choose an example")


def test_an_example_chosen_meanwhile_is_told_and_the_page_comes_back_by_itself(page: Page, server: Server):
    server.kill()
    page.locator('[data-example="02_brain_t1_sagittal.png"]').click()
    expect(page.locator(".toast-body")).to_contain_text("Connection to the server was lost")
    expect(page.locator(".pending")).to_have_count(0)
    expect(page.locator("#verdict h2")).to_contain_text("Resembles")  # the last answer may be read on

    server.start()
    expect(invitation(page)).to_be_visible()  # Gradio has reloaded the page
    choose(page, "02_brain_t1_sagittal.png")


def test_a_file_sent_meanwhile_is_told_and_taken_later(page: Page, server: Server):
    server.kill()
    file = {"name": "mine.png", "mimeType": "image/png", "buffer": scan_png("glioma")}
    send(page, file)
    expect(page.locator(".toast-body")).to_contain_text("Connection errored out")
    expect(page.locator(".pending")).to_have_count(0)

    server.start()
    send(page, file)
    answered = page.locator("#verdict .mri-kicker").filter(has_text="mine.png")
    expect(answered.or_(invitation(page))).to_be_visible()
    if not answered.is_visible():  # Gradio noticed the return after the file was sent, and has reloaded the page
        send(page, file)
    expect(answered).to_be_visible()


def test_a_restart_that_nobody_noticed_costs_the_kept_image_only(page: Page, server: Server):
    server.kill()
    server.start()
    with suppress(TimeoutError):  # a click during which the page is loaded anew may never end
        page.locator("#method").get_by_text("Grad-CAM", exact=True).click(timeout=20_000)
    told = page.locator("#note").filter(has_text="This image is held no longer. Analyse it again.")
    expect(told.or_(invitation(page))).to_be_visible()  # the latter where Gradio noticed after all, and has reloaded
    choose(page, "02_brain_t1_sagittal.png")
    expect(page.locator("#note .mri-badge")).to_be_visible()
