"""Around Gradio's own server: /healthz, headers on every answer, a rate for each visitor, a log that knows none."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mri_models.clock import since
from mri_models.page.rate import RateLimit, chosen_rate
from mri_models.page.uploads import FullDisk

# Gradio starts its page with inline scripts and builds handlers from text; the volume viewer runs WebAssembly in
# workers made from blobs; everything else comes from this server. A Space is shown in a frame of the Hub.
_POLICY = {
    "default-src": "'self'",
    "script-src": "'self' 'unsafe-inline' 'unsafe-eval' blob:",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self' data: blob:",
    "worker-src": "'self' blob:",
    "object-src": "'none'",
    "base-uri": "'self'",
    "form-action": "'self'",
    "frame-ancestors": "'self' https://huggingface.co https://*.hf.space",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in _POLICY.items()),
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_DEPTH = 3  # segments of a path that the log keeps: enough for /gradio_api/call/analyze, short of any file or session
_LOG = logging.getLogger("mri_models.access")


def app_kwargs(*routes: Route) -> dict[str, Any]:
    """What Gradio's `launch(app_kwargs=...)` takes: /healthz and `routes`; headers, log and rate around everything."""
    around = [Middleware(Guard), Middleware(RateLimit, rate=chosen_rate()), Middleware(FullDisk)]
    own = [Route("/healthz", _healthz), *routes]
    return {"routes": own, "middleware": around, "exception_handlers": {RequestValidationError: _invalid}}


async def _invalid(request: Request, error: RequestValidationError) -> Response:
    """FastAPI's own answer, but for a page that cancels a job before it was told the job's number.

    Gradio's page does so where a visitor is quick; nothing was begun, so there is nothing to end and nothing wrong.
    """
    if request.url.path.endswith(("/gradio_api/cancel", "/gradio_api/reset")):
        return JSONResponse({"success": True})
    return await request_validation_exception_handler(request, error)


async def _healthz(_: Request) -> JSONResponse:
    """The server starts after the models are loaded, so that answering at all means ready."""
    return JSONResponse({"status": "ok"})


class Guard:
    """ASGI middleware: HEADERS where an answer lacks them; a line of JSON for each answer, streams included.

    The log (logger "mri_models.access", level INFO, so silent unless asked for) holds method, the start of the path,
    status and milliseconds: no address, no query, no name of a file, no session.
    """

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = perf_counter(), 500  # what the server answers when the app raises

        async def guarded(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, receive, guarded)
        finally:
            if _LOG.isEnabledFor(logging.INFO):
                took = round(since(start), 1)
                line = {"method": scope["method"], "path": _public(scope["path"]), "status": status, "ms": took}
                _LOG.info(json.dumps(line))


def _public(path: str) -> str:
    """The part of a path that says which service was asked, and not for what."""
    return "/" + "/".join(_known(path.partition("=")[0].strip("/").split("/")))


def _known(parts: Sequence[str]) -> Sequence[str]:
    return parts[:_DEPTH] if parts[:2] == ["gradio_api", "call"] else parts[:2]
