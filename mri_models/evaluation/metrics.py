"""What a stage is worth: each metric with an interval over patients, for all images and for every source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix

from mri_models.evaluation.reliability import ece, ece_by_chance

MIN_PATIENTS = 5  # resampling fewer says nothing about the next patient: the interval is left out
CHUNK = 2_000_000  # weights held at once while resampling, 16 MB


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """What one stage answered for N images of C classes.

    probabilities: (N, C) calibrated, rows sum to 1. labels: (N,) index of the truth in `classes`.
    patients, sources: (N,) str; a patient's name is unique across sources. accepted: (N,) bool.
    ood: (N,) share of validation images that lie nearer to the training features, in [0, 1].
    """

    probabilities: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    patients: np.ndarray
    sources: np.ndarray
    accepted: np.ndarray
    ood: np.ndarray

    def __post_init__(self) -> None:
        n, c = len(self.labels), len(self.classes)
        if n == 0 or c < 2:
            raise ValueError(f"outcomes need at least one image and two classes, got {n} and {c}")
        if self.probabilities.shape != (n, c):
            raise ValueError(f"probabilities must be ({n}, {c}), got {self.probabilities.shape}")
        for name in ("labels", "patients", "sources", "accepted", "ood"):
            if getattr(self, name).shape != (n,):
                raise ValueError(f"{name} must be ({n},), got {getattr(self, name).shape}")
        if self.labels.dtype.kind not in "iu" or self.labels.min() < 0 or self.labels.max() >= c:
            raise ValueError(f"labels must be whole numbers in [0, {c}), got {self.labels.dtype}")
        if self.accepted.dtype != bool:
            raise ValueError(f"accepted must be bool, got {self.accepted.dtype}")
        if not np.allclose(self.probabilities.sum(axis=1), 1, atol=1e-3) or self.probabilities.min() < 0:
            raise ValueError("probabilities must be finite, not negative, and sum to 1 in every row")
        if not ((self.ood >= 0) & (self.ood <= 1)).all():
            raise ValueError("ood must lie in [0, 1]")

    @property
    def predicted(self) -> np.ndarray:
        """(N,) index of the class with the largest probability."""
        return self.probabilities.argmax(axis=1)

    @property
    def confidence(self) -> np.ndarray:
        """(N,) largest probability."""
        return self.probabilities.max(axis=1)

    @property
    def correct(self) -> np.ndarray:
        """(N,) bool, whether the predicted class is the truth."""
        return self.predicted == self.labels

    def select(self, chosen: np.ndarray) -> Outcomes:
        """The images where `chosen` (N,) bool holds."""
        return replace(self, **{f.name: getattr(self, f.name)[chosen] for f in fields(self) if f.name != "classes"})


@dataclass(frozen=True, slots=True)
class Estimate:
    """A metric and its 95 % interval over patients; `low` and `high` are None with fewer than MIN_PATIENTS."""

    value: float
    low: float | None = None
    high: float | None = None

    def to_dict(self) -> dict[str, float | None]:
        return {f.name: None if (x := getattr(self, f.name)) is None else round(x, 4) for f in fields(self)}


@dataclass(frozen=True, slots=True)
class StageMetrics:
    """One stage on one set of images; a metric that the set can't give is None (AUROC of a single class, ...).

    accuracy, accuracy_accepted: share of right answers, among all and among accepted images.
    balanced_accuracy: mean recall over the classes present (Brodersen et al. 2010); None for a single class, whose
    `recall` says it all. balanced_accuracy_accepted: the same among accepted images.
    patient_balanced_accuracy: the same with one vote a patient and label: mean probabilities, then the largest.
    auroc: area under the ROC curve (Hanley & McNeil 1982), the mean of one against rest for more than two classes
    (Provost & Domingos 2001), over the classes present.
    ece: expected calibration error of the top class (Guo et al. 2017) in 15 bins of equal mass (Nixon et al. 2019);
    resampling noise adds to each bin's gap, so its interval leans upwards.
    ece_by_chance: that of as many answers if each were right with the probability that it states.
    coverage: share of images that the stage accepts (El-Yaniv & Wiener 2010).
    mean_ood: 0.5 where images lie as far out as validation images did, 1 where all lie farther.
    recall: per class present. confusion: counts, rows are the truth, columns the prediction, accepted or not.
    """

    classes: tuple[str, ...]
    images: int
    patients: int
    accuracy: Estimate | None
    balanced_accuracy: Estimate | None
    patient_balanced_accuracy: Estimate | None
    auroc: Estimate | None
    ece: Estimate | None
    ece_by_chance: Estimate
    coverage: Estimate | None
    accuracy_accepted: Estimate | None
    balanced_accuracy_accepted: Estimate | None
    mean_ood: Estimate | None
    recall: Mapping[str, Estimate]
    confusion: tuple[tuple[int, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, rounded to 4 decimals, None instead of NaN."""

        def plain(value: Any) -> Any:
            match value:
                case Estimate():
                    return value.to_dict()
                case Mapping():
                    return {name: plain(v) for name, v in value.items()}
                case tuple():
                    return [plain(v) for v in value]
                case _:
                    return value

        return {f.name: plain(getattr(self, f.name)) for f in fields(self)}


def summarise(outcomes: Outcomes, *, resamples: int = 1000, seed: int = 0) -> StageMetrics:
    """All metrics with 95 % percentile intervals of a cluster bootstrap (Davison & Hinkley 1997).

    Whole patients are drawn with replacement, as images of one patient are not independent; every metric is
    computed on each draw with the patients' multiplicities as weights. A class without a patient in a draw is left
    out of that draw's means. An interval without width says that no patient disagreed: read it with their number.
    """
    names, owner = np.unique(outcomes.patients, return_inverse=True)
    patients, step = len(names), max(1, CHUNK // len(owner))
    draws = [_metrics(outcomes, owner, np.ones((1, patients)))]  # the first row is the estimate itself
    generator = np.random.default_rng(seed)
    for start in range(0, resamples if patients >= MIN_PATIENTS else 0, step):
        drawn = multiplicities(generator, min(step, resamples - start), patients)
        draws.append(_metrics(outcomes, owner, drawn))
    found = {name: _estimate(np.concatenate([draw[name] for draw in draws])) for name in draws[0]}
    recall = {name: e for name in outcomes.classes if (e := found.pop(f"recall {name}"))}
    if len(recall) == 1:
        found |= dict.fromkeys(("balanced_accuracy", "patient_balanced_accuracy", "balanced_accuracy_accepted"))
    counts = confusion_matrix(outcomes.labels, outcomes.predicted, labels=range(len(outcomes.classes)))
    return StageMetrics(
        classes=outcomes.classes,
        images=len(owner),
        patients=patients,
        ece_by_chance=Estimate(ece_by_chance(outcomes.confidence)),
        recall=recall,
        confusion=tuple(map(tuple, counts.tolist())),
        **found,
    )


def by_source(outcomes: Outcomes, *, resamples: int = 1000, seed: int = 0) -> dict[str, StageMetrics]:
    """`summarise` for each source apart, in alphabetical order; sources of a single class included."""
    return {
        str(source): summarise(outcomes.select(outcomes.sources == source), resamples=resamples, seed=seed)
        for source in np.unique(outcomes.sources)
    }


def multiplicities(generator: np.random.Generator, draws: int, patients: int) -> np.ndarray:
    """(draws, patients) how often each patient is drawn, when as many are drawn as there are."""
    picks = generator.integers(patients, size=(draws, patients)) + patients * np.arange(draws)[:, None]
    return np.bincount(picks.ravel(), minlength=draws * patients).reshape(draws, patients).astype(float)


def _metrics(outcomes: Outcomes, owner: np.ndarray, by_patient: np.ndarray) -> dict[str, np.ndarray]:
    """Every metric under each row of patient weights (R, P): name -> (R,), NaN where a row can't give it."""
    weights = by_patient[:, owner]  # (R, N)
    total = weights.sum(axis=1)
    correct, accepted, classes = outcomes.correct, outcomes.accepted, len(outcomes.classes)
    truth = np.eye(classes)[outcomes.labels]  # (N, C)
    by_class = recalls(weights, truth, correct)
    scored = range(classes == 2, classes)  # two classes mirror each other: one is enough
    aurocs = [_auroc(weights, outcomes.probabilities[:, i], outcomes.labels == i) for i in scored]
    groups, truth_of_groups, correct_groups = _votes(outcomes, owner)
    return {
        "accuracy": weights @ correct / total,
        "balanced_accuracy": _mean(by_class),
        "patient_balanced_accuracy": _mean(recalls(by_patient[:, groups], truth_of_groups, correct_groups)),
        "auroc": _mean(np.stack(aurocs, axis=1)),
        "ece": ece(outcomes.confidence, correct, weights),
        "coverage": weights @ accepted / total,
        "accuracy_accepted": _ratio(weights @ (accepted & correct), weights @ accepted),
        "balanced_accuracy_accepted": _mean(recalls(weights, truth * accepted[:, None], correct)),
        "mean_ood": weights @ outcomes.ood / total,
        **{f"recall {name}": by_class[:, i] for i, name in enumerate(outcomes.classes)},
    }


def _votes(outcomes: Outcomes, owner: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One vote a patient and label: (G,) patient, (G, C) truth, (G,) whether the mean probabilities are right."""
    classes = len(outcomes.classes)
    keys, group = np.unique(owner * classes + outcomes.labels, return_inverse=True)
    summed = np.zeros((len(keys), classes))
    np.add.at(summed, group, outcomes.probabilities)
    return keys // classes, np.eye(classes)[keys % classes], summed.argmax(axis=1) == keys % classes


def recalls(weights: np.ndarray, truth: np.ndarray, correct: np.ndarray) -> np.ndarray:
    """Weights (R, N), truth (N, C) -> (R, C) weighted recall, NaN for classes without weight."""
    return _ratio(weights @ (truth * correct[:, None]), weights @ truth)


def _auroc(weights: np.ndarray, scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """(R,) share of weighted positive-negative pairs in the right order, ties count half; NaN without a pair."""
    order = np.argsort(scores, kind="stable")
    ordered, positive = weights[:, order], positive[order]
    starts = np.flatnonzero(np.diff(scores[order], prepend=-np.inf))  # where a new distinct score begins
    ups = np.add.reduceat(ordered * positive, starts, axis=1)
    downs = np.add.reduceat(ordered * ~positive, starts, axis=1)
    pairs = (ups * (downs.cumsum(axis=1) - downs / 2)).sum(axis=1)
    return _ratio(pairs, ups.sum(axis=1) * downs.sum(axis=1))


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """part / whole, NaN where whole is 0."""
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)


def _mean(values: np.ndarray) -> np.ndarray:
    """(R, C) -> (R,) mean over the classes that are there, NaN where none is."""
    return _ratio(np.nansum(values, axis=1), np.isfinite(values).sum(axis=1))


def _estimate(values: np.ndarray) -> Estimate | None:
    """(1 + R,) the estimate, then its resamples -> Estimate; None where the images can't give it."""
    if np.isnan(values[0]):
        return None
    drawn = values[1:][np.isfinite(values[1:])]
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist() if len(drawn) else (None, None)
    return Estimate(float(values[0]), low, high)
