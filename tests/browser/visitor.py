"""The visitors of the browser tests: how they come, what they do; and the pipeline behind their page."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from fakes import FakePipeline
from playwright.sync_api import Browser, BrowserContext, Page, expect

from mri_models.localize import TUMOUR
from mri_models.types import Disc, Mask, Prediction, Report, Scan, SpineGrading

PATIENCE = 90_000  # ms: CI's two cores are shared, and six maps are six events
TABS = {  # tab → what stands there once it may be used
    "Analyse": "#gallery [data-example]",
    "Volume": "#vol-gallery [data-example]",
    "Explore": ".exp-hero",
    "Monitor": "#live .mon-glance",
    "Models": "#card h1",
    "About": ".mri-prose h2",
}


# Gradio tells a visitor that an event failed, and leaves the console silent
TELL_TOASTS = """addEventListener('DOMContentLoaded', () => new MutationObserver((changes) => {
  const added = changes.flatMap((change) => [...change.addedNodes]);
  added.filter((node) => node.matches?.('.toast-body, :has(.toast-body)'))
    .forEach((toast) => console.error(`message on the page: ${toast.innerText}`));
}).observe(document.body, { childList: true, subtree: true }));"""


class Visits:
    """Opens pages. `troubles`: errors on their consoles, error messages, requests to anybody but their own server."""

    def __init__(self, browser: Browser, url: Callable[[], str]):
        self.troubles: list[str] = []
        self._browser, self._url = browser, url
        self._contexts: list[BrowserContext] = []

    def __call__(
        self, tab: str = "Analyse", *, width: int = 1280, height: int = 900, theme: str = "light", at: str | None = None
    ) -> Page:
        """A new visitor on that tab, which is ready to be used; `at` is another server's address."""
        address = at or self._url()
        context = self._browser.new_context(viewport={"width": width, "height": height})
        context.set_default_timeout(PATIENCE)
        self._contexts.append(context)
        context.add_init_script(TELL_TOASTS)
        self._watch(context, urlsplit(address).netloc)
        page = context.new_page()
        page.goto(f"{address}/?__theme={theme}")
        open_tab(page, tab)
        return page

    def _watch(self, context: BrowserContext, own: str) -> None:
        def request(address: str) -> None:
            if urlsplit(address).scheme not in ("data", "blob") and urlsplit(address).netloc != own:
                self.troubles.append(f"foreign request: {address}")

        note = self.troubles.append
        context.on("request", lambda asked: request(asked.url))
        context.on("console", lambda said: note(f"console: {said.text}") if said.type == "error" else None)
        context.on("weberror", lambda error: note(f"exception: {error.error}"))

    def end(self) -> None:
        """Close every page, so that what they still had to say has been said."""
        for context in self._contexts:
            context.close()


def open_tab(page: Page, tab: str) -> None:
    page.get_by_role("tab", name=tab, exact=True).click()
    page.locator(TABS[tab]).first.wait_for()


class Bright:
    """Outlines what is bright."""

    digest = "b7" * 32

    def __call__(self, scan: Scan) -> Mask:
        inside = (scan.pixels > 0.7).astype(np.uint8)
        return Mask(inside, scan.pixels.copy(), ("tumour",), 0.9, 0.5, expected_dice=0.83)


class Outlining(FakePipeline):
    """The fake with every panel of the page: a glioma is outlined, and the same drawn head has two graded discs."""

    outlines = {TUMOUR: Bright()}  # noqa: RUF012

    def verdict(self, scan: Scan, name: str = "image", **options: Any) -> Report:
        report = super().verdict(scan, name, **options)
        if report.diagnosis is None or report.diagnosis.label != "glioma":
            return report
        return dataclasses.replace(
            report, localization=Bright()(scan), spine=_spine(), overlap={"area": 0.1, "shap": 0.4}
        )


def _spine() -> SpineGrading:
    low = {"level": "L5/S1", "centre": (220, 160), "box": (210, 140, 230, 180), "grade": 5, "span": (4, 5)}
    high = {"level": "L4/L5", "centre": (180, 160), "box": (170, 140, 190, 180), "grade": 1, "span": (1, 2)}
    alike = {"tilt": 0.1, "spacing": 40.0, "narrowing": 0.2, "bulging": 0.1, "herniation": 0.0, "accepted": False}
    discs = (
        Disc(pfirrmann=(0, 0.1, 0.2, 0.3, 0.4), **low, **alike),
        Disc(pfirrmann=(0.6, 0.4, 0, 0, 0), **high, **alike),
    )
    return SpineGrading(discs, Prediction("severe", 0.5, 1.01, {"moderate": 0.5, "severe": 0.5}, 0.2, 0.98, False))


def upload(page: Page, name: str, data: bytes, drop: str = "#drop", verdict: str = "#verdict") -> None:
    """Hand a file in on the Analyse tab and wait for its verdict."""
    file = {"name": name, "mimeType": "application/octet-stream", "buffer": data}
    page.locator(f"{drop} input[type=file]").set_input_files(file)
    expect(page.locator(f"{verdict} .mri-kicker")).to_contain_text(name)


def upload_volume(page: Page, name: str, data: bytes) -> None:
    """The same on the Volume tab."""
    upload(page, name, data, "#vol-drop", "#vol-verdict")


def sideways(page: Page) -> int:
    """Pixels by which the page is wider than the window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
