"""What preparing an image is worth: each step switched, the cheapest good baseline cross-validated anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mri_models.evaluation.metrics import multiplicities, recalls
from mri_models.evaluation.tables import cell, update_readme
from mri_models.evaluation.tables import table as markdown_table
from mri_models.training.baselines import report
from mri_models.training.baselines.pictures import Preparation
from mri_models.training.baselines.recipe import Classical, load_baseline
from mri_models.training.baselines.run import Study, read_result, run_baseline

NAME = "preparations"
BASELINES = ("frozen_logistic", "handmade_svm_grid")
RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to prepare; the first is what serving does, the others differ from it in one step."""

    name: str
    title: str
    preparation: Preparation


VARIANTS = (
    Variant("served", "as served: luma, percentiles stretched, nothing else", Preparation()),
    Variant("mean_grey", "grey as the mean of the channels", Preparation(grey="mean")),
    Variant("unstretched", "without the percentile stretch", Preparation(stretched=False)),
    Variant("median", "median filter, 3 x 3", Preparation(denoised="median")),
    Variant("nlm", "non-local means", Preparation(denoised="nlm")),
    Variant("head", "cropped to the head", Preparation(head=True)),
)


def of_variant(study: Study, variant: Variant) -> Study:
    """The same division, other images; the variant that is served shares its results with the main table."""
    return replace(study, preparation=variant.preparation, variant="" if variant.name == "served" else variant.name)


def run(study: Study) -> None:
    """Every variant with every baseline of the study, kept fold by fold as the main results are."""
    for name in BASELINES:
        for variant in VARIANTS:
            run_baseline(of_variant(study, variant), load_baseline(name))


def collect(study: Study) -> dict[str, Any]:
    """{baseline: {variant: {"title", "balanced_accuracy", "difference"}}} of those with all folds."""
    found: dict[str, Any] = {}
    for name in BASELINES:
        recipe = load_baseline(name)
        scores = {v.name: s for v in VARIANTS if (s := all_scores(of_variant(study, v), recipe)) is not None}
        if "served" not in scores or len(scores) < 2:
            continue  # nothing to compare
        everything = np.arange(len(study.cases))
        found[name] = {"title": recipe.title, "variants": {}}
        for variant in VARIANTS:
            if variant.name in scores:
                metrics = report.outcomes(study.cases, everything, scores[variant.name])
                found[name]["variants"][variant.name] = {
                    "title": variant.title,
                    "balanced_accuracy": report.summarise(metrics).to_dict()["balanced_accuracy"],
                    "difference": difference(study, scores[variant.name], scores["served"]),
                }
    return found


def all_scores(study: Study, recipe: Classical) -> np.ndarray | None:
    """(N, C) over all folds, or None where one is missing."""
    results = [read_result(study, recipe, fold) for fold in range(study.count)]
    if None in results:
        return None
    scores = np.zeros((len(study.cases), len(report.CLASSES)))
    for result in results:
        scores[study.assigned == result["fold"]] = result["scores"]
    return scores


def difference(study: Study, scores: np.ndarray, served: np.ndarray) -> dict[str, float]:
    """Change of balanced accuracy against what is served, with its interval: both on the same patients drawn again."""
    labels = study.cases.labels
    names, owner = np.unique(study.cases.patients, return_inverse=True)
    drawn = multiplicities(np.random.default_rng(0), RESAMPLES, len(names))
    weights = np.concatenate([np.ones((1, len(names))), drawn])[:, owner]  # (1 + R, N); the first is the estimate
    gain = (scores.argmax(1) == labels).astype(float) - (served.argmax(1) == labels)
    changes = recalls(weights, np.eye(scores.shape[1])[labels], gain).mean(1)
    low, high = np.quantile(changes[1:], (0.025, 0.975))
    return {"value": round(float(changes[0]), 4), "low": round(float(low), 4), "high": round(float(high), 4)}


def write(study: Study) -> bool:
    """Into weights/baselines.json and the README, where all folds of at least one baseline are there."""
    if not (found := collect(study)):
        return False
    known = json.loads(report.RESULT.read_text(encoding="utf-8"))
    report.RESULT.write_text(json.dumps(known | {NAME: found}, indent=1) + "\n", encoding="utf-8")
    update_readme(report.README, NAME, render(found))
    return True


def render(found: Mapping[str, Any]) -> str:
    """One table: a row for each variant, two columns for each baseline."""
    header = ["preparation", *(text for m in found.values() for text in (m["title"], "difference"))]
    rows = []
    for variant in VARIANTS:
        row = [variant.title]
        for m in found.values():
            entry = m["variants"].get(variant.name)
            changed = entry and variant.name != "served"
            row += [cell(entry and entry["balanced_accuracy"]), signed(entry["difference"]) if changed else "–"]
        rows.append(row)
    note = (
        "Balanced accuracy over the folds by patient, as above; difference to what is served on the same patients, "
        "with its 95 % interval (paired bootstrap over patients): one that holds 0 shows nothing."
    )
    return f"{markdown_table(header, rows)}\n\n{note}"


def signed(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:+.3f} [{estimate['low']:+.3f}, {estimate['high']:+.3f}]"
