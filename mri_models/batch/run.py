"""One batch from the folder to the finished file: what is missing is analysed, kept at once, and written in order."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

from tqdm import tqdm

from mri_models.batch.cluster import BLOCK, ray_answers, ray_cluster
from mri_models.batch.crew import FAILURES, Crew, usable_cores
from mri_models.batch.final import require, write_final
from mri_models.batch.journal import Journal
from mri_models.batch.walk import walk
from mri_models.batch.worker import Job
from mri_models.errors import BatchError

LEAST = 20  # files from which a rate is worth extrapolating
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Summary:
    """What a batch came to.

    outcomes: files by "predicted", "rejected" and codes of FAILURES, over all runs. analysed: in this run; load_s:
    seconds from its start to the first answer, run_s: from there to the last. burst: answers that come with the first
    one, so that their work lies before it. cores: that the workers could use.
    """

    path: Path
    outcomes: Mapping[str, int]
    analysed: int
    load_s: float
    run_s: float
    workers: int
    cores: int
    burst: int

    @property
    def per_second(self) -> float | None:
        """Files a second once models are loaded; None where too few were analysed to tell."""
        enough = self.analysed >= max(LEAST, 4 * self.burst) and self.run_s > 0
        return (self.analysed - self.burst) / self.run_s if enough else None

    def __str__(self) -> str:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(self.outcomes.items()))
        lines = [f"{self.path}: {sum(self.outcomes.values())} files ({counts or 'none found'})"]
        if self.per_second:
            used = min(self.workers, self.cores)
            hours = MILLION / self.per_second / 3600
            lines += [
                f"{self.analysed} analysed now by {self.workers} workers on {used} cores: {self.per_second:.2f} files "
                f"a second, {self.per_second / used:.2f} per core, after {self.load_s:.1f} s until the first answer",
                f"a million such files would take {hours:.1f} hours on these, {hours * used:.0f} core hours",
            ]
        elif self.analysed == 0:
            lines.append("nothing was left to analyse")
        return "\n".join(lines)


def run_batch(
    job: Job,
    out: Path,
    *,
    workers: int | None = None,
    form: str = "jsonl",
    models: Mapping[str, str] | None = None,
    ray: bool = False,
    retry: bool = False,
) -> Summary:
    """Answer every file below `job.folder` that has no answer in `out` yet, then write all of them to `out/reports.*`.

    workers: processes, by default one for each core. models: hashes that answers in `out` must have been made with.
    retry: ask again about files that only ever got a failure. Raises BatchError.
    """
    require(form)
    identity = {"folder": hashlib.sha256(job.folder.encode("utf-8", "surrogateescape")).hexdigest()}
    identity |= {"method": job.method, "models": dict(models or {})}
    start, first = perf_counter(), None
    with _filing(out), Journal(out, identity, retry=retry) as journal:
        before = len(journal)
        missing = (name for name in walk(Path(job.folder), out) if name not in journal)
        with _answers(job, missing, workers, ray) as (answers, size, cores), _progress(job, out, before) as bar:
            for line in answers:
                report = json.loads(line)
                journal.append(report, line)
                first = first or perf_counter()
                bar.set_postfix({"failed": sum(journal.outcomes.get(code, 0) for code in FAILURES)}, refresh=False)
                bar.update()
        end = perf_counter()
        path = write_final(journal, form)
        first = first or end
        burst = BLOCK * size if ray else size
        return Summary(path, journal.outcomes, len(journal) - before, first - start, end - first, size, cores, burst)


@contextmanager
def _answers(
    job: Job, names: Iterable[str], workers: int | None, ray: bool
) -> Iterator[tuple[Iterator[str], int, int]]:
    """(lines of JSON as they come, number of workers, cores they can use)."""
    if ray:
        with ray_cluster(workers) as (size, cpus), closing(ray_answers(job, names, size)) as lines:
            yield lines, size, cpus
    else:
        size = workers or usable_cores()
        with Crew(job, size) as crew:
            yield crew.answers(names), size, usable_cores()


@contextmanager
def _progress(job: Job, out: Path, done: int) -> Iterator[Any]:
    """A bar for people; its total is counted on the side, for analysis need not wait for that."""
    with tqdm(initial=done, unit=" files", smoothing=0.05, disable=None, dynamic_ncols=True) as bar:
        if not bar.disable:
            threading.Thread(target=_count, args=(bar, job, out), daemon=True).start()
        yield bar


def _count(bar: Any, job: Job, out: Path) -> None:
    bar.total = sum(1 for _ in walk(Path(job.folder), out))


@contextmanager
def _filing(out: Path) -> Iterator[None]:
    """What the file system refuses, as an error of ours: a full disk ends a batch, and the next run goes on."""
    try:
        yield
    except OSError as error:
        raise BatchError(
            "file_system",
            f"{error.filename or out}: {error.strerror}. What was answered is kept; the same command goes on.",
        ) from error
