"""How long each stage of an analysis takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

LEAST_MS = 0.05


class Clock:
    """Adds up what each stage takes: `with clock("gate"): ...`; what takes no time did not run."""

    def __init__(self, taken: dict[str, float]):
        self.taken = taken

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = perf_counter()
        yield
        if (took := since(start)) >= LEAST_MS:
            self.taken[stage] = self.taken.get(stage, 0.0) + took


def since(start: float) -> float:
    """Milliseconds since `start`."""
    return (perf_counter() - start) * 1000
