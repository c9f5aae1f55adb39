"""Kept fold results → weights/baselines.json → the README's table."""

from __future__ import annotations

import json
import os
import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mri_models.errors import DataError
from mri_models.evaluation.metrics import Outcomes, summarise
from mri_models.evaluation.tables import cell, update_readme
from mri_models.evaluation.tables import table as markdown_table
from mri_models.training.baselines.cases import CLASSES, Cases
from mri_models.training.baselines.recipe import load_baseline, names
from mri_models.training.baselines.run import Study, read_result

NAME = "baselines"
RESULT = Path("weights/baselines.json")
METRICS = Path("weights/metrics.json")
README = Path("README.md")
SERVED = "diagnosis/brain"
AIM = 0.93  # balanced accuracy by patient that was asked of the best


def collect(study: Study) -> dict[str, Any]:
    """{name: measured} of every baseline that has at least one fold."""
    found = {}
    for name in names():
        recipe = load_baseline(name)
        results = [read_result(study, recipe, fold) for fold in range(study.count)]
        if any(results):
            found[name] = {"title": recipe.title} | measured(study, results)
    return found


def measured(study: Study, results: Sequence[Mapping[str, Any] | None]) -> dict[str, Any]:
    """Metrics over the judged images of the folds that are there, the other folds' numbers in `missing_folds`."""
    there = [r for r in results if r is not None]
    judged = [np.flatnonzero(study.assigned == r["fold"]) for r in there]
    which = np.concatenate(judged)
    scores = np.concatenate([np.asarray(r["scores"]) for r in there])
    metrics = summarise(outcomes(study.cases, which, scores)).to_dict()
    wanted = ("images", "patients", "balanced_accuracy", "patient_balanced_accuracy", "auroc", "recall", "confusion")
    mean = {key: round(float(np.mean([r[key] for r in there])), 2) for key in ("cpu_minutes", "wall_minutes")}
    return {
        **{key: metrics[key] for key in wanted},
        "missing_folds": [fold for fold, r in enumerate(results) if r is None],
        **mean,  # a fold
        "latency_ms": min(r["latency_ms"] for r in there),
        "stories": [_story(r["story"]) for r in there],
    }


def outcomes(cases: Cases, which: np.ndarray, scores: np.ndarray) -> Outcomes:
    """The images `which` (n,) with class scores (n, C), as the other tables are computed from."""
    return Outcomes(
        probabilities=scores / scores.sum(1, keepdims=True),
        labels=cases.labels[which],
        classes=CLASSES,
        patients=cases.patients[which],
        sources=cases.sources[which],
        accepted=np.ones(len(which), bool),
        ood=np.zeros(len(which)),
    )


def _story(story: Mapping[str, Any]) -> dict[str, Any]:
    """Without the curve: the last and the best validation are enough."""
    curve = story.get("validations", [])
    short = {key: value for key, value in story.items() if key != "validations"}
    return short | ({"best_validation": min(curve, key=lambda entry: entry["loss"])} if curve else {})


def write(studies: Mapping[str, Study]) -> dict[str, Any]:
    """Everything that is kept below runs/, as weights/baselines.json and the README's table; what else the JSON holds
    stays. `studies` by split.

    Raises DataError when nothing was measured by patient.
    """
    cases = studies["patients"].cases
    by_split = {split: collect(study) for split, study in studies.items()}
    if not by_split["patients"]:
        raise DataError("no_result", "No baseline has a result by patient yet: run python -m mri_models baselines.")
    known = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
    result = known | {
        "cases": {
            "images": len(cases),
            "patients": len(set(cases.patients)),
            "classes": dict(Counter(CLASSES[label] for label in cases.labels.tolist())),
        },
        "folds": studies["patients"].count,
        "folds_hash": {split: study.digest for split, study in studies.items()},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "results": by_split,
        "same_folds": same_folds(studies["patients"], by_split["patients"]),
        "not_run": {load_baseline(name).title: name for name in names() if name not in by_split["patients"]},
        "served": served(),
    }
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    update_readme(README, NAME, render(result))
    return result


def same_folds(study: Study, found: Mapping[str, Any]) -> dict[str, Any]:
    """{incomplete baseline: the best complete one on the folds that it has}, since folds are not equally hard."""
    complete = [name for name, m in found.items() if not m["missing_folds"]]
    if not complete:
        return {}
    rival = max(complete, key=lambda name: found[name]["balanced_accuracy"]["value"])
    results = [read_result(study, load_baseline(rival), fold) for fold in range(study.count)]
    answer = {}
    for name, m in found.items():
        if m["missing_folds"]:
            kept = [None if fold in m["missing_folds"] else r for fold, r in enumerate(results)]
            answer[name] = {"rival": rival, "balanced_accuracy": measured(study, kept)["balanced_accuracy"]}
    return answer


def served() -> dict[str, Any]:
    """The served brain network on test patients, over the same four classes: another network, other patients."""
    stage = json.loads(METRICS.read_text(encoding="utf-8"))["stages"][SERVED]["overall"]
    recall = {name: stage["recall"][name] for name in CLASSES}
    mean = float(np.mean([estimate["value"] for estimate in recall.values()]))
    return {"balanced_accuracy": {"value": round(mean, 4), "low": None, "high": None}, "recall": recall}


def render(result: Mapping[str, Any]) -> str:
    """The baselines by patient, best first, incomplete ones last; some split by slice; what the columns mean."""
    found = result["results"]["patients"]
    ranked = sorted(found.values(), key=lambda m: (bool(m["missing_folds"]), -m["balanced_accuracy"]["value"]))
    header = ["baseline", "balanced accuracy", "one vote a patient", *CLASSES, "CPU min a fold", "ms an image"]
    rows = [_row(m) for m in ranked]
    parts = [markdown_table(header, rows)]
    if result["results"]["slices"]:
        parts.append(_leak(result["results"]))
    for name, same in result["same_folds"].items():
        rival = found[same["rival"]]["title"]
        parts.append(f"On the folds that {found[name]['title']} has, {rival} has {cell(same['balanced_accuracy'])}.")
    if result["not_run"]:
        parts.append(f"Not run: {'; '.join(result['not_run'])}.")
    parts.append(_note(result))
    return "\n\n".join(parts)


def _row(m: Mapping[str, Any]) -> list[str]:
    missing = m["missing_folds"]
    title = m["title"] + (f" (folds {', '.join(map(str, missing))} missing)" if missing else "")
    recalls = [f"{m['recall'][name]['value']:.3f}" if name in m["recall"] else "–" for name in CLASSES]
    both = [cell(m["balanced_accuracy"]), cell(m["patient_balanced_accuracy"])]
    return [title, *both, *recalls, f"{m['cpu_minutes']:.2f}", f"{m['latency_ms']:.0f}"]


def _leak(results: Mapping[str, Any]) -> str:
    rows = []
    for name, leaky in results["slices"].items():
        honest = results["patients"].get(name)
        gap = f"{leaky['balanced_accuracy']['value'] - honest['balanced_accuracy']['value']:+.3f}" if honest else "–"
        rows.append(
            [_row(leaky)[0], cell(honest and honest["balanced_accuracy"]), cell(leaky["balanced_accuracy"]), gap]
        )
    return (
        "What leakage does: the same baselines, but slices dealt at random, so that a patient's neighbouring slices "
        "stand on both sides.\n\n" + markdown_table(["baseline", "by patient", "by slice (leaks)", "difference"], rows)
    )


def _note(result: Mapping[str, Any]) -> str:
    cases = result["cases"]
    complete = [m for m in result["results"]["patients"].values() if not m["missing_folds"]]
    best = max((m["balanced_accuracy"]["value"] for m in complete), default=0.0)
    reached = f"{'reached' if best >= AIM else 'missed'} ({best:.3f})" if complete else "open"
    served_value, recall = result["served"]["balanced_accuracy"]["value"], result["served"]["recall"]
    recalls = ", ".join(f"{name} {recall[name]['value']:.3f}" for name in CLASSES)
    return (
        f"{cases['images']} images of {cases['patients']} patients, none of the test split; {result['folds']} folds "
        "by patient, stratified by class and source; tuning and early stopping only on patients inside the training "
        f"folds. Aim: {AIM} for the best that has all folds; {reached}. Columns of class names: recall. Brackets: 95 % "
        "interval over patients (bootstrap). CPU minutes: search and training on one fold, features and frozen stages "
        "computed once not counted. Milliseconds: least of 15 rounds, one image from its canvas to scores, "
        f"{result['machine']}, one thread. The served brain network is not comparable: it saw these patients in "
        f"training. On the test patients its mean recall over the four classes is {served_value:.3f} ({recalls}), with "
        "a fifth class to choose as well."
    )
