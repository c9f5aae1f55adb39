"""Do scores mean what they say? Expected calibration error, and how much of it few images alone would show."""

from __future__ import annotations

import numpy as np

ECE_BINS = 15
DRAWN = 4_000_000  # answers drawn at most at once, 32 MB


def equal_mass_bins(confidence: np.ndarray, bins: int = ECE_BINS) -> np.ndarray:
    """Confidences (N,) -> (N,) bin from 0 to bins - 1, about as many in each; ties stay together."""
    edges = np.quantile(confidence, np.linspace(0, 1, bins + 1)[1:-1])
    return np.searchsorted(edges, confidence, side="right")


def ece(confidence: np.ndarray, correct: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Expected calibration error (Guo et al. 2017) in bins of equal mass (Nixon et al. 2019): () or (R,).

    confidence: (N,) of the likeliest class. correct: (N,) or (R, N) bool. weights: (N,) or (R, N), all 1 by default.
    """
    weights = np.ones(len(confidence)) if weights is None else weights
    bins = np.eye(ECE_BINS)[equal_mass_bins(confidence)]
    return np.abs((weights * (correct - confidence)) @ bins).sum(axis=-1) / weights.sum(axis=-1)


def ece_by_chance(confidence: np.ndarray, *, draws: int = 2000, seed: int = 0) -> float:
    """The mean `ece` of as many answers if each were right with exactly the probability that it states.

    With few answers to a bin that is far from 0 (Roelofs et al. 2022), and no model can be shown to do better.
    """
    draws = min(draws, max(20, DRAWN // len(confidence)))  # among many answers few draws agree already
    correct = np.random.default_rng(seed).random((draws, len(confidence))) < confidence
    return float(ece(confidence, correct).mean())
