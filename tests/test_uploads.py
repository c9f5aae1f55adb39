"""Uploads that are broken off leave nothing behind."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from starlette.requests import ClientDisconnect

from mri_models.page import uploads
from mri_models.page.uploads import FOLDER, FullDisk


@pytest.mark.parametrize(("path", "left"), [("/gradio_api/upload", False), ("/elsewhere", True)])
def test_the_parts_of_an_upload_go_when_its_visitor_has_left(path: str, left: bool, tmp_path: Path, monkeypatch):
    monkeypatch.setenv(FOLDER, str(tmp_path))
    monkeypatch.setattr(uploads, "STALE_S", 0)
    torn = tmp_path / "tmpabc"

    async def app(scope, receive, send):
        torn.write_bytes(b"the first half")
        raise ClientDisconnect

    async def visit():
        with pytest.raises(ClientDisconnect):
            await FullDisk(app)({"type": "http", "path": path}, None, None)
        await asyncio.sleep(0.05)

    with ThreadPoolExecutor(1) as own:  # playwright, in other tests, leaves a loop running in the main thread
        own.submit(asyncio.run, visit()).result()
    assert torn.exists() == left
