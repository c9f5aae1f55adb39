"""Turning scores into something to act on: temperature, distance statistics, the threshold to accept an answer."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.covariance import LedoitWolf
from sklearn.decomposition import PCA

from mri_models.ood import MahalanobisScore, unit_length

TEMPERATURES = (0.25, 10.0)
NEVER = 1.01  # above every confidence: the model always answers "unable to determine"


def fit_temperature(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The T in [0.25, 10] at which softmax(logits / T) has the least log loss (Guo et al. 2017).

    logits: (N, C) of images that training never saw. labels: (N,) index of the truth. weights: (N,), all 1 by default.
    """
    logits = np.asarray(logits, dtype=np.float64)
    rows = np.arange(len(labels))

    def loss(log_temperature: float) -> float:
        scores = log_softmax(logits / np.exp(log_temperature), axis=1)
        return -float(np.average(scores[rows, labels], weights=weights))

    return float(np.exp(minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded").x))


def fit_mahalanobis(
    features: np.ndarray, labels: np.ndarray, validation: np.ndarray, *, dims: int = 64, normalised: bool = True
) -> MahalanobisScore:
    """Class means and one shrunk covariance (Ledoit & Wolf 2004) in the features' `dims` main axes.

    features: (N, D) and labels: (N,) of training images; validation: (M, D) of images that training never saw, whose
    distances make the 101 quantiles. Scaling features to length 1 takes out their norm, which misleads the
    distance (Mueller & Hein 2025).
    """
    rows = np.asarray(features, dtype=np.float64)
    rows = unit_length(rows) if normalised else rows
    if dims >= min(rows.shape[1], len(rows) - 1):
        raise ValueError(f"features {rows.shape} leave nothing outside {dims} axes; ask for fewer dims")
    pca = PCA(dims, random_state=0).fit(rows)
    inside = pca.transform(rows)
    classes, of_row = np.unique(labels, return_inverse=True)
    means = np.stack([inside[of_row == i].mean(axis=0) for i in range(len(classes))])
    precision = LedoitWolf(assume_centered=True).fit(inside - means[of_row]).precision_
    whitening = np.linalg.cholesky(precision)
    fitted = MahalanobisScore(
        offset=pca.mean_,
        axes=pca.components_.T,
        whitening=whitening,
        centres=means @ whitening,
        residual=((rows - pca.inverse_transform(inside)) ** 2).sum(axis=1).mean(),
        quantiles=np.array([0.0, 1.0]),  # until the validation images are scored, below
        normalised=np.array(normalised),
    )
    return replace(fitted, quantiles=np.quantile(fitted.score(validation), np.linspace(0, 1, 101)))


@dataclass(frozen=True, slots=True, eq=False)
class RiskCoverage:
    """What accepting every answer with confidence >= threshold costs (El-Yaniv & Wiener 2010), strictest first.

    thresholds: (K,) the distinct confidences, falling. coverage: (K,) accepted share. risk: (K,) wrong share of those.
    effective: (K,) accepted images' effective number under the weights (Kish 1965), their count without weights.
    """

    thresholds: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray
    effective: np.ndarray

    @property
    def area(self) -> float:
        """AURC: mean risk over all coverages (Geifman et al. 2019); smaller is better."""
        return float(np.sum(self.risk * np.diff(self.coverage, prepend=0)))


def risk_coverage(confidence: np.ndarray, correct: np.ndarray, weights: np.ndarray | None = None) -> RiskCoverage:
    """The curve over every threshold that tells images apart; images of equal confidence enter together."""
    weights = np.ones(len(confidence)) if weights is None else np.asarray(weights, dtype=np.float64)
    thresholds, group = np.unique(-np.asarray(confidence, dtype=np.float64), return_inverse=True)
    accepted = np.bincount(group, weights).cumsum()
    wrong = np.bincount(group, weights * ~np.asarray(correct, dtype=bool)).cumsum()
    effective = accepted**2 / np.bincount(group, weights**2).cumsum()
    return RiskCoverage(-thresholds, accepted / accepted[-1], wrong / accepted, effective)


def accept_threshold(
    confidence: np.ndarray,
    correct: np.ndarray,
    weights: np.ndarray | None = None,
    *,
    target: float = 0.97,
    floor: float = 0.60,
    least: int = 20,
) -> float:
    """The smallest threshold >= floor at which accuracy among validation images accepted by it reaches the target.

    An image is accepted when confidence >= threshold; the promise is about all of those together, not about each
    level of confidence. Thresholds that accept fewer than `least` (effective) images are not considered, as a handful
    of right answers proves nothing. Where none reaches the target, NEVER: a model below its bar abstains always.
    No safety margin is added: on new patients about half of such thresholds miss the target, nineteen of twenty by
    about 1 % at most with 1,000 independent validation images, 2 % with 300. A 90 % confidence bound in place of the
    estimate cost a quarter of the coverage with 300 (simulated); ask for a higher target instead.
    """
    curve = risk_coverage(confidence, correct, weights)
    # A floor between two confidences accepts what the next higher confidence does, and no more.
    reached = (curve.thresholds >= floor) & (curve.effective >= least) & (1 - curve.risk >= target)
    if not reached.any():
        return NEVER
    lowest = int(np.flatnonzero(reached)[-1])
    above_floor = int(np.flatnonzero(curve.thresholds >= floor)[-1])
    return floor if lowest == above_floor else float(curve.thresholds[lowest])
