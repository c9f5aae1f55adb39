"""A monitor's level over time: up at once, down only after it has been calm for a while."""

from __future__ import annotations

from dataclasses import dataclass

from mri_models.drift.monitors import LEVELS

CALM = 3  # looks in a row at a lower level before the shown level falls, so that it does not flicker at a limit


@dataclass(frozen=True, slots=True)
class State:
    """level: what is shown. since: when it was reached. calm: looks in a row that were lower than it."""

    level: str = "insufficient"
    since: str | None = None
    calm: int = 0

    def after(self, seen: str, now: str) -> State:
        """The state after a look that saw the level `seen` at the time `now`."""
        if seen == self.level:
            return State(self.level, self.since, 0)
        rises = LEVELS.index(seen) > LEVELS.index(self.level)
        if rises or self.calm + 1 >= CALM:
            return State(seen, now, 0)
        return State(self.level, self.since, self.calm + 1)
