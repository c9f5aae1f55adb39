"""Every answer, appended to a file the moment it is there; what is done is read from the answers themselves."""

from __future__ import annotations

import fcntl
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from io import BufferedWriter
from pathlib import Path
from time import monotonic
from typing import Any

from mri_models.batch.crew import FAILURES
from mri_models.batch.walk import key
from mri_models.errors import BatchError
from mri_models.whole import write_whole

SHARDS = "shards"
RUN = "run.json"
LINES = 50_000  # a shard: few enough that its file stays handy, many enough for ten million files
SYNC_S = 5.0  # a killed process loses no appended line, a power cut those of so many seconds; both are analysed again
OUTCOMES = ("predicted", "rejected", *FAILURES)
_OFFSET_BITS, _OUTCOME_BITS = 40, 3


class Journal:
    """The folder of a batch: `shards/*.jsonl` in the order of answering, `run.json` with what the answers depend on.

    A shard belongs to the process that began it, so a torn last line is never continued: it is passed over, and its
    file analysed again. Of two answers to one file the later counts. Some 0.2 kB of memory a file.

    Raises BatchError when another process writes here, or when the answers here are of another run (`identity`).
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], *, retry: bool = False):
        self.folder = folder
        (folder / SHARDS).mkdir(parents=True, exist_ok=True)
        self._lock = (folder / SHARDS / "lock").open("wb")
        self._places: dict[str, int] = {}  # name -> shard number, offset and outcome in one integer, for memory
        self._shard: BufferedWriter | None = None
        self._number, self._written, self._synced = 0, 0, monotonic()
        self._outcomes: Counter[str] = Counter()
        try:
            self._own(identity)
            for path in sorted((folder / SHARDS).glob("*.jsonl")):
                self._number = int(path.stem)
                self._read(path, retry)
        except BaseException:
            self._lock.close()
            raise

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._shard:
                self._close_shard()
        finally:
            self._lock.close()

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def __len__(self) -> int:
        return len(self._places)

    @property
    def outcomes(self) -> dict[str, int]:
        """Files by their latest answer: one of OUTCOMES."""
        return dict(+self._outcomes)

    def append(self, report: Mapping[str, Any], line: str) -> None:
        """Keep an answer: a report, and the same as a line of JSON without line end."""
        if self._shard is None or self._written >= LINES:
            self._next_shard()
        self._keep(report["file"], outcome(report), self._shard.tell())
        self._shard.write(line.encode() + b"\n")
        self._shard.flush()
        self._written += 1
        if monotonic() - self._synced > SYNC_S:
            os.fsync(self._shard.fileno())
            self._synced = monotonic()

    def lines(self) -> Iterator[bytes]:
        """One line for each file, with its line end, sorted by name."""
        shards = {}
        try:
            for name in sorted(self._places, key=key):
                number, offset = divmod(self._places[name] >> _OUTCOME_BITS, 1 << _OFFSET_BITS)
                if number not in shards:
                    shards[number] = self._path(number).open("rb")
                shards[number].seek(offset)
                yield shards[number].readline()
        finally:
            for shard in shards.values():
                shard.close()

    def _own(self, identity: Mapping[str, Any]) -> None:
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # given back by the system, also after kill -9
        except BlockingIOError as error:
            raise BatchError("in_use", f"Another process is writing to {self.folder}. Wait for it to end.") from error
        run = self.folder / RUN
        if not run.is_file():
            write_whole(run, [json.dumps(identity, indent=1).encode() + b"\n"])
        try:
            known = json.loads(run.read_bytes())
            other = [name for name in identity if known[name] != identity[name]]
        except (ValueError, KeyError, TypeError) as error:
            raise BatchError("bad_run", f"{run} is damaged. Choose another folder with --out.") from error
        if other:
            raise BatchError(
                "other_run",
                f"{self.folder} holds answers of another run: {', '.join(other)} differ. Give what they were made "
                "with, or choose another folder with --out.",
            )

    def _read(self, path: Path, retry: bool) -> None:
        offset = 0
        with path.open("rb") as lines:
            for line in lines:
                if found := _name_and_outcome(line):
                    name, came = found
                    if not (retry and came in FAILURES):
                        self._keep(name, came, offset)
                offset += len(line)

    def _keep(self, name: str, came: str, offset: int) -> None:
        """The answer at `offset` of the current shard takes the place of an earlier one to the same file."""
        if name in self._places:
            self._outcomes[OUTCOMES[self._places[name] & (1 << _OUTCOME_BITS) - 1]] -= 1
        self._outcomes[came] += 1
        place = self._number << _OFFSET_BITS | offset
        self._places[name] = place << _OUTCOME_BITS | OUTCOMES.index(came)

    def _next_shard(self) -> None:
        if self._shard:
            self._close_shard()
        self._number += 1
        self._shard = self._path(self._number).open("xb")
        self._written = 0

    def _close_shard(self) -> None:
        try:
            os.fsync(self._shard.fileno())
        finally:
            self._shard.close()

    def _path(self, number: int) -> Path:
        return self.folder / SHARDS / f"{number:06d}.jsonl"


def outcome(report: Mapping[str, Any]) -> str:
    """One of OUTCOMES: the report's status, or the code of FAILURES where the pipeline gave no answer."""
    code = report["rejection"] and report["rejection"]["code"]
    return code if code in FAILURES else report["status"]


def _name_and_outcome(line: bytes) -> tuple[str, str] | None:
    """None for a torn or damaged line."""
    if not line.endswith(b"\n"):
        return None
    try:
        report = json.loads(line)
        found = report["file"], outcome(report)
    except (ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found[0], str) and found[1] in OUTCOMES else None
