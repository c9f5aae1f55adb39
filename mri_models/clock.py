"""How long each stage of an analysis takes, and which one failed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter

from mri_models.errors import MriError, Overdue, StageFailed
from mri_models.pace import step

LEAST_MS = 0.05


class Clock:
    """Adds up what each stage takes: `with clock("gate"): ...`; what takes no time did not run.

    Raises Overdue, or StageFailed in place of whatever was not raised on purpose, both with the stage's name.
    """

    def __init__(self, taken: dict[str, float]):
        self.taken = taken

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = perf_counter()
        try:
            step()
            yield
        except Overdue as error:
            raise error.at(stage) from None
        except MriError:
            raise
        except Exception as error:
            raise StageFailed.at_stage(stage, error) from error
        if (took := since(start)) >= LEAST_MS:
            self.taken[stage] = self.taken.get(stage, 0.0) + took


def since(start: float) -> float:
    """Milliseconds since `start`."""
    return (perf_counter() - start) * 1000
