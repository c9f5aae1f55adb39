"""Remake the README's picture with the real weights: python tests/browser/picture.py"""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import expect, sync_playwright

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fakes import served  # noqa: E402

from mri_models import Pipeline  # noqa: E402

EXAMPLE = "07_simulated_meningioma.png"


def main() -> None:
    with served(Pipeline.from_pretrained()) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-background-networking"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 1080})
        page.set_default_timeout(120_000)
        page.goto(url)
        page.locator(f'[data-example="{EXAMPLE}"]').click()
        expect(page.locator("#verdict h2")).to_contain_text("Resembles", timeout=120_000)
        expect(page.locator("#note")).to_contain_text("completeness gap", timeout=120_000)
        page.screenshot(path=ROOT / ".readme" / "page.png")
        browser.close()


if __name__ == "__main__":
    main()
