"""Outlines against the readers' own, by label, source and patient: Dice, missed structures, outlines of nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from mri_models.evaluation.metrics import MIN_PATIENTS, Estimate
from mri_models.evaluation.tables import cell, table, update_readme

RESAMPLES = 1000
NOTE = (
    "Dice: twice the shared area over the sum of both, mean over slices that hold the structure (a missed one counts "
    "0). Missed: slices whose outline shares no pixel with the reader's. Outlined though empty: slices without the "
    "structure on which something is drawn. Each as if every image of the source were outlined, whatever the "
    "classifiers say. Brackets: 95 % interval over patients (bootstrap)."
)
FORESEEN = (
    "Expected Dice: what the network itself expects of an outline, from its doubt about each pixel, put right on "
    "validation patients. Of slices that hold the structure and on which something is drawn; off by: mean distance "
    "between the two; rank correlation: Spearman's, over slices."
)


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Dice coefficient (Dice 1945) of two bool arrays; 1 where both are empty."""
    sizes = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / sizes if sizes else 1.0


def by_patient(values: Sequence[float], patients: Sequence[str], *, seed: int = 0) -> Estimate | None:
    """Mean over images, with a 95 % interval from resampled patients; None without images."""
    if not len(values):
        return None
    values, owner = np.asarray(values, float), np.unique(patients, return_inverse=True)[1]
    sums, counts = np.bincount(owner, values), np.bincount(owner)
    if len(sums) < MIN_PATIENTS:
        return Estimate(float(values.mean()))
    draws = np.random.default_rng(seed).multinomial(len(sums), np.full(len(sums), 1 / len(sums)), RESAMPLES)
    low, high = np.quantile(draws @ sums / (draws @ counts), (0.025, 0.975))
    return Estimate(float(values.mean()), float(low), float(high))


def measure_outlines(
    answers: Sequence[np.ndarray],
    truths: Sequence[np.ndarray],
    patients: Sequence[str],
    labels: Sequence[str],
    expected: Sequence[float | None] = (),
) -> dict[str, Any]:
    """One source: answers and truths (H, W) uint8 classes → Dice by label, missed, outlined though empty.

    expected: of each answer the Dice that the network expects of it, where it does; compared with the real one.
    """
    found: dict[str, Any] = {"images": len(truths), "patients": len(set(patients)), "dice": {}, "missed": {}}
    pairs = list(zip(answers, truths, patients, strict=True))
    for k, label in enumerate(labels, 1):
        rows = [(a == k, t == k, patient) for a, t, patient in pairs if (t == k).any()]
        owners = [patient for *_, patient in rows]
        found["dice"][label] = _plain(by_patient([dice(a, t) for a, t, _ in rows], owners))
        found["missed"][label] = _plain(by_patient([not (a & t).any() for a, t, _ in rows], owners))
    empty = [(bool(a.any()), patient) for a, t, patient in pairs if not t.any()]
    found["empty"] = len(empty)
    found["outlined"] = _plain(by_patient([a for a, _ in empty], [patient for _, patient in empty]))
    told = [
        (value, dice(a > 0, t > 0), patient)
        for value, (a, t, patient) in zip(expected, pairs, strict=bool(expected))
        if value is not None and t.any() and a.any()
    ]
    return found | ({"expected": foreseen(*zip(*told, strict=True))} if told else {})


def foreseen(expected: Sequence[float], real: Sequence[float], patients: Sequence[str]) -> dict[str, Any]:
    """How well the Dice that a network expects of its outlines tells the one that they have."""
    gaps = np.abs(np.subtract(expected, real))
    tied = min(np.std(expected), np.std(real)) < 1e-9
    return {
        "images": len(real),
        "real": _plain(by_patient(real, patients)),
        "expected": _plain(by_patient(expected, patients)),
        "gap": _plain(by_patient(gaps, patients)),
        "correlation": None if tied else float(spearmanr(expected, real).statistic),
    }


def _plain(estimate: Estimate | None) -> dict[str, float | None] | None:
    return estimate and estimate.to_dict()


def outline_table(found: Mapping[str, Any]) -> str:
    """{source: `measure_outlines`} → Markdown."""
    head = ["source", "slices", "patients", "structure", "Dice", "missed", "outlined though empty"]
    rows = []
    for source, one in found.items():
        for i, label in enumerate(one["dice"]):
            blank = cell(one["outlined"]) + (f" of {one['empty']}" if one["empty"] else "") if i == 0 else ""
            names = [source, one["images"], one["patients"]] if i == 0 else ["", "", ""]
            rows.append([*names, label, cell(one["dice"][label]), cell(one["missed"][label]), blank])
    return table(head, rows)


def foreseen_table(found: Mapping[str, Any]) -> str:
    """{source: `measure_outlines`} → Markdown of the expected Dice; empty where none is."""
    rows = [
        [source, told["images"], *(cell(told[key]) for key in ("real", "expected", "gap")), rank(told["correlation"])]
        for source, one in found.items()
        if (told := one.get("expected"))
    ]
    head = ["source", "slices outlined", "Dice", "expected Dice", "off by", "rank correlation"]
    return f"\n\n{table(head, rows)}\n\n{FORESEEN}" if rows else ""


def rank(correlation: float | None) -> str:
    return "–" if correlation is None else f"{correlation:.2f}"


def write_outline_tables(results: Mapping[str, Any], readme: Path, weights: Path) -> None:
    """README: every outline network; each card: its own."""
    shown = {name: outline_table(found) + foreseen_table(found) for name, found in results.items()}
    parts = [f"### {name}\n\n{text}" for name, text in shown.items()]
    update_readme(readme, "segmentation", "\n\n".join([*parts, NOTE]))
    for name, text in shown.items():
        update_readme(weights / name / "README.md", name, f"{text}\n\n{NOTE}")
