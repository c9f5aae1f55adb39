"""What the Explore tab draws of a classifier: counts at every threshold, curves and bins, as numbers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score, roc_curve

from mri_models.calibration import Calibration
from mri_models.errors import WeightsError
from mri_models.evaluation.calibration import risk_coverage
from mri_models.evaluation.inventory import count, grey_profiles
from mri_models.evaluation.metrics import MIN_PATIENTS, Outcomes
from mri_models.evaluation.reliability import ECE_BINS, ece, equal_mass_bins
from mri_models.figures import STEPS, Figures, Roc, StageFigures, load_figures, save_figures
from mri_models.training.corpus import Sample, split_hash

NAME = "figures"
DRAWS = 1000
MOST = 120  # points of a ROC curve: more are not told apart on a screen


def stage_figures(outcomes: Outcomes, calibration: Calibration, seed: int = 0) -> StageFigures:
    """Everything that is drawn of one stage; intervals from whole patients drawn with replacement."""
    familiar = outcomes.ood <= calibration.ood_threshold
    reach = _reached(outcomes.confidence)
    cells = np.stack([_cells(outcomes, reach, chosen) for chosen in (np.ones_like(familiar), familiar)])
    names, owner = np.unique(outcomes.patients, return_inverse=True)
    draws = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
    bands = np.stack([_bands(outcomes, owner, draws, reach, chosen) for chosen in (np.ones_like(familiar), familiar)])
    accepted = np.zeros(cells.shape[1:3], int)
    np.add.at(accepted, (outcomes.labels[outcomes.accepted], outcomes.predicted[outcomes.accepted]), 1)
    return StageFigures(
        classes=outcomes.classes,
        images=len(owner),
        patients=len(names),
        served={label: float(calibration.thresholds[label]) for label in outcomes.classes},
        cells=cells,
        accepted=accepted,
        bands=bands,
        reliability=_reliability(outcomes, owner, draws),
        rocs=_rocs(outcomes),
        ece=float(ece(outcomes.confidence, outcomes.correct)),
        aurc=risk_coverage(outcomes.confidence, outcomes.correct).area,
    )


def write_figures(
    drawn: Mapping[str, StageFigures],
    models: Mapping[str, str],
    samples: list[Sample],
    path: Path,
    split: str,
    *,
    all_of_it: bool,
) -> None:
    """Write PATH; unless `all_of_it`, stages that were not drawn and the data's numbers stay as they are there."""
    stages, digests = dict(drawn), {name: models[name] for name in drawn}
    known = None
    if not all_of_it:
        with suppress(WeightsError):  # the first figures of these weights
            known = load_figures(path.parent)
    if known and known.split_hash == split_hash(samples):
        stages, digests = {**known.stages, **stages}, {**known.models, **digests}
        counts, greys = known.counts, known.greys
    else:
        counts, greys = count(samples), grey_profiles(samples)
    save_figures(Figures(split, split_hash(samples), digests, stages, counts, greys), path)


def _reached(confidence: np.ndarray) -> np.ndarray:
    """(N,) the last threshold that each score reaches, as its index."""
    return np.searchsorted(np.arange(STEPS + 1) / STEPS, confidence, side="right") - 1


def _at_least(last: np.ndarray) -> np.ndarray:
    """(..., K) how many have each threshold as their last -> how many reach it."""
    return last[..., ::-1].cumsum(axis=-1)[..., ::-1]


def _cells(outcomes: Outcomes, reach: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """(C, C, K) images by truth, answer and threshold."""
    classes = len(outcomes.classes)
    last = np.zeros((classes, classes, STEPS + 1), int)
    np.add.at(last, (outcomes.labels[chosen], outcomes.predicted[chosen], reach[chosen]), 1)
    return _at_least(last)


def _bands(
    outcomes: Outcomes, owner: np.ndarray, draws: np.ndarray, reach: np.ndarray, chosen: np.ndarray
) -> np.ndarray:
    """(1 + C, 2, K) interval of the accuracy among accepted, for any answer and for each."""
    answers = [chosen, *(chosen & (outcomes.predicted == i) for i in range(len(outcomes.classes)))]
    bands = []
    for among in answers:
        total, right = (np.zeros((draws.shape[1], STEPS + 1)) for _ in range(2))
        np.add.at(total, (owner[among], reach[among]), 1)
        np.add.at(right, (owner[among & outcomes.correct], reach[among & outcomes.correct]), 1)
        bands.append(_interval(draws, _at_least(right), _at_least(total)))
    return np.stack(bands)


def _interval(draws: np.ndarray, right: np.ndarray, total: np.ndarray) -> np.ndarray:
    """Patients' draws (R, P), counts (P, K) -> (2, K) 95 % interval of right / total; NaN below MIN_PATIENTS."""
    enough = (total > 0).sum(axis=0) >= MIN_PATIENTS
    found = np.full((2, total.shape[1]), np.nan)
    if enough.any():
        drawn = draws @ total[:, enough]
        shares = np.divide(draws @ right[:, enough], drawn, out=np.full(drawn.shape, np.nan), where=drawn > 0)
        found[:, enough] = np.nanquantile(shares, (0.025, 0.975), axis=0)
    return found


def _reliability(outcomes: Outcomes, owner: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """(B, 5): mean score, accuracy, low, high, images of each bin that is filled."""
    bins = equal_mass_bins(outcomes.confidence)
    total, right = (np.zeros((draws.shape[1], ECE_BINS)) for _ in range(2))
    np.add.at(total, (owner, bins), 1)
    np.add.at(right, (owner[outcomes.correct], bins[outcomes.correct]), 1)
    low, high = _interval(draws, right, total)
    rows = [
        (outcomes.confidence[bins == b].mean(), outcomes.correct[bins == b].mean(), low[b], high[b], (bins == b).sum())
        for b in np.unique(bins)
    ]
    return np.array(rows, dtype=float)


def _rocs(outcomes: Outcomes) -> dict[str, Roc]:
    """A curve for each class that some images have and others lack; two classes mirror each other, so one is enough."""
    found = {}
    for index, label in enumerate(outcomes.classes[:1] if len(outcomes.classes) == 2 else outcomes.classes):
        truth, score = outcomes.labels == index, outcomes.probabilities[:, index]
        if truth.all() or not truth.any():
            continue
        false, true, _ = roc_curve(truth, score)
        kept = np.unique(np.linspace(0, len(false) - 1, MOST).round().astype(int))
        found[label] = Roc(float(roc_auc_score(truth, score)), false[kept], true[kept])
    return found
