"""Disc grades against the readers' on slices that taught nothing: found by the network itself, counted, graded.

Every graded level of a slice is asked for. Levels that the outline missed are counted as missed, the others graded at
the level that counting gave them; so a miscounted spine costs as it would in use.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score
from tqdm.auto import tqdm

from mri_models.discnet import FINDINGS
from mri_models.discs import OVERALL, DiscGrader, GradeRule, graded, spans
from mri_models.errors import DataError
from mri_models.evaluation.metrics import MIN_PATIENTS, Estimate
from mri_models.evaluation.outlines import Upright, left_alone
from mri_models.evaluation.reliability import ece, ece_by_chance
from mri_models.levels import LEAST
from mri_models.training.spines import BOXES, GRADINGS, Finder, read_boxes, read_gradings, read_pixels, read_slices
from mri_models.types import Orientation, Scan
from mri_models.types.discs import GRADES, LEVELS

LONGEST = 448  # px, as the corpus keeps them
RESAMPLES = 1000
SEQUENCES = ("T1", "T2", "T2_SPACE")
BOTH = "T1 and T2 of a patient, mean"


@dataclass(frozen=True, slots=True, eq=False)
class Graded:
    """N discs: shares (N, 5) and findings (N, 3) of the network; labels (N, 4) of the reader; whose, and where."""

    shares: np.ndarray
    findings: np.ndarray
    labels: np.ndarray
    patients: np.ndarray
    sequences: np.ndarray
    levels: np.ndarray

    def select(self, chosen: np.ndarray) -> Graded:
        """The discs where `chosen` (N,) bool holds."""
        parts = (self.shares, self.findings, self.labels, self.patients, self.sequences, self.levels)
        return Graded(*(part[chosen] for part in parts))


@dataclass(frozen=True, slots=True, eq=False)
class Overall:
    """M slices: truth and answer, index in OVERALL (-1: no spine found), its probability, accepted, patient."""

    truth: np.ndarray
    answer: np.ndarray
    confidence: np.ndarray
    accepted: np.ndarray
    patients: np.ndarray


def measure_discs(
    grader: DiscGrader,
    find: Finder,
    data: Path,
    split: str,
    limit: int | None = None,
    upright: Upright = left_alone,
) -> dict[str, Any]:
    """The part of metrics.json about the discs. Patients of other splits than "test" taught the networks."""
    slices = [one for one in read_slices(data) if one.split == split][:limit]
    tabled, gradings = read_boxes(data / BOXES), read_gradings(data / GRADINGS)
    rows, overall, counted, missed = [], [], [], 0
    for one in tqdm(slices, desc="discs", leave=False):
        pixels = read_pixels(one.path, LONGEST)
        scan, lay = upright(Scan(pixels.astype(np.float32) / 255))
        boxes = list(find(scan))[: len(LEVELS)]
        found = grader(scan, boxes) if len(boxes) >= LEAST else None
        number = int(one.patient.partition(":")[2])
        for level in range(1, 1 + len(LEVELS)):
            label = gradings.get((number, level))
            if label and found and level <= len(found.discs):
                disc = found.discs[level - 1]
                three = (disc.narrowing, disc.bulging, disc.herniation)
                rows.append((disc.pfirrmann, three, label, one.patient, one.sequence, level))
            elif label and level <= 5:
                missed += 1
        answer, sure = (OVERALL.index(found.overall.label), found.overall.confidence) if found else (-1, 0.0)
        overall.append((max(0, one.worst - 3), answer, sure, bool(found and found.overall.accepted), one.patient))
        if one.path.stem in tabled:
            share = pixels.shape[1] / one.grid[0]
            truth = np.array(tabled[one.path.stem]) * share
            counted.append(same_levels(boxes, put_upright(truth, pixels.shape, lay)))
    if not rows:
        raise DataError("no_discs", f"No graded disc was found on {len(slices)} slices of {split}: ask for more.")
    discs = Graded(*(np.array(column) for column in zip(*rows, strict=True)))
    worst = Overall(*(np.array(column) for column in zip(*overall, strict=True)))
    return {"split": split, "slices": len(slices), "missed": missed, "counted": counting(counted)} | summary(
        discs, worst, grader.rule
    )


def same_levels(boxes: Sequence[Sequence[float]], truth: np.ndarray) -> bool:
    """Whether each disc of the table lies nearest to the found disc of the same number."""
    if len(boxes) < LEAST:
        return False
    middles, wanted = ((b[:, :2] + b[:, 2:]) / 2 for b in (np.asarray(boxes, float), truth))
    nearest = np.linalg.norm(wanted[:, None] - middles, axis=2).argmin(1)
    least = min(len(middles), len(wanted))
    return bool((nearest[:least] == np.arange(least)).all())


def put_upright(boxes: np.ndarray, shape: tuple[int, int], lay: Orientation | None) -> np.ndarray:
    """(N, 4) boxes (top, left, bottom, right) on an image of this shape → where they lie once it is turned upright."""
    for _ in range(lay.turn_deg // 90 if lay else 0):  # a quarter clockwise each
        top, left, bottom, right = boxes.T
        boxes, shape = np.stack([left, shape[0] - bottom, right, shape[0] - top], 1), shape[::-1]
    return boxes


def counting(counted: Sequence[bool]) -> dict[str, int]:
    return {"slices": len(counted), "right": int(sum(counted))}


def summary(discs: Graded, worst: Overall, rule: GradeRule) -> dict[str, Any]:
    """Grades by sequence, findings, and the worst disc."""
    views = {"all": discs} | {s: discs.select(discs.sequences == s) for s in SEQUENCES}
    views[BOTH] = averaged(discs)
    views["L5/S1 to L1/L2"] = discs.select(discs.levels <= 5)
    truths = discs.labels[:, 1:].T
    return {
        "grades": {name: grades(view, rule.answer) for name, view in views.items() if len(view.labels)},
        "findings": {
            name: {
                "positive": int(truth.sum()),
                "auroc": bootstrapped(area(truth, scores), discs.patients),
            }
            for name, truth, scores in zip(FINDINGS, truths, discs.findings.T, strict=True)
        },
        "confusion": confusion(discs.labels[:, 0], graded(discs.shares, rule.answer)).tolist(),
        "ranges": ranges(discs, rule.mass),
        "stated": stated(discs, rule),
        "shared": shared(discs),
        "overall": overall_of(worst),
    }


def averaged(discs: Graded) -> Graded:
    """One row for each disc of a patient that was seen on T1 and on T2: the mean of its scores."""
    keys = np.char.add(discs.patients.astype(str), np.char.add(" ", discs.levels.astype(str)))
    rows = []
    for key in np.unique(keys):
        here = discs.select((keys == key) & np.isin(discs.sequences, ("T1", "T2")))
        if len(set(here.sequences)) == 2:
            mean = (here.shares.mean(0), here.findings.mean(0))
            rows.append((*mean, here.labels[0], here.patients[0], "both", here.levels[0]))
    return Graded(*(np.array(column) for column in zip(*rows, strict=True))) if rows else discs.select(keys == "")


def grades(discs: Graded, answer: str) -> dict[str, Any]:
    """Exact, within one and kappa with their intervals."""
    truth, given = discs.labels[:, 0], graded(discs.shares, answer)
    found: dict[str, Any] = {"discs": len(truth), "patients": len(set(discs.patients))}
    off = np.abs(given - truth)
    measures = {
        "exact": lambda weights: float(np.average(off == 0, weights=weights)),
        "within_one": lambda weights: float(np.average(off <= 1, weights=weights)),
        "kappa": lambda weights: weighted_kappa(confusion(truth, given, weights)),
    }
    return found | {name: bootstrapped(measure, discs.patients) for name, measure in measures.items()}


def ranges(discs: Graded, mass: float) -> dict[str, Any]:
    """How often the reader's grade lies in the stated range, and how many grades that holds on average."""
    low, high = spans(discs.shares, mass).T
    right = (low <= discs.labels[:, 0]) & (discs.labels[:, 0] <= high)
    found = bootstrapped(lambda weights: float(np.average(right, weights=weights)), discs.patients)
    return {"right": found, "width": round(float((high - low + 1).mean()), 3)}


def stated(discs: Graded, rule: GradeRule) -> dict[str, Any]:
    """How many discs get one grade instead of a range, and how many of those the reader's; None where none does."""
    given = graded(discs.shares, rule.answer)
    sure = discs.shares[np.arange(len(given)), given - 1] >= rule.threshold
    right = given == discs.labels[:, 0]

    def accuracy(weights: np.ndarray) -> float:
        whole = weights[sure].sum()
        return float((weights * right)[sure].sum() / whole) if whole else float("nan")

    share = bootstrapped(lambda weights: float(np.average(sure, weights=weights)), discs.patients)
    return {"coverage": share, "right": bootstrapped(accuracy, discs.patients) if sure.any() else None}


def shared(discs: Graded) -> dict[str, float]:
    """How far the discs of a patient err together: the part of the squared error that is their patient's mean error,
    and the exact share if somebody took that mean away."""
    truth, expected = discs.labels[:, 0], discs.shares @ np.array(GRADES, float)
    _, owner = np.unique(discs.patients, return_inverse=True)
    error = expected - truth
    common = (np.bincount(owner, error) / np.bincount(owner))[owner]
    without = (expected - common).round().clip(GRADES[0], GRADES[-1])
    part = float((common**2).mean() / max((error**2).mean(), 1e-9))
    return {"part": round(part, 3), "exact_without": round(float((without == truth).mean()), 3)}


def confusion(truth: np.ndarray, given: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """(5, 5) sums of weights: rows are the reader's grade, columns the answer."""
    return tally(truth - 1, given - 1, len(GRADES), weights)


def tally(rows: np.ndarray, columns: np.ndarray, size: int, weights: np.ndarray | None = None) -> np.ndarray:
    """(size, size) sums of weights of the pairs (row, column), each from 0."""
    counts = np.zeros((size, size), int if weights is None else float)
    np.add.at(counts, (rows, columns), 1 if weights is None else weights)
    return counts


def weighted_kappa(counts: np.ndarray) -> float:
    """Quadratic weighted kappa (Cohen 1968) of a confusion matrix; NaN where all is one grade."""
    grade = np.arange(len(counts))
    cost = (grade[:, None] - grade) ** 2
    chance = np.outer(counts.sum(1), counts.sum(0)) / counts.sum()
    expected = (cost * chance).sum()
    return float(1 - (cost * counts).sum() / expected) if expected else float("nan")


def area(truth: np.ndarray, scores: np.ndarray) -> Callable[[np.ndarray], float]:
    """AUROC under weights; NaN where one class has none."""

    def measure(weights: np.ndarray) -> float:
        drawn = weights > 0
        if len(set(truth[drawn])) < 2:
            return float("nan")
        return float(roc_auc_score(truth[drawn], scores[drawn], sample_weight=weights[drawn]))

    return measure


def overall_of(worst: Overall) -> dict[str, Any]:
    """Mean recall of the worst disc's class, the share accepted, and how many of those are right."""
    right = worst.answer == worst.truth
    kinds = np.eye(len(OVERALL))[worst.truth]

    def recall(weights: np.ndarray) -> float:
        whole = weights @ kinds
        return float(((weights * right) @ kinds / np.maximum(whole, 1e-9))[whole > 0].mean())

    def calibration(weights: np.ndarray) -> float:
        return float(ece(worst.confidence, right, weights))

    accepted = worst.accepted
    return {
        "slices": len(right),
        "balanced_accuracy": bootstrapped(recall, worst.patients),
        "accuracy": bootstrapped(lambda weights: float(np.average(right, weights=weights)), worst.patients),
        "ece": bootstrapped(calibration, worst.patients),
        "ece_by_chance": Estimate(ece_by_chance(worst.confidence)).to_dict(),
        "confusion": confusion_of(worst),
        "coverage": bootstrapped(lambda weights: float(np.average(accepted, weights=weights)), worst.patients),
        "accepted": int(accepted.sum()),
        "right_among_accepted": int((right & accepted).sum()),
    }


def confusion_of(worst: Overall) -> list[list[int]]:
    """Slices by the reader's class (rows) and the answer (columns); slices without a spine found are left out."""
    found = worst.answer >= 0
    return tally(worst.truth[found], worst.answer[found], len(OVERALL)).tolist()


def bootstrapped(
    measure: Callable[[np.ndarray], float], patients: np.ndarray, seed: int = 0
) -> dict[str, float | None]:
    """`measure` of weights (N,), with a 95 % interval from resampled patients."""
    names, owner = np.unique(patients, return_inverse=True)
    value = measure(np.ones(len(owner)))
    if len(names) < MIN_PATIENTS:
        return Estimate(value).to_dict()
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), RESAMPLES)
    low, high = np.nanquantile([measure(draw[owner].astype(float)) for draw in draws], (0.025, 0.975))
    return Estimate(value, float(low), float(high)).to_dict()
