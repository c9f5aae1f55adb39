"""One worker process: loads a pipeline, then answers one file at a time until its parent is gone."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mri_models.errors import MriError

if TYPE_CHECKING:
    from mri_models.pipeline import Pipeline

READY, ANSWER, RAISED, UNABLE = "ready", "answer", "raised", "unable"


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker has to know, on this machine or another.

    folder: absolute path that names are relative to. load: gives the pipeline; must be importable from its module.
    method: of explanation; None for the verdict alone, which is some ten times faster.
    time_limit_s: after which a file is given up.
    """

    folder: str
    load: Callable[[], Any]
    method: str | None = None
    time_limit_s: float = 120.0


def load_pipeline(weights: str | None) -> Pipeline:
    """The trained pipeline on one thread: workers share the cores, and sums don't depend on how many there are."""
    import torch

    from mri_models.pipeline import Pipeline

    torch.set_num_threads(1)
    return Pipeline.from_pretrained(weights)


def serve(connection: Connection, job: Job) -> None:
    """What the process runs: READY once, then for each name ANSWER with its line, or RAISED with what went wrong."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        answer = _answering(job)
    except MriError as error:
        connection.send((UNABLE, error.code, error.message))
        return
    except Exception as error:
        connection.send((UNABLE, "no_pipeline", f"A worker can't load the pipeline: {type(error).__name__}: {error}"))
        return
    connection.send((READY,))
    while True:
        try:
            name = connection.recv()
        except EOFError:
            return
        try:
            message = ANSWER, answer(name)
        except Exception as error:
            message = RAISED, type(error.__cause__ or error).__name__
        connection.send(message)


def _answering(job: Job) -> Callable[[str], str]:
    """A function from a name to its line of JSON, whose key "file" is that name."""
    from tqdm import tqdm

    from mri_models.volumes.files import is_volume

    tqdm.set_lock(threading.RLock())  # libraries' bars would share theirs between processes, and a kill would leak it
    pipeline = job.load()
    how = {"explain": job.method is not None} | ({"method": job.method} if job.method else {})

    def answer(name: str) -> str:
        path = Path(job.folder, name)
        if os.path.isfile(path) and is_volume(path):
            from mri_models.volumes.pipeline import VolumePipeline

            return json.dumps(VolumePipeline(pipeline)(path, name=name).to_dict())
        return json.dumps(pipeline(path, name=name, **how).to_dict())

    return answer


def _end_with_parent() -> None:
    """Also when the parent is killed while this process hangs in a file: nobody else would end it."""
    multiprocessing.parent_process().join()
    os._exit(1)
