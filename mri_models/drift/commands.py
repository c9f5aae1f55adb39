"""`python -m mri_models drift reference | simulate | report`.

Nearly all of their time goes into the networks; what these saw of each image is kept below runs/drift, so that a
second run with the same weights and code only judges, and an interrupted one goes on.
"""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mri_models.drift import FOLDER

README = Path("README.md")
DETECTION = "detection.json"


def add(commands: Any, corpus: Path) -> None:
    """Hang `drift` and its three commands below the package's own (`argparse`'s subparsers)."""
    drift = commands.add_parser("drift", help="reference profile, detection table, report")
    parts = drift.add_subparsers(required=True, metavar="WHAT")

    reference = parts.add_parser("reference", help="profile of validation patients, with calibrated alarm limits")
    reference.add_argument("--images", type=int, default=300, help="about this many, spread over sources")
    reference.set_defaults(run=_reference)

    simulate = parts.add_parser("simulate", help="drift test patients' images, measure detection and false alarms")
    simulate.add_argument("--images", type=int, default=40, help="images that are drifted in each way")
    simulate.add_argument("--undrifted", type=int, default=300, help="about this many images as they are")
    simulate.add_argument("--windows", type=int, default=60, help="windows for each drift, severity and size")
    simulate.add_argument("--calm", type=int, default=1000, help="undrifted windows of each size, for false alarms")
    simulate.set_defaults(run=_simulate)

    report = parts.add_parser("report", help="self-contained HTML and JSON about a monitor folder or a simulation")
    what = report.add_mutually_exclusive_group(required=True)
    what.add_argument("--folder", type=Path, help="what MRI_MONITOR_DIR named")
    what.add_argument("--simulate", metavar="DRIFT", help="a simulated stream instead, e.g. blur")
    report.add_argument("--severity", type=int, default=3, choices=range(1, 6))
    report.add_argument("--out", type=Path, default=Path("runs/drift/report"), metavar="DIR")
    report.set_defaults(run=_report)

    for command in (reference, simulate):
        command.add_argument("--data", type=Path, default=corpus, help="corpus folder with manifest.csv")
        command.add_argument("--cache", type=Path, default=Path("runs/drift"), help="observations are kept here")
    for command in (reference, simulate, report):
        command.add_argument("--weights", type=Path, default=Path("weights"), help="the folder that holds drift/")


def _reference(options: argparse.Namespace) -> int:
    import numpy as np

    from mri_models.drift.calibrate import FALSE_ALERTS, FALSE_WATCHES, calibrate
    from mri_models.drift.collect import observations, streams
    from mri_models.drift.observe import Window
    from mri_models.drift.profile import Profile

    verdict, hashes = _pipeline(options.weights)
    stream = streams(options.data, options.images, np.random.default_rng(0))["val"]
    window = Window.of(observations(verdict, hashes, stream.samples, None, 0, _cache(options)))
    patients = [sample.patient for sample in stream.samples]
    limits = calibrate(window, patients, np.random.default_rng(0))
    facts = {
        "split": "val",
        "images": len(window),
        "patients": len(set(patients)),
        "sources": sorted({sample.source for sample in stream.samples}),
        "false_alert_rate": FALSE_ALERTS,
        "false_watch_rate": FALSE_WATCHES,
    }
    # Rows in random order: neighbours would be a patient's.
    shuffled = window.take(np.random.default_rng(0).permutation(len(window)))
    Profile(shuffled, limits, hashes, facts).save(options.weights / FOLDER)
    print(f"wrote the profile of {len(window)} images of {facts['patients']} patients to {options.weights / FOLDER}")
    return 0


def _simulate(options: argparse.Namespace) -> int:
    import numpy as np

    from mri_models.drift.collect import streams
    from mri_models.drift.experiment import counts, detection, render, simulated, write
    from mri_models.drift.profile import load_profile
    from mri_models.evaluation.tables import update_readme

    folder = options.weights / FOLDER
    verdict, hashes = _pipeline(options.weights)
    profile = load_profile(folder)
    _refuse_stale(profile.stale(hashes))
    stream = streams(options.data, options.undrifted, np.random.default_rng(0))["test"]
    source = simulated(verdict, hashes, stream, options.images, _cache(options))
    source.save(folder, hashes)
    found = detection(source, profile, options.windows, options.calm)
    result = {"models": dict(hashes), "images": counts(stream, options.images)} | found
    write(result, folder / DETECTION)
    update_readme(README, "drift", render(result))
    print(render(result))
    return 0


def _report(options: argparse.Namespace) -> int:
    from mri_models.drift.profile import load_profile
    from mri_models.drift.replay import load_simulated
    from mri_models.drift.report import of_folder, of_simulation, write

    folder = options.weights / FOLDER
    profile = load_profile(folder)
    if options.folder:
        content = of_folder(options.folder, profile)
    else:
        content = of_simulation(load_simulated(folder, profile.models), profile, options.simulate, options.severity)
    print(write(content, options.out))
    return 0


def _pipeline(weights: Path) -> tuple[Any, Mapping[str, str]]:
    """The verdict of these weights, and the hashes that decide it; one core an image: two at once beat two on one."""
    import torch

    from mri_models.pipeline import Pipeline

    torch.set_num_threads(1)
    pipeline = Pipeline.from_pretrained(weights)
    return pipeline.verdict, pipeline.judges


def _cache(options: argparse.Namespace) -> Path:
    """Where observations of these weights are kept: thresholds and calibration, in the configs, decide them too."""
    from mri_models.hub import CONFIG, model_folders

    configs = [(folder / CONFIG).read_bytes() for folder in model_folders(options.weights).values()]
    return options.cache / hashlib.sha256(b"".join(configs)).hexdigest()[:12]


def _refuse_stale(models: list[str]) -> None:
    from mri_models.errors import WeightsError

    if models:
        names = ", ".join(models)
        raise WeightsError("stale_profile", f"The profile was made with other weights of {names}: run drift reference.")
