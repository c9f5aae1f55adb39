"""What a piece of work costs: CPU minutes, which a busy or paused machine does not change, and minutes by the wall."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, process_time

ROUNDS = 15


class Clock:
    """Starts when made."""

    def __init__(self) -> None:
        self._cpu, self._wall = process_time(), perf_counter()

    @property
    def cpu_minutes(self) -> float:
        return (process_time() - self._cpu) / 60

    @property
    def wall_minutes(self) -> float:
        return (perf_counter() - self._wall) / 60


def latency_ms(work: Callable[[], object], rounds: int = ROUNDS) -> float:
    """Least time of some rounds by the wall: others share the machine, and only ever add to it."""
    found = []
    for _ in range(1 + rounds):  # the first warms up
        start = perf_counter()
        work()
        found.append(perf_counter() - start)
    return round(1000 * min(found[1:]), 1)
