"""The same crews as actors of Ray Data: on the cluster that RAY_ADDRESS names, else on this machine's cores.

Every node must see FOLDER under the same path, and the weights too unless they are `owner/repo@revision`. The package
travels there from here; the packages of requirements.txt have to be installed.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

from mri_models.batch.crew import Crew, usable_cores
from mri_models.batch.final import INSTALL
from mri_models.batch.worker import Job
from mri_models.errors import BatchError

BLOCK = 16  # files that an actor answers before the driver hears of them: what an interruption may cost
CHUNK = 200_000  # names that are listed at a time; the actors load their models again for each
_LOSSES = {"max_restarts": 2, "max_task_retries": 2}  # of nodes; Ray Data's own -1 tries for ever
_STORE = 512 * 2**20  # bytes of shared memory for Ray on this machine: names and lines are all that passes


class Analyzer:
    """An actor: a crew of one, so that a poisonous file costs a process of this actor and not the actor."""

    def __init__(self, job: Job):
        self.crew = Crew(job, 1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        """{"name": [JSON text]} -> {"line": [report as JSON]}; a name need not be UTF-8, JSON's escapes are."""
        return {"line": list(self.crew.answers(json.loads(name) for name in batch["name"]))}


@contextmanager
def ray_cluster(workers: int | None) -> Iterator[tuple[int, int]]:
    """Connect to the cluster, or start one here; gives (number of actors: `workers` or one for each CPU, CPUs).

    Raises BatchError where Ray is not installed or the cluster does not answer.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report to its makers
    try:
        import ray
    except ImportError as error:
        raise BatchError("no_ray", f"--ray needs the package ray: {INSTALL}.") from error
    address = os.environ.get("RAY_ADDRESS")
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    try:
        if address:
            package = Path(__file__).parent.parent
            ray.init(address, runtime_env={"py_modules": [str(package)]}, **quiet)
        else:
            cpus = {"num_cpus": workers or usable_cores()}
            here = {"env_vars": {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}}
            local = {"include_dashboard": False, "object_store_memory": _STORE, "runtime_env": here}
            ray.init("local", **local, **cpus, **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise BatchError("no_cluster", f"No Ray at {address or 'this machine'}: {error}") from error
    try:
        cpus = int(ray.cluster_resources().get("CPU", 1))
        yield workers or cpus, cpus
    finally:
        ray.shutdown()


def ray_answers(job: Job, names: Iterable[str], size: int) -> Iterator[str]:
    """Like `Crew.answers`, within `ray_cluster`. Raises BatchError when actors can't load their pipeline."""
    import ray
    from ray.exceptions import RayError

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    gpus = ray.cluster_resources().get("GPU", 0)
    share = {"num_gpus": min(1.0, gpus / size)} if gpus else {}
    queue = iter(names)
    while listed := [{"name": json.dumps(name)} for name in islice(queue, CHUNK)]:
        blocks = -(-len(listed) // BLOCK)
        actors = {"fn_constructor_args": (job,), "batch_size": BLOCK, "num_cpus": 1, **_LOSSES, **share}
        chunk = ray.data.from_items(listed, override_num_blocks=blocks)
        pool = ray.data.ActorPoolStrategy(size=min(size, blocks))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # _LOSSES have no other way in before Ray 2.64
            answered = chunk.map_batches(Analyzer, compute=pool, **actors)
        try:
            for answer in answered.iter_rows():
                yield answer["line"]
        except RayError as error:
            raise BatchError("ray_failed", f"Ray gave up: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    """What an actor raised on purpose, without the traces that Ray wraps around it; else Ray's own last line."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    ours = [line.partition(": ")[2] for line in lines if line.startswith("mri_models.errors.")]
    return (ours or lines)[-1]
