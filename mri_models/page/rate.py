"""How often one visitor may ask: a moving window for each address, kept by the `limits` package in memory."""

from __future__ import annotations

import math
import os
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from time import time

from limits import RateLimitItem, parse
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

RATE = "180/minute"  # an image takes an upload and a job from a program, about nine jobs from the page: 20 a minute
_UPLOADS = (
    "/gradio_api/upload"  # counted apart: a visitor of the page comes to the limit at a job, which can explain it
)
_JOBS = ("/gradio_api/queue/join", "/gradio_api/call/", "/gradio_api/run/", "/gradio_api/api/")
_Address = IPv4Address | IPv6Address


def chosen_rate() -> RateLimitItem:
    """The environment's MRI_RATE, else RATE; raises ValueError for what is no rate."""
    text = os.environ.get("MRI_RATE") or RATE
    try:
        return parse(text)
    except ValueError:
        raise ValueError(f"MRI_RATE must be like {RATE!r}, got {text!r}") from None


class RateLimit:
    """ASGI middleware: above the rate, uploads and jobs are answered 429; each of the two has a count of its own."""

    def __init__(self, app: ASGIApp, rate: RateLimitItem):
        self._app = app
        self._rate = rate
        self._limiter = MovingWindowRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not scope["path"].startswith((_UPLOADS, *_JOBS)):
            await self._app(scope, receive, send)
            return
        who, what = visitor(Request(scope)), "upload" if scope["path"].startswith(_UPLOADS) else "job"
        if who is None or await self._limiter.hit(self._rate, who, what):
            await self._app(scope, receive, send)
            return
        until, _ = await self._limiter.get_window_stats(self._rate, who, what)
        wait = max(1, math.ceil(until - time()))
        text = f"Too many requests from your address: at most {self._rate.amount} in a {self._rate.GRANULARITY.name}."
        answer = JSONResponse({"detail": f"{text} Wait {wait} s, then try again."}, 429, {"Retry-After": str(wait)})
        await answer(scope, receive, send)


def visitor(request: Request) -> str | None:
    """Whom a request counts for: its address, of IPv6 the /64 that one household has; None for this machine itself.

    Proxies have private addresses and append the one that asked them, so behind one it is the last public address of
    X-Forwarded-For. What a public address says about itself there is not believed.
    """
    peer = _address(request.client.host if request.client else "")
    if peer and not peer.is_global:
        named = [_address(part) for line in request.headers.getlist("x-forwarded-for") for part in line.split(",")]
        public = [address for address in named if address and address.is_global]
        if public:
            peer = public[-1]
        elif peer.is_loopback and not named:
            return None
    return _household(peer) if peer else "unknown"


def _address(text: str) -> _Address | None:
    try:
        return ip_address(text.strip().strip("[]"))
    except ValueError:
        return None


def _household(address: _Address) -> str:
    if isinstance(address, IPv6Address):
        return str(ip_network((address, 64), strict=False)) if not address.ipv4_mapped else str(address.ipv4_mapped)
    return str(address)
