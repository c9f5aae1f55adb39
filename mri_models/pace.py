"""How long work shares a machine: at each `step` it makes way for what is more urgent, and gives up when it is overdue.

Whoever serves strangers sets a pace around the work; anybody else's work never waits and never ends early.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter

from mri_models.errors import Overdue


class Pace:
    """A time limit in seconds from now on, and how to make way: `make_way()` returns when nothing is more urgent."""

    def __init__(self, limit_s: float, make_way: Callable[[], None] = lambda: None):
        self.limit_s = limit_s
        self._until = perf_counter() + limit_s
        self._make_way = make_way

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Every `step` of this thread inside keeps this pace; may be entered again for the next part of the work."""
        token = _CURRENT.set(self)
        try:
            yield
        finally:
            _CURRENT.reset(token)

    def step(self) -> None:
        """Wait for what is urgent; raises Overdue past the limit."""
        self._make_way()
        if perf_counter() > self._until:
            raise Overdue(
                "time_limit",
                f"This took longer than {self.limit_s:g} s, so it was stopped; the machine may be busy. "
                "Try again in a minute.",
            )


_CURRENT: ContextVar[Pace | None] = ContextVar("pace", default=None)


def step() -> None:
    """To be called between two pieces of long work, each of at most about a second; free where nobody set a pace."""
    if pace := _CURRENT.get():
        pace.step()
