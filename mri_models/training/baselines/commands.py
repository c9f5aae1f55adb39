"""`python -m mri_models baselines`: simpler methods on the same patients. Only options here; the rest loads on use."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add(commands: Any, corpus: Path) -> None:
    """Hang `baselines` below the package's own commands (`argparse`'s subparsers)."""
    command = commands.add_parser("baselines", help="simpler methods on the same brain patients, cross-validated")
    command.add_argument("--data", type=Path, default=corpus, help="corpus folder with manifest.csv")
    command.add_argument("--only", action="append", metavar="NAME", help="a baseline (may be repeated); default all")
    command.add_argument("--folds", type=int, default=5, help="outer folds, by patient")
    command.add_argument("--fold", type=int, action="append", metavar="K", help="only this fold (may be repeated)")
    command.add_argument("--leak", action="store_true", help="deal slices instead of patients, to see what that does")
    command.add_argument("--table", action="store_true", help="compute nothing, write JSON and table of what is kept")
    command.add_argument("--preparation", action="store_true", help="the study of grey levels, noise and cropping")
    command.add_argument("--threads", type=int, default=1, help="for the networks; more may cost more than it brings")
    command.add_argument("--runs", type=Path, default=Path("runs/baselines"), help="features and results are kept here")
    command.set_defaults(run=_run, fail=command.error)


def _run(options: argparse.Namespace) -> int:
    import torch

    from mri_models.training.baselines import preparations, report
    from mri_models.training.baselines.cases import SPLITS, read_cases
    from mri_models.training.baselines.recipe import load_baseline, names
    from mri_models.training.baselines.run import Study, run_baseline

    if options.folds < 2:
        options.fail(f"--folds must be at least 2, got {options.folds}")
    torch.set_num_threads(options.threads)
    cases = read_cases(options.data)
    studies = {split: Study(cases, split, options.folds, options.runs) for split in SPLITS}
    if options.preparation:
        preparations.run(studies["patients"])
    elif not options.table:
        for name in options.only or names():
            run_baseline(studies["slices" if options.leak else "patients"], load_baseline(name), options.fold)
    print(report.render(report.write(studies)))
    if preparations.write(studies["patients"]):
        print(f"the preparations stand in {report.RESULT} and {report.README}, too")
    return 0
