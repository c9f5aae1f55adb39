"""`python -m mri_models evaluate | benchmark | measure`: every published number comes from one of these."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

LEAKY = ("efficientnet", "frozen_logistic", "frozen_svm", "handmade_svm_grid", "mean")  # baselines dealt by slice, too
# Command → the README's tables that it writes; each command has a process, and its memory, to itself
EVERYTHING = {
    "evaluate": ("stages", "turned", "ink", "anomaly", "segmentation", "discs", "volumes", "knee", "explanations"),
    "unseen --write": ("unseen",),
    "drift simulate": ("drift",),
    "baselines": ("baselines",),
    " ".join(["baselines --leak", *(f"--only {name}" for name in LEAKY)]): ("baselines",),
    "baselines --preparation": ("preparations",),
    "benchmark --visitors --write": ("speed",),
    "benchmark --soak 10 --write": ("speed",),
}
_WITHOUT_DATA = "benchmark"


def add(commands: Any, corpus: Path) -> None:
    """Hang them below the package's commands (`argparse`'s subparsers)."""
    evaluate = commands.add_parser("evaluate", help="measure every stage; writes metrics, figures, README tables")
    evaluate.add_argument("--data", type=Path, default=corpus, help="corpus folder with manifest.csv")
    evaluate.add_argument("--out", type=Path, default=Path("runs/evaluation"), help="figures go here")
    evaluate.add_argument("--split", default="test", choices=("val", "test"))
    evaluate.add_argument("--limit", type=int, help="at most this many images a stage (a quick check, not a result)")
    evaluate.add_argument(
        "--only",
        default="",
        metavar="NAME",
        help="a model, classifiers, turned, ink, explanations or figures; the rest stays",
    )
    evaluate.set_defaults(run=_evaluate)

    benchmark = commands.add_parser("benchmark", help="median time of a verdict and of an explanation")
    benchmark.add_argument("--rounds", type=int, default=15)
    benchmark.add_argument(
        "--visitors", action="store_true", help="also start app.py, send 1, 4, 10, 30 visitors and a series"
    )
    benchmark.add_argument("--soak", type=float, metavar="MINUTES", help="instead: 10, 30, 100 visitors, so long each")
    benchmark.add_argument("--write", action="store_true", help="keep it in weights/benchmark.json and the README")
    benchmark.set_defaults(run=_benchmark)

    measure = commands.add_parser("measure", help="every table and figure, one command after the other; many hours")
    measure.add_argument("--data", type=Path, default=corpus, help="corpus folder with manifest.csv")
    measure.set_defaults(run=_measure)
    for command in (evaluate, benchmark):
        command.add_argument("--weights", help='folder or "owner/repo@revision"; default MRI_WEIGHTS, else weights/')


def _evaluate(options: argparse.Namespace) -> int:
    from mri_models.evaluation.run import evaluate
    from mri_models.pipeline import Pipeline

    pipeline = Pipeline.from_pretrained(options.weights)
    evaluate(pipeline, options.data, options.out, split=options.split, limit=options.limit, only=options.only)
    return 0


def _measure(options: argparse.Namespace) -> int:
    for step in EVERYTHING:
        data = [] if step.startswith(_WITHOUT_DATA) else ["--data", str(options.data)]
        command = ["-m", "mri_models", *step.split(), *data]
        print("python", *command, flush=True)
        if failed := subprocess.run([sys.executable, *command], check=False).returncode:
            return failed
    return 0


def _benchmark(options: argparse.Namespace) -> int:
    from mri_models.evaluation.benchmark import benchmark, write
    from mri_models.pipeline import Pipeline

    if options.soak:
        from mri_models.evaluation.soak import soak

        result = {"soak": soak(options.soak)}
    else:
        result = benchmark(Pipeline.from_pretrained(options.weights), options.rounds)
    if options.visitors:
        from mri_models.evaluation.series import time_series
        from mri_models.evaluation.visitors import visit

        result |= {"visitors": visit(), "series": time_series()}
    print(json.dumps(result, indent=1))
    if options.write:
        write(result)
    return 0
