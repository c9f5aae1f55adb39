"""The command line: `python -m mri_models analyze | train | evaluate | baselines | benchmark | drift | publish ...`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mri_models.batch import commands as batch
from mri_models.drift import commands as drift
from mri_models.errors import MriError
from mri_models.evaluation import commands as evaluation
from mri_models.publish import commands as publish
from mri_models.training import commands as training
from mri_models.training.baselines import commands as baselines
from mri_models.types import DISCLAIMER, Report, VolumeReport
from mri_models.wording import LANGUAGES

if TYPE_CHECKING:
    from mri_models.volumes.pipeline import Progress

CORPUS = Path("../shared/corpus")
TEACHING = Path("mri_models/training/requirements.txt")
TAUGHT_WITH = frozenset(("accelerate", "matplotlib", "optuna", "psutil", "skimage", "sklearn", "tqdm", "xgboost"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did its work, 1 for an MriError or a package of training and evaluation that is not
    installed, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except MriError as error:
        print(f"{error.code}: {error.message}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if (package := (error.name or "").partition(".")[0]) not in TAUGHT_WITH:
            raise
        print(f"missing_package: {package} is not installed. First: pip install -r {TEACHING}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # `| head` closed the pipe: nobody is left to tell
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m mri_models", description=__doc__, epilog=DISCLAIMER)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    analyze = commands.add_parser("analyze", help="analyse images and volumes; a bad one gives a rejected line")
    analyze.add_argument("inputs", nargs="+", type=Path, metavar="FILE_OR_FOLDER")
    analyze.add_argument("--json", action="store_true", help="one line of JSON for each file (JSON Lines)")
    analyze.add_argument("--no-explain", action="store_true", help="skip the map of where the model looked")
    methods = "integrated_gradients (default), grad_cam, layer_cam, consensus, shap or occlusion"
    analyze.add_argument("--method", metavar="NAME", help=methods)
    written = "also write STEM.json and overlay or mask here, as STEM-2 where another file has that name"
    analyze.add_argument("--out", type=Path, metavar="DIR", help=written)
    analyze.add_argument("--pdf", action="store_true", help="with --out: also write the report as STEM.pdf")
    analyze.add_argument("--language", choices=LANGUAGES, default="en", help="of the PDF")
    _add_weights(analyze)
    batch.add_options(analyze)
    analyze.set_defaults(run=_analyze, fail=analyze.error)

    training.add(commands, CORPUS)
    evaluation.add(commands, CORPUS)
    baselines.add(commands, CORPUS)
    drift.add(commands, CORPUS)
    publish.add(commands)
    info = commands.add_parser("info", help="which models are loaded, with thresholds and hashes")
    _add_weights(info)
    info.set_defaults(run=_info)
    return parser


def _add_weights(command: argparse.ArgumentParser) -> None:
    command.add_argument("--weights", help='folder or "owner/repo@revision"; default MRI_WEIGHTS, else weights/')


def _analyze(options: argparse.Namespace) -> int:
    whole = batch.is_batch(options)
    if options.pdf and not options.out:
        options.fail("--pdf needs --out DIR to write into")
    if options.out:
        _make_out(options)
    if whole:
        return batch.run(options)
    from mri_models.explain import METHODS  # torch loads only for commands that need it
    from mri_models.pipeline import Pipeline
    from mri_models.results import Results
    from mri_models.volumes.files import inputs
    from mri_models.volumes.pipeline import VolumePipeline

    method = options.method or METHODS[0]
    if method not in METHODS:
        options.fail(f"--method must be one of {', '.join(METHODS)}, got {method!r}")
    pipeline = Pipeline.from_pretrained(options.weights)
    volumes = VolumePipeline(pipeline)
    results = Results(options.out) if options.out else None
    for path, is_volume in inputs(options.inputs, options.out):
        if is_volume:
            report = volumes(path, progress=_show_progress)
        else:
            report = pipeline(path, explain=not options.no_explain, method=method)
        print(json.dumps(report.to_dict()) if options.json else _summary(report), flush=True)
        if results:
            results.write(report, path, options.language if options.pdf else None)
        if options.pdf and is_volume:
            print(f"{report.file}: a PDF is written about single images only", file=sys.stderr)
    return 0


def _make_out(options: argparse.Namespace) -> None:
    """Before models load: a folder that can be written into and holds none of the inputs as its own."""
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        options.fail(f"--out {options.out} can't be made a folder ({error.strerror}). Choose another")
    if any(os.path.isdir(path) and options.out.samefile(path) for path in options.inputs):
        options.fail("--out must be another folder than the one that is analysed")


def _show_progress(step: Progress) -> None:
    """One line that overwrites itself, for people only."""
    if sys.stderr.isatty():
        print(f"\r{step.what}: {step.done + 1} of {step.total} ", end="", file=sys.stderr, flush=True)


def _summary(report: Report | VolumeReport) -> str:
    return "\n".join([f"{report.file}: {report.status}", *(f"  {line}" for line in report.findings)])


def _info(options: argparse.Namespace) -> int:
    from mri_models.anomaly import NAME as ANOMALY
    from mri_models.pipeline import Pipeline

    pipeline = Pipeline.from_pretrained(options.weights)
    for name, model in pipeline.models.items():
        accepted = ", ".join(f"{label} >= {t:.2f}" for label, t in model.calibration.thresholds.items())
        print(f"{name}  {model.spec.size} px  sha256 {model.digest[:12]}  {accepted}")
    if found := pipeline.anomaly:
        rule = f"borderline >= {found.rule.borderline:.2f}, anomalous >= {found.rule.threshold:.2f}"
        print(f"{ANOMALY}  {found.observer.autoencoder.size} px  sha256 {found.digest[:12]}  {rule}")
    for name in sorted({*pipeline.hashes} - {*pipeline.models, ANOMALY}):  # which way is up, outlines, discs
        print(f"{name}  sha256 {pipeline.hashes[name][:12]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
