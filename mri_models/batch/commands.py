"""`python -m mri_models analyze --out DIR FOLDER`: when that is a batch, and running it."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from itertools import islice
from pathlib import Path

INTERRUPTED = 130  # what shells report after Ctrl-C


def add_options(analyze: argparse.ArgumentParser) -> None:
    """The options that make `analyze` a batch over one folder."""
    batch = analyze.add_argument_group(
        "one FOLDER of any size", "with --out DIR; the same command goes on where it was"
    )
    batch.add_argument("--format", choices=("jsonl", "parquet"), help="of DIR/reports.*; default jsonl")
    batch.add_argument("--workers", type=int, metavar="N", help="processes; default one for each core")
    batch.add_argument("--ray", action="store_true", help="Ray Data: the cluster at RAY_ADDRESS, else this machine")
    batch.add_argument("--time-limit", type=float, metavar="SECONDS", help="for one file; default 120")
    batch.add_argument("--retry", action="store_true", help="also files that crashed, hung or failed before")


def is_batch(options: argparse.Namespace) -> bool:
    """Whether one folder is to be streamed; a folder that is one DICOM series is a volume. Ends for wrong usage."""
    folder = options.inputs[0] if len(options.inputs) == 1 and os.path.isdir(options.inputs[0]) else None
    if options.format or options.workers is not None or options.ray or options.time_limit is not None or options.retry:
        if not (folder and options.out) or options.json or options.pdf:
            options.fail(
                "--format, --workers, --ray, --time-limit and --retry need --out DIR and one FOLDER, and no "
                "--json or --pdf"
            )
        return True
    return bool(folder and options.out) and not (options.json or options.pdf) and not _is_series(folder)


def run(options: argparse.Namespace) -> int:
    """Analyse the folder and print what it came to; `options.out` is there, and another folder."""
    from mri_models.batch.run import run_batch
    from mri_models.batch.worker import Job, load_pipeline
    from mri_models.hub import model_folders, resolve, verify

    folder, out = options.inputs[0].resolve(), options.out.resolve()
    limit = 120.0 if options.time_limit is None else options.time_limit
    if limit <= 0 or (options.workers is not None and options.workers < 1):
        options.fail("--time-limit and --workers must be above 0")
    if options.method:
        _check_method(options)
    source = options.weights or os.environ.get("MRI_WEIGHTS")
    root = resolve(source)
    here = not source or os.path.isdir(source)
    # Of a repository the commit, not what was named, which may be moved; a worker elsewhere has a cache of its own.
    weights = str(root.resolve()) if here else f"{source.partition('@')[0]}@{root.name}"
    job = Job(str(folder), partial(load_pipeline, weights), options.method, limit)
    models = {name: verify(path) for name, path in model_folders(root).items()}
    form = options.format or "jsonl"
    try:
        print(
            run_batch(job, out, workers=options.workers, form=form, models=models, ray=options.ray, retry=options.retry)
        )
    except KeyboardInterrupt:
        print(f"Stopped. {options.out} keeps every answer; the same command goes on.", file=sys.stderr)
        return INTERRUPTED
    return 0


def _check_method(options: argparse.Namespace) -> None:
    from mri_models.explain import METHODS  # brings torch, which the workers need and this process does not

    if options.method not in METHODS:
        options.fail(f"--method must be one of {', '.join(METHODS)}, got {options.method!r}")


def _is_series(folder: Path) -> bool:
    """Whether a folder holds one volume; more files than a volume may have are looked at one by one."""
    from mri_models.volumes.files import inputs
    from mri_models.volumes.limits import MAX_FILES

    try:
        if len(list(islice(folder.iterdir(), MAX_FILES + 1))) > MAX_FILES:
            return False
    except OSError:  # the batch's answer about it will say so
        return False
    return next(inputs([folder]), None) == (folder, True)
