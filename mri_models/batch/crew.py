"""Worker processes that survive their files: one that crashes, hangs or raises costs its worker, never the batch."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pickle import UnpicklingError
from time import monotonic

from mri_models import report as rules
from mri_models.batch.worker import ANSWER, RAISED, READY, UNABLE, Job, serve
from mri_models.errors import BatchError
from mri_models.types import Rejection, Report

ATTEMPTS = 2  # for a crash may be the machine's fault: out of memory, say
STILLBORN = 3  # workers in a row that die before their pipeline is loaded
CRASHED, RAISES, TIMED_OUT = "worker_crashed", "internal_error", "timed_out"
FAILURES = (CRASHED, RAISES, TIMED_OUT)
_WORKERS = {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}


@dataclass(slots=True, eq=False)
class _Worker:
    """A process and the file that it holds; the deadline is set once its pipeline is loaded."""

    process: BaseProcess
    connection: Connection
    name: str | None = None
    ready: bool = False
    deadline: float | None = None


class Crew:
    """At most `size` workers, started when there is a file for them and restarted when they are lost.

    Close it, or use it in a `with` statement. Raises BatchError when workers can't load their pipeline.
    """

    def __init__(self, job: Job, size: int):
        self.job = job
        self.size = size
        self._workers: list[_Worker] = []
        self._again: deque[str] = deque()
        self._attempts: Counter[str] = Counter()
        self._stillborn = 0

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Kill every worker; what they hold is not answered."""
        for worker in list(self._workers):
            self._end(worker)

    def answers(self, names: Iterable[str]) -> Iterator[str]:
        """A line of JSON for each name, in the order in which they are done; takes a name only for a free worker."""
        queue = iter(names)
        while True:
            self._hand_out(queue)
            busy = [worker for worker in self._workers if worker.name is not None]
            if not busy:
                return
            deadlines = [worker.deadline for worker in busy if worker.deadline is not None]
            patience = max(0.0, min(deadlines) - monotonic()) if deadlines else None
            heard = wait([worker.connection for worker in busy], patience)
            for worker in busy:
                if worker.connection in heard:
                    yield from self._hear(worker)
                elif worker.deadline is not None and worker.deadline <= monotonic():
                    yield from self._lose(worker, TIMED_OUT, f"{self.job.time_limit_s:g} s")

    def _hand_out(self, queue: Iterator[str]) -> None:
        free = [worker for worker in self._workers if worker.name is None]
        while free or len(self._workers) < self.size:
            name = self._again.popleft() if self._again else next(queue, None)
            if name is None:
                return
            worker = free.pop() if free else self._start()
            worker.name = name
            worker.deadline = monotonic() + self.job.time_limit_s if worker.ready else None
            try:
                worker.connection.send(name)
            except OSError:  # died while it was idle: its pipe is at its end, and `_hear` will find that
                worker.deadline = None

    def _start(self) -> _Worker:
        spawn = multiprocessing.get_context("spawn")  # a fork would copy the parent's threads and locks
        ours, theirs = spawn.Pipe()
        process = spawn.Process(target=serve, args=(theirs, self.job), daemon=True)
        with _environment():
            process.start()
        theirs.close()  # so that the worker's end is the only one, and its death the pipe's end
        self._workers.append(_Worker(process, ours))
        return self._workers[-1]

    def _hear(self, worker: _Worker) -> Iterator[str]:
        try:
            kind, *rest = worker.connection.recv()
        except (EOFError, OSError, UnpicklingError):
            yield from self._lose(worker, CRASHED, _how(worker.process))
            return
        if kind == READY:
            worker.ready, self._stillborn = True, 0
            worker.deadline = monotonic() + self.job.time_limit_s
        elif kind == ANSWER:
            self._attempts.pop(worker.name, None)
            worker.name = worker.deadline = None
            yield rest[0]
        elif kind == RAISED:  # a network on a GPU may be of no use after an error: a fresh worker tries again
            yield from self._lose(worker, RAISES, rest[0])
        elif kind == UNABLE:
            raise BatchError(*rest)

    def _lose(self, worker: _Worker, code: str, how: str) -> Iterator[str]:
        """End the worker; its file gets another chance, or an answer that says what became of it."""
        name = worker.name
        self._end(worker)
        if not worker.ready:
            self._stillborn += 1
            if self._stillborn >= STILLBORN:
                raise BatchError(
                    "no_worker",
                    f"{STILLBORN} workers in a row ended while loading the models ({how}). "
                    "Is there enough memory? Try fewer with --workers.",
                )
            self._again.append(name)
            return
        self._attempts[name] += 1
        if code != TIMED_OUT and self._attempts[name] < ATTEMPTS:
            self._again.append(name)
            return
        del self._attempts[name]
        yield failed(name, code, how)

    def _end(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        worker.process.kill()
        worker.process.join(5)
        worker.connection.close()


def failed(name: str, code: str, how: str) -> str:
    """The answer to a file that got none from the pipeline; `code` is one of FAILURES."""
    message = {
        CRASHED: f"The worker process ended on this file, {ATTEMPTS} times ({how}).",
        RAISES: f"The analysis failed on this file, {ATTEMPTS} times ({how}).",
        TIMED_OUT: f"The analysis of this file took longer than {how} and was ended.",
    }[code]
    rejection = Rejection("file", code, f"{message} Look at the file, or try again with --retry.")
    return json.dumps(rules.complete(Report(name, rejection)).to_dict())


def _how(process: BaseProcess) -> str:
    process.join(5)
    code = process.exitcode
    return f"signal {-code}" if code is not None and code < 0 else f"exit status {code}"


def usable_cores() -> int:
    """Cores that this process may run on, which can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _environment() -> Iterator[None]:
    """What a process started here finds before it imports anything: one thread, as in Ray's actors, and no bars."""
    before = {name: os.environ.get(name) for name in _WORKERS}
    os.environ.update(_WORKERS)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
