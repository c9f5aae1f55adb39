"""Observations as JSON lines that survive restarts; only if the operator names a folder (MRI_MONITOR_DIR)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from mri_models.drift.observe import Observation

NAME = "observations.jsonl"
LIMIT = 4_000_000  # bytes a file, about 5,000 images; then it becomes NAME.1, which becomes NAME.2, which goes
OLDER = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """One remembered image: when it was analysed (UTC, to the second) and by which weights (`weights_key`)."""

    at: str
    weights: str
    observation: Observation


def weights_key(models: Mapping[str, str]) -> str:
    """A short name for these weights together, by SHA-256 of each: every score comes from some of them."""
    return hashlib.sha256(json.dumps(sorted(models.items())).encode()).hexdigest()[:12]


class Log:
    """A folder of observation files. Raises OSError where the folder can't be read or written; says so once asked."""

    def __init__(self, folder: Path, limit: int = LIMIT):
        self.path = folder / NAME
        self.limit = limit
        folder.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab+") as file:
            if file.tell():
                file.seek(-1, 2)
                if file.read(1) != b"\n":  # a torn last line must not swallow the next one
                    file.write(b"\n")

    def append(self, entry: Entry) -> None:
        """One line; a full file is rotated first."""
        if self.path.exists() and self.path.stat().st_size > self.limit:
            self._rotate()
        line = json.dumps({"at": entry.at, "weights": entry.weights} | entry.observation.to_dict())
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _rotate(self) -> None:
        names = [self.path, *(self.path.with_name(f"{NAME}.{age}") for age in range(1, OLDER + 1))]
        for newer, older in reversed(list(pairwise(names))):
            if newer.exists():
                newer.replace(older)


def read_log(folder: Path) -> tuple[list[Entry], int]:
    """Every readable entry, oldest first, and how many lines were damaged. Raises OSError."""
    found = [_entry(line) for line in _lines(folder)]
    entries = [entry for entry in found if entry]
    return entries, len(found) - len(entries)


def _lines(folder: Path) -> Iterator[str]:
    names = sorted((path for path in folder.iterdir() if path.name.startswith(NAME)), reverse=True)
    for path in names:  # NAME.2, NAME.1, NAME
        with path.open(encoding="utf-8", errors="replace") as file:
            yield from (line for line in file if line.strip())


def _entry(line: str) -> Entry | None:
    """None for a torn or damaged line."""
    try:
        values = json.loads(line)
        weights = values["weights"] if "weights" in values else values["gate"]  # of a log before 2026-11-22
        return Entry(str(values["at"]), str(weights), Observation.from_dict(values))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
