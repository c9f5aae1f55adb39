"""A finished disc grader → weights/discs, calibrated with the half-precision weights served.

Each training and validation patient is judged by the networks that never saw them (cross-validation): a hundred and
fifty patients choose the thresholds, where the corpus' own validation patients are twenty-two.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score

from mri_models.calibration import FLOOR
from mri_models.classify import Classifier
from mri_models.discnet import DiscNet
from mri_models.discs import CONFIG_VERSION, OVERALL, DiscGrader, GradeRule, graded, softmax, spans, worst_of
from mri_models.evaluation.calibration import accept_threshold, fit_temperature
from mri_models.hub import CONFIG, WEIGHTS
from mri_models.training.corpus import read_corpus, split_hash
from mri_models.training.course import as_served, curve, publish, story
from mri_models.training.discs import DiscRecipe, finder_of, folds_of, load_network, taught
from mri_models.training.discs_card import write_card
from mri_models.training.spines import SOURCE, Spine, read_spines
from mri_models.types import Scan
from mri_models.types.discs import GRADES, LEVELS

POWERS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
MASSES = tuple(round(0.3 + 0.01 * i, 2) for i in range(71))
LEAST = 20  # validation discs or slices behind a threshold
WITHOUT = GradeRule(1.0, FLOOR, 1.0, "likeliest", ((1.0, 0.0),) * 3, 1.0, 1.0, dict.fromkeys(OVERALL, FLOOR))
RULE = (
    "of patients judged by networks that never saw them: a disc's grade is stated from the least probability >= "
    f"{FLOOR} at which {{disc:.0%}} of the accepted discs have exactly the reader's grade; otherwise the shortest "
    "range of grades with the least probability at which {span:.0%} of the discs have the reader's grade inside "
    "(conformal, Angelopoulos 2021); the worst disc's class from the least probability >= "
    f"{FLOOR} at which {{overall:.0%}} of the accepted slices are right"
)


def export(recipe: DiscRecipe, data: Path, runs: Path, weights: Path) -> Path:
    """Calibrate the run of `recipe` and write WEIGHTS/NAME; returns that folder."""
    network = as_served(load_network(recipe.name, runs))
    spines = taught(read_spines(data, finder_of(recipe, weights), recipe.longest))
    logits = judged_by_others(network, spines, recipe)
    rule, answers, classes = calibrate(spines, logits, recipe)
    folder = weights / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    publish(network, folder / WEIGHTS)
    mri = {
        "version": CONFIG_VERSION,
        "input_size": list(recipe.size),
        "wide": recipe.wide,
        "levels": list(LEVELS),
        "rule": rule,
        "threshold_rule": RULE.format(
            disc=recipe.disc_accuracy, span=recipe.range_right, overall=recipe.overall_accuracy
        ),
        "finder": recipe.finder,
        "validation": answers | {"image_classifier": image_classifier(spines, classes, weights)},
        "sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
        "split_hash": split_hash(read_corpus(data)),
        "seed": recipe.seed,
        "sources": [SOURCE],
        "taught_by": taught_by(spines),
        "folds": recipe.folds,
        "curve": curve(story(runs, recipe.name)["log"], "nll", "exact", "kappa"),
    }
    (folder / CONFIG).write_text(json.dumps(network.shape | {"mri": mri}, indent=1) + "\n", encoding="utf-8")
    write_card(folder)
    return folder


def judged_by_others(network: DiscNet, spines: Sequence[Spine], recipe: DiscRecipe) -> list[np.ndarray]:
    """(n, 8) logits of each spine, from the members of the fold that left its patient out."""
    size = (recipe.size[0], recipe.size[1])
    firsts = range(0, recipe.folds * recipe.members, recipe.members)
    parts = [network.of(network.members[first : first + recipe.members]) for first in firsts]
    graders = [DiscGrader(one, size, recipe.wide, WITHOUT, "") for one in parts]
    fold_of = folds_of(spines, recipe.folds)
    return [graders[fold_of[spine.patient]].logits(as_scan(spine), spine.places) for spine in spines]


def as_scan(spine: Spine) -> Scan:
    """The slice as serving reads it."""
    return Scan(spine.pixels.astype(np.float32) / 255)


def calibrate(
    spines: Sequence[Spine], logits: Sequence[np.ndarray], recipe: DiscRecipe
) -> tuple[dict[str, Any], dict[str, Any], np.ndarray]:
    """The rule for config.json, what it gives on the same slices, and each one's class of the worst disc (N,)."""
    rows, labels = np.concatenate(logits), np.concatenate([spine.labels for spine in spines])
    known = labels[:, 0] > 0
    truth = labels[known, 0]
    temperature = fit_temperature(rows[known, : len(GRADES)], truth - 1)
    shares = [softmax(one[:, : len(GRADES)].astype(np.float64) / temperature) for one in logits]
    pooled = np.concatenate(shares)[known]
    exact = {answer: float((graded(pooled, answer) == truth).mean()) for answer in ("likeliest", "median")}
    answer = max(exact, key=exact.get)
    answers = graded(pooled, answer)
    confidence = pooled[np.arange(len(truth)), answers - 1]
    threshold = accept_threshold(confidence, answers == truth, target=recipe.disc_accuracy, least=LEAST)
    mass, width = fit_mass(pooled, truth, recipe.range_right)
    worst = np.array([class_of(spine.worst) for spine in spines])
    power, overall_temperature, classes = fit_worst(shares, worst)
    sure, right = classes.max(1), classes.argmax(1) == worst
    overall = accept_threshold(sure, right, target=recipe.overall_accuracy, least=LEAST)
    findings = [platt(column, truths) for column, truths in zip(rows[known, 5:].T, labels[known, 1:].T, strict=True)]
    rule = {
        "temperature": round(temperature, 4),
        "threshold": round(threshold, 4),
        "mass": mass,
        "answer": answer,
        "findings": [[round(t, 4), round(shift, 4)] for t, shift in findings],
        "power": power,
        "overall_temperature": round(overall_temperature, 4),
        "overall": dict.fromkeys(OVERALL, round(overall, 4)),
    }
    checked = {
        "discs": len(truth),
        "exact": round(exact[answer], 4),
        "within_one": round(float((np.abs(answers - truth) <= 1).mean()), 4),
        "kappa": round(float(cohen_kappa_score(truth, answers, weights="quadratic", labels=GRADES)), 4),
        "stated": round(float((confidence >= threshold).mean()), 4),
        "range_width": width,
        "slices": len(worst),
        "overall_balanced_accuracy": round(float(balanced_accuracy_score(worst, classes.argmax(1))), 4),
        "overall_accepted": round(float((sure >= overall).mean()), 4),
        "patients": len({spine.patient for spine in spines}),
    }
    return rule, checked, classes.argmax(1)


def fit_mass(shares: np.ndarray, truth: np.ndarray, wanted: float) -> tuple[float, float]:
    """Least mass at which ranges hold `wanted` of the true grades, and one disc more; mean number of grades in one."""
    needed = np.ceil((len(truth) + 1) * wanted) / len(truth)
    for mass in MASSES:
        low, high = spans(shares, mass).T
        if ((low <= truth) & (truth <= high)).mean() >= needed:
            break
    return mass, round(float((high - low + 1).mean()), 3)


def class_of(grade: int) -> int:
    """Worst grade → index in OVERALL."""
    return max(0, grade - 3)


def fit_worst(shares: Sequence[np.ndarray], worst: np.ndarray) -> tuple[float, float, np.ndarray]:
    """Power and temperature of `worst_of` with the least log loss, classes counting alike, and its (N, 3) answers."""
    balance = 1 / np.bincount(worst, minlength=len(OVERALL))[worst]
    best = None
    for power in POWERS:
        raw = np.log([worst_of(one, power, 1.0) for one in shares])
        temperature = fit_temperature(raw, worst, balance)
        classes = softmax(raw / temperature)
        loss = -float(np.average(np.log(classes[np.arange(len(worst)), worst]), weights=balance))
        if best is None or loss < best[0]:
            best = (loss, power, temperature, classes)
    return best[1:]


def platt(logits: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Temperature and shift with the least log loss of sigmoid((logit - shift) / temperature) (Platt 1999).

    A faint pull towards (1, 0) keeps it sane where nearly all discs are of one kind.
    """
    sign = np.where(truth > 0, 1.0, -1.0)

    def loss(values: np.ndarray) -> float:
        slope, offset = np.exp(values[0]), values[1]
        return float(np.logaddexp(0, -sign * (slope * logits + offset)).mean() + 1e-3 * (values**2).sum())

    slope, offset = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    return float(np.exp(-slope)), float(-offset / np.exp(slope))


def image_classifier(spines: Sequence[Spine], classes: np.ndarray, weights: Path) -> dict[str, Any] | None:
    """On the slices of the corpus' validation patients, which taught neither: balanced accuracy of the worst disc's
    class (N,) given, and of weights/diagnosis/spine, which sees the whole slice; None where there is none of that."""
    folder = weights / "diagnosis" / "spine"
    if not (folder / CONFIG).is_file():
        return None
    classifier = Classifier.load(folder)
    unseen = np.array([spine.split == "val" for spine in spines])
    judged = [spine for spine, chosen in zip(spines, unseen, strict=True) if chosen]
    answers = [classifier(as_scan(spine)) for spine in judged]
    given = [classifier.labels.index(answer.label) for answer in answers]
    truth = [class_of(spine.worst) for spine in judged]
    return {
        "slices": len(judged),
        "discs": round(float(balanced_accuracy_score(truth, classes[unseen])), 4),
        "balanced_accuracy": round(float(balanced_accuracy_score(truth, given)), 4),
        "accepted": round(float(np.mean([answer.accepted for answer in answers])), 4),
    }


def taught_by(spines: Sequence[Spine]) -> dict[str, int]:
    """Patients, slices and graded discs of the training, slices also by where their boxes come from."""
    seen = [spine for spine in spines if spine.trusted]
    origins = {f"boxes: {o}": sum(s.boxes == o for s in seen) for o in ("table", "pair", "found")}
    discs = sum(int((spine.labels[:, 0] > 0).sum()) for spine in seen)
    return {"patients": len({s.patient for s in seen}), "slices": len(seen), "discs": discs} | origins
