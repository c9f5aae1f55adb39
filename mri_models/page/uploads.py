"""Where uploads lie while they are read: a folder of this process, which goes with it; and what a full disk answers."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import time

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FOLDER = "GRADIO_TEMP_DIR"  # Gradio's name for it
STALE_S = 10  # since the last byte came; an upload of 64 MB has no such pause
_FULL = "The server can't store an upload now; its disk may be full. Try again in some minutes."
_LOG = logging.getLogger(__name__)


@contextmanager
def private_folder() -> Iterator[None]:
    """A folder for uploads that only this user can read; deleted at the end, unless the environment chose another."""
    if FOLDER in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="mri-patterns-", ignore_cleanup_errors=True) as folder:
        os.environ[FOLDER] = folder
        try:
            yield
        finally:
            del os.environ[FOLDER]


class FullDisk:
    """ASGI middleware: an upload that the disk can't take is answered 507 in words, and its torn parts are deleted."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        upload = scope["type"] == "http" and scope["path"].startswith("/gradio_api/upload")
        try:
            await self._app(scope, receive, watched)
        except OSError as error:
            if started or not upload:
                raise
            _LOG.error("an upload could not be stored: %s", error.strerror)
            sweep()
            await JSONResponse({"detail": _FULL}, 507)(scope, receive, send)
        except Exception:
            if upload:  # the visitor left; the parts are younger than what is swept
                asyncio.get_running_loop().call_later(2 * STALE_S, sweep)
            raise


def sweep() -> None:
    """Delete uploads that were broken off: Gradio keeps whole ones in folders, and their parts beside those."""
    folder = os.environ.get(FOLDER)
    for torn in Path(folder).glob("tmp*") if folder else ():
        with suppress(OSError):
            if torn.is_file() and time() - torn.stat().st_mtime > STALE_S:
                torn.unlink()
