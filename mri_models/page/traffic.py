"""Who goes first, how many may wait, and how long anything may take.

A verdict is what a visitor came for: it waits for other verdicts only. Maps, batches and volumes have lanes of their
own, one job at a time each, and stand still at their next step while a verdict is worked out.
"""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import BoundedSemaphore, Condition, Lock
from typing import Any

import gradio as gr
import torch

from mri_models.errors import MriError
from mri_models.pace import Pace
from mri_models.page import memory


def _lane(name: str, jobs: int = 1) -> dict[str, Any]:
    return {"concurrency_id": name, "concurrency_limit": jobs}


CORES = torch.get_num_threads()
WAITING_CALLS = 4  # a program's call may ask for a map as well: so many may wait for theirs, and verdicts still pass
# Options of Gradio's events
ON_VERDICTS, ON_CALLS, ON_MAPS = _lane("verdicts", CORES), _lane("calls", CORES + WAITING_CALLS), _lane("maps")
ON_BATCHES, ON_VOLUMES = _lane("batches"), _lane("volumes")
MOST_WAITING = 60  # jobs in all lanes together: 14 s of verdicts on two cores; one more is told that the page is busy
VERDICT_S, MAP_S, BATCH_S, VOLUME_S = 30.0, 60.0, 120.0, 600.0
PATIENCE_S = 1.0  # the longest that a map stands still at one step, so that it ends some time in a rush as well
BROKEN = "Temporarily unable to do this. Try again; if it fails again, the log of the server says why."
_LOG = logging.getLogger(__name__)


class Traffic:
    """As many verdicts at a time as there are cores, and everything else after them.

    A visitor who is alone gets all cores for a verdict. In a crowd each verdict has one: two of them on a core each are
    done sooner than one after the other on two cores, where the halves of each network wait for each other.

    Where Hugging Face takes work to a process and GPU of its own, that process waits for nobody: it knows one visitor.
    """

    def __init__(self):
        self._turn, self._one_map = BoundedSemaphore(CORES), Lock()
        self._urgent, self._changed = 0, Condition()

    @contextmanager
    def verdict(self) -> Iterator[None]:
        """Around one verdict that somebody waits for."""
        with self._counted(), self._turn, Pace(VERDICT_S).kept():
            torch.set_num_threads(CORES if self._urgent == 1 else 1)  # this thread's share
            try:
                yield
            finally:
                torch.set_num_threads(CORES)

    @contextmanager
    def map(self) -> Iterator[None]:
        """Around one map or its checks: one at a time, and the hundreds of megabytes that it takes are given back."""
        with self._one_map:
            try:
                with self.after_verdicts(MAP_S).kept():
                    yield
            finally:
                memory.give_back()

    def after_verdicts(self, limit_s: float) -> Pace:
        """The pace of what is not urgent; to be asked for in the thread that does it."""
        torch.set_num_threads(CORES)  # a thread that starts beside verdicts would take over their share
        return Pace(limit_s, self._make_way)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self._changed:
            self._urgent += 1
        try:
            yield
        finally:
            with self._changed:
                self._urgent -= 1
                self._changed.notify_all()

    def _make_way(self) -> None:
        torch.set_num_threads(CORES)  # the steps of a series come in changing threads
        with self._changed:
            self._changed.wait_for(lambda: not self._urgent, PATIENCE_S)


def handler(function: Callable) -> Callable:
    """An event's function whose errors reach the visitor as a message, without a traceback; generators as well."""

    @functools.wraps(function)
    def mapped(*args: Any, **kwargs: Any) -> Any:
        with _told():
            return function(*args, **kwargs)

    @functools.wraps(function)
    def stepped(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with _told():
            yield from function(*args, **kwargs)

    return stepped if inspect.isgeneratorfunction(function) else mapped


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except gr.Error:
        raise
    except MriError as error:
        raise gr.Error(error.message, print_exception=False) from None
    except Exception:
        _LOG.exception("an event failed")
        raise gr.Error(BROKEN, print_exception=False) from None
