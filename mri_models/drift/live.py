"""The rolling window of a running app: fed with each analysed image, judged every few, read as plain JSON.

It keeps scalars only. What it can't do (no reference, a disk that is full) is a state that it reports; nothing of it
ever reaches the visitor whose image was analysed.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any

from mri_models.drift import FOLDER
from mri_models.drift.levels import State
from mri_models.drift.log import Entry, Log, read_log, weights_key
from mri_models.drift.monitors import ENOUGH, GROUPS, LEVELS, MONITORS, Reading, judge
from mri_models.drift.observe import Observation, Window, observe
from mri_models.drift.profile import Profile, load_profile
from mri_models.errors import WeightsError
from mri_models.report import UNABLE
from mri_models.types import Report, Scan

KEPT = 500  # observations
RECENT = 50  # of them are judged: the size for which false alarms and detection are measured
EVERY = 5  # images between two looks
LOOKS = 100  # kept for the curves
REPLAYED = 100  # observations that are judged again after a restart
_LOG = logging.getLogger(__name__)


def utc_now() -> str:
    """To the second, as ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class LiveMonitor:
    """Thread-safe. `models` are the hashes of the weights that serve; `log` and `profile` may be missing."""

    def __init__(
        self,
        profile: Profile | None,
        models: Mapping[str, str],
        problem: str = "",
        folder: Path | None = None,
        clock: Callable[[], str] = utc_now,
    ):
        stale = profile.stale(models) if profile else []
        self._profile = None if stale else profile
        self._state = "missing" if profile is None else "stale" if stale else "insufficient"
        self._problem = problem if profile is None else _stale_text(stale) if stale else ""
        watched = {name: models.get(name, "") for name in profile.models} if profile else models
        self._weights = weights_key(watched)
        self._clock = clock
        self._lock = Lock()
        self._forget()
        self._storage = {"state": "off", "message": "Kept in memory only, until the app restarts."}
        self._log = self._open(folder) if folder else None

    @classmethod
    def from_weights(cls, weights: Path, models: Mapping[str, str]) -> LiveMonitor:
        """The reference below a weights folder, and MRI_MONITOR_DIR if it is set."""
        place = os.environ.get("MRI_MONITOR_DIR")
        folder = Path(place) if place else None
        try:
            return cls(load_profile(weights / FOLDER), models, folder=folder)
        except WeightsError as error:
            return cls(None, models, error.message, folder)

    def remember(self, scan: Scan | None, report: Report) -> None:
        """`add` for what the page or the API analysed; whatever goes wrong here is not the visitor's business."""
        if report.rejection and report.rejection.code in ("no_file", *UNABLE):
            return
        try:
            self.add(observe(scan, report))
        except Exception:
            _LOG.exception("the drift monitor could not take an image in")

    def add(self, observation: Observation) -> None:
        """Remember one analysed image; a disk that fails changes `storage`, and is not tried again."""
        with self._lock:
            entry = Entry(self._clock(), self._weights, observation)
            if self._log:
                try:
                    self._log.append(entry)
                except OSError as error:
                    self._log, self._storage = None, _failed(error)
            self._take(entry)

    def state(self) -> dict[str, Any]:
        """The public JSON of /drift: plain str, float, None, list and dict."""
        with self._lock:
            monitors = [self._monitor(reading) for reading in self._readings]
            level = max((m["level"] for m in monitors), key=LEVELS.index, default="insufficient")
            drifted = [m for m in monitors if m["level"] in ("watch", "alert")]
            return {
                "state": self._state if self._state in ("missing", "stale") else level,
                "message": self._message(level, drifted),
                "since": min((m["since"] for m in drifted if m["level"] == level), default=None),
                "strongest": max(drifted, key=lambda m: m["strength"] or 0, default=None),
                "images": {"seen": self._seen, "kept": len(self._kept), "judged": min(len(self._kept), RECENT)},
                "needed": ENOUGH,
                "monitors": monitors,
                "history": list(self._history),
                "storage": dict(self._storage),
                "reference": dict(self._profile.facts) if self._profile else None,
            }

    def _forget(self) -> None:
        self._kept: deque[Observation] = deque(maxlen=KEPT)
        self._history: deque[dict[str, Any]] = deque(maxlen=LOOKS)
        self._levels = {monitor.name: State() for monitor in MONITORS}
        self._readings = [Reading(m.name, m.title, m.group, "insufficient", 0) for m in MONITORS]
        self._seen = 0

    def _take(self, entry: Entry) -> None:
        self._kept.append(entry.observation)
        self._seen += 1
        if self._profile and len(self._kept) >= ENOUGH and self._seen % EVERY == 0:
            self._look(self._profile, entry.at)

    def _look(self, profile: Profile, now: str) -> None:
        recent = list(self._kept)[-RECENT:]
        self._readings = judge(Window.of(recent), profile)
        for reading in self._readings:
            self._levels[reading.monitor] = self._levels[reading.monitor].after(reading.level, now)
        self._history.append({"at": now, "images": self._seen, "strength": by_group(self._readings)})

    def _monitor(self, reading: Reading) -> dict[str, Any]:
        shown = self._levels[reading.monitor]
        return reading.to_dict() | {"level": shown.level, "since": shown.since}

    def _message(self, level: str, drifted: list[dict[str, Any]]) -> str:
        if self._problem:
            return self._problem
        if level == "insufficient":
            return f"{len(self._kept)} of {ENOUGH} images: too few to say anything."
        if not drifted:
            return f"The last {min(len(self._kept), RECENT)} images look like the reference."
        return f"{len(drifted)} of {len(MONITORS)} monitors see a change."

    def _open(self, folder: Path) -> Log | None:
        """The log with what it remembers of these weights taken over; None, and why, where it can't be used."""
        try:
            log = Log(folder)
            entries, damaged = read_log(folder)
        except OSError as error:
            self._storage = _failed(error)
            return None
        ours = [entry for entry in entries if entry.weights == self._weights][-KEPT:]
        self._kept.extend(entry.observation for entry in ours[:-REPLAYED])
        self._seen = max(0, len(ours) - REPLAYED)
        for entry in ours[-REPLAYED:]:
            self._take(entry)
        skipped = f" {damaged} damaged lines were skipped." if damaged else ""
        self._storage = {"state": "ok", "message": f"Scalars are kept on disk.{skipped}"}
        return log


def by_group(readings: list[Reading]) -> dict[str, float]:
    """The strongest reading of each group, for the curves."""
    found = {group: [r.strength for r in readings if r.group == group and r.strength is not None] for group in GROUPS}
    return {group: round(max(values), 3) for group, values in found.items() if values}


def _failed(error: OSError) -> dict[str, str]:
    reason = error.strerror or type(error).__name__
    return {"state": "failed", "message": f"The monitor folder can't be used ({reason}); kept in memory only."}


def _stale_text(models: list[str]) -> str:
    return (
        f"The reference was made with other weights of {', '.join(models)}, so nothing can be compared. "
        "Make it again with `python -m mri_models drift reference`."
    )
