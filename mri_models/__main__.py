"""The command line: `python -m mri_models analyze | train | export | evaluate | benchmark | drift | publish | info`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mri_models.batch import commands as batch
from mri_models.drift import commands as drift
from mri_models.errors import MriError
from mri_models.publish import commands as publish
from mri_models.types import DISCLAIMER, Report, VolumeReport
from mri_models.wording import LANGUAGES

if TYPE_CHECKING:
    from mri_models.volumes.pipeline import Progress

CORPUS = Path("../shared/corpus")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did its work, 1 for an MriError, 2 for wrong usage."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except MriError as error:
        print(f"{error.code}: {error.message}", file=sys.stderr)
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
    analyze.add_argument("--method", metavar="NAME", help="grad_cam, layer_cam, shap or occlusion")
    analyze.add_argument("--out", type=Path, metavar="DIR", help="also write STEM.json and overlay or mask here")
    analyze.add_argument("--pdf", action="store_true", help="with --out: also write the report as STEM.pdf")
    analyze.add_argument("--language", choices=LANGUAGES, default="en", help="of the PDF")
    _add_weights(analyze)
    batch.add_options(analyze)
    analyze.set_defaults(run=_analyze, fail=analyze.error)

    train = commands.add_parser("train", help="train a recipe (recipes/NAME.toml or a path) and export the model")
    train.add_argument("recipe")
    train.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a recipe's value")
    train.add_argument("--no-resume", action="store_true", help="start over even if a checkpoint is there")
    train.add_argument("--no-export", action="store_true", help="leave weights/ alone")
    train.set_defaults(run=_train)

    export = commands.add_parser("export", help="calibrate a finished run and write its folder below weights/")
    export.add_argument("recipe")
    export.set_defaults(run=_export, set=[])

    scale = commands.add_parser("scale", help="give exported models the colour scale of methods that they lack")
    scale.add_argument("--data", type=Path, default=CORPUS, help="corpus folder with manifest.csv")
    scale.add_argument("--weights", type=Path, default=Path("weights"), help="whose config.json files are completed")
    scale.set_defaults(run=_scale)

    evaluate = commands.add_parser("evaluate", help="measure every stage; writes metrics, figures, README tables")
    evaluate.add_argument("--out", type=Path, default=Path("runs/evaluation"), help="figures go here")
    evaluate.add_argument("--split", default="test", choices=("val", "test"))
    evaluate.add_argument("--limit", type=int, help="at most this many images a stage (a quick check, not a result)")
    evaluate.add_argument("--only", default="", metavar="NAME", help="a model, explanations or figures; the rest stays")
    _add_weights(evaluate)
    evaluate.set_defaults(run=_evaluate)

    for command in (train, export, evaluate):
        command.add_argument("--data", type=Path, default=CORPUS, help="corpus folder with manifest.csv")
    for command in (train, export):
        command.add_argument("--runs", type=Path, default=Path("runs"), help="checkpoints and curves")
        command.add_argument("--weights", type=Path, default=Path("weights"), help="where the model folder is written")

    benchmark = commands.add_parser("benchmark", help="median time of a verdict and of an explanation")
    benchmark.add_argument("--rounds", type=int, default=15)
    benchmark.add_argument("--visitors", action="store_true", help="also start app.py and send 1, 4, 10, 30 visitors")
    benchmark.add_argument(
        "--soak", type=float, metavar="MINUTES", help="instead: 10, 30 and 100 visitors, so long each"
    )
    benchmark.add_argument("--write", action="store_true", help="keep it in weights/benchmark.json and the README")
    _add_weights(benchmark)
    benchmark.set_defaults(run=_benchmark)

    drift.add(commands, CORPUS)
    publish.add(commands)
    info = commands.add_parser("info", help="which models are loaded, with thresholds and hashes")
    _add_weights(info)
    info.set_defaults(run=_info)
    return parser


def _add_weights(command: argparse.ArgumentParser) -> None:
    command.add_argument("--weights", help='folder or "owner/repo@revision"; default MRI_WEIGHTS, else weights/')


def _analyze(options: argparse.Namespace) -> int:
    if batch.is_batch(options):
        return batch.run(options)
    from mri_models.explain import METHODS  # torch loads only for commands that need it
    from mri_models.pipeline import Pipeline
    from mri_models.volumes.files import inputs
    from mri_models.volumes.pipeline import VolumePipeline

    if options.pdf and not options.out:
        options.fail("--pdf needs --out DIR to write into")
    method = options.method or METHODS[0]
    if method not in METHODS:
        options.fail(f"--method must be one of {', '.join(METHODS)}, got {method!r}")
    pipeline = Pipeline.from_pretrained(options.weights)
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
    volumes = VolumePipeline(pipeline)
    for path, is_volume in inputs(options.inputs):
        if is_volume:
            report = volumes(path, progress=_show_progress)
        else:
            report = pipeline(path, explain=not options.no_explain, method=method)
        print(json.dumps(report.to_dict()) if options.json else _summary(report), flush=True)
        if options.out:
            (_write_volume if is_volume else _write)(report, path, options.out)
        if options.pdf and is_volume:
            print(f"{report.file}: a PDF is written about single images only", file=sys.stderr)
        elif options.pdf:
            report.to_pdf(options.out / f"{path.stem}.pdf", language=options.language)
    return 0


def _show_progress(step: Progress) -> None:
    """One line that overwrites itself, for people only."""
    if sys.stderr.isatty():
        print(f"\r{step.what}: {step.done + 1} of {step.total} ", end="", file=sys.stderr, flush=True)


def _summary(report: Report | VolumeReport) -> str:
    return "\n".join([f"{report.file}: {report.status}", *(f"  {line}" for line in report.findings)])


def _write(report: Report, path: Path, folder: Path) -> None:
    """STEM.json and, when there is an explanation, STEM.overlay.png of the input's size."""
    (folder / f"{path.stem}.json").write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="utf-8")
    if report.explanation:
        from mri_models.explain import overlay
        from mri_models.intake import read_scan

        overlay(read_scan(path), report.explanation).save(folder / f"{path.stem}.overlay.png")


def _write_volume(report: VolumeReport, path: Path, folder: Path) -> None:
    """STEM.json and, when something was outlined, STEM.mask.nii.gz in the input's own space."""
    from mri_models.volumes.files import stem
    from mri_models.volumes.nifti import mask_nifti

    name = stem(path.resolve())
    (folder / f"{name}.json").write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="utf-8")
    if report.mask and report.mask.found:
        (folder / f"{name}.mask.nii.gz").write_bytes(mask_nifti(report.mask, report.volume))


def _train(options: argparse.Namespace) -> int:
    from mri_models.training import anomaly, discs, segment, segment3d
    from mri_models.training.fit import train
    from mri_models.training.recipe import load_recipe

    if anomaly.is_autoencoder(options.recipe):
        recipe = anomaly.load_anomaly_recipe(options.recipe, options.set)
        anomaly.train(recipe, options.data, options.runs, resume=not options.no_resume)
        return 0 if options.no_export else _export(options)
    if segment3d.is_segmentation3d(options.recipe):
        recipe = segment3d.load_segment3d_recipe(options.recipe, options.set)
        segment3d.train(recipe, options.data, options.runs, resume=not options.no_resume)
        return 0 if options.no_export else _export(options)
    if segment.is_segmentation(options.recipe):
        recipe = segment.load_segment_recipe(options.recipe, options.set)
        segment.train(recipe, options.data, options.runs, options.weights, resume=not options.no_resume)
        return 0 if options.no_export or not recipe.exported else _export(options)
    if discs.is_discs(options.recipe):
        recipe = discs.load_disc_recipe(options.recipe, options.set)
        discs.train(recipe, options.data, options.runs, options.weights, resume=not options.no_resume)
        return 0 if options.no_export or not recipe.exported else _export(options)
    recipe = load_recipe(options.recipe, options.set)
    if not recipe.run:  # else the run that it names holds its network already
        train(recipe, options.data, options.runs, resume=not options.no_resume)
    return 0 if options.no_export or not recipe.exported else _export(options)


def _export(options: argparse.Namespace) -> int:
    from mri_models.training import (
        anomaly,
        anomaly_export,
        discs,
        discs_export,
        segment,
        segment3d,
        segment3d_export,
        segment_export,
    )
    from mri_models.training.export import export
    from mri_models.training.recipe import load_recipe

    folders = options.data, options.runs, options.weights
    if segment3d.is_segmentation3d(options.recipe):
        recipe = segment3d.load_segment3d_recipe(options.recipe, options.set)
        print(f"wrote {segment3d_export.export(recipe, *folders)}")
        return 0
    if segment.is_segmentation(options.recipe):
        print(f"wrote {segment_export.export(segment.load_segment_recipe(options.recipe, options.set), *folders)}")
        return 0
    if discs.is_discs(options.recipe):
        folder = discs_export.export(discs.load_disc_recipe(options.recipe, options.set), *folders)
    elif anomaly.is_autoencoder(options.recipe):
        folder = anomaly_export.export(anomaly.load_anomaly_recipe(options.recipe, options.set), *folders)
    else:
        folder = export(load_recipe(options.recipe, options.set), *folders)
    print(f"wrote {folder}")
    return 0


def _scale(options: argparse.Namespace) -> int:
    from mri_models.training.scale import complete_scales

    for model, added in complete_scales(options.weights, options.data):
        print(model, json.dumps(added))
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from mri_models.evaluation.run import evaluate
    from mri_models.pipeline import Pipeline

    pipeline = Pipeline.from_pretrained(options.weights)
    evaluate(pipeline, options.data, options.out, split=options.split, limit=options.limit, only=options.only)
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
        from mri_models.evaluation.visitors import visit

        result["visitors"] = visit()
    print(json.dumps(result, indent=1))
    if options.write:
        write(result)
    return 0


def _info(options: argparse.Namespace) -> int:
    from mri_models.pipeline import Pipeline

    pipeline = Pipeline.from_pretrained(options.weights)
    for name, model in pipeline.models.items():
        accepted = ", ".join(f"{label} >= {t:.2f}" for label, t in model.calibration.thresholds.items())
        print(f"{name}  {model.spec.size} px  sha256 {model.digest[:12]}  {accepted}")
    if found := pipeline.anomaly:
        rule = f"borderline >= {found.rule.borderline:.2f}, anomalous >= {found.rule.threshold:.2f}"
        print(f"anomaly  {found.observer.autoencoder.size} px  sha256 {found.digest[:12]}  {rule}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
