"""How far a window lies from the reference: an effect size and a test for each kind of data.

Effects need no sample size to be read. P-values alone would not do for alarms: they take images for independent, but
patients and sources differ; so alarms ask for a calibrated effect as well (calibrate.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import linalg, special, stats
from scipy.spatial.distance import cdist

BINS = 10  # of the population stability index
PERMUTATIONS = 1000  # the least p is 1 / 1001, which stays below 0.05 after Holm's correction for 40 monitors
_REACH = 5.0  # standard units; beyond, one odd image would outweigh a window


@dataclass(frozen=True, slots=True)
class Measure:
    """effect(reference, window): 0 for no difference. test(reference, window, effect, seed): p, if it has one."""

    effect: Callable[[np.ndarray, np.ndarray], float]
    test: Callable[[np.ndarray, np.ndarray, float, int], float] | None


def kolmogorov_smirnov(reference: np.ndarray, window: np.ndarray) -> float:
    """Largest gap between the two distribution functions, in [0, 1]."""
    reference, window = np.sort(reference), np.sort(window)
    values = np.concatenate([reference, window])
    shares = (np.searchsorted(a, values, side="right") / len(a) for a in (reference, window))
    return float(np.abs(np.subtract(*shares)).max())


def _smirnov_test(reference: np.ndarray, window: np.ndarray, effect: float, _: int) -> float:
    """Smirnov's limit; `scipy.stats.ks_2samp` agrees, at a hundred times the cost."""
    effective = len(reference) * len(window) / (len(reference) + len(window))
    return float(special.kolmogorov(np.sqrt(effective) * effect))


def mean_shift(reference: np.ndarray, window: np.ndarray) -> float:
    """Difference of means in standard deviations of the reference."""
    return float(abs(window.mean() - reference.mean()) / max(reference.std(), 1e-9))


def _welch_test(reference: np.ndarray, window: np.ndarray, *_: object) -> float:
    """From the moments, because `scipy.stats.ttest_ind` warns of windows that hold one image many times."""
    moments = (v for values in (reference, window) for v in (values.mean(), values.std(ddof=1), len(values)))
    return float(stats.ttest_ind_from_stats(*moments, equal_var=False).pvalue)


def variance_shift(reference: np.ndarray, window: np.ndarray) -> float:
    """|log| of the ratio of mean absolute deviations from the median."""
    before, after = (np.abs(values - np.median(values)).mean() for values in (reference, window))
    return float(abs(np.log(max(after, 1e-9) / max(before, 1e-9))))


def _brown_forsythe_test(reference: np.ndarray, window: np.ndarray, *_: object) -> float:
    return float(stats.levene(reference, window, center="median").pvalue)


def proportion_shift(reference: np.ndarray, window: np.ndarray) -> float:
    """Cohen's h between two shares of ones."""
    before, after = (2 * np.arcsin(np.sqrt(values.mean())) for values in (reference, window))
    return float(abs(after - before))


def _fisher_test(reference: np.ndarray, window: np.ndarray, *_: object) -> float:
    counts = [[int(values.sum()), len(values) - int(values.sum())] for values in (reference, window)]
    return float(stats.fisher_exact(counts).pvalue)


def category_shift(reference: np.ndarray, window: np.ndarray) -> float:
    """Total variation distance between the shares of words, in [0, 1]."""
    counts = _counts(reference, window)
    return float(np.abs(np.subtract(*(counts / counts.sum(axis=1, keepdims=True)))).sum() / 2)


def _chi_square_test(reference: np.ndarray, window: np.ndarray, *_: object) -> float:
    counts = _counts(reference, window)
    return float(stats.chi2_contingency(counts).pvalue) if counts.shape[1] > 1 else 1.0


def _counts(reference: np.ndarray, window: np.ndarray) -> np.ndarray:
    """(2, words) how often each word occurs on either side."""
    names, places = np.unique(np.concatenate([reference, window]), return_inverse=True)
    split = np.split(places, [len(reference)])
    return np.stack([np.bincount(side, minlength=len(names)) for side in split])


def mean_discrepancy(reference: np.ndarray, window: np.ndarray) -> float:
    """Maximum mean discrepancy with a Gaussian kernel of median width (Gretton 2012), on rows (N, D)."""
    kernel, weights = _kernel(reference, window)
    return float(np.sqrt(max(weights @ kernel @ weights, 0)))


def _permutation_test(reference: np.ndarray, window: np.ndarray, effect: float, seed: int) -> float:
    kernel, _ = _kernel(reference, window)
    shuffled = _shuffles(len(reference), len(window), seed)
    chance = np.sqrt(np.maximum(((shuffled @ kernel) * shuffled).sum(axis=1), 0))
    return float((1 + np.sum(chance >= effect)) / (1 + PERMUTATIONS))


def _kernel(reference: np.ndarray, window: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernel (N, N) of all rows in standard units of the reference, and +1/n, -1/m for either side (N,)."""
    rows = np.concatenate([reference, window])
    rows = np.clip((rows - reference.mean(axis=0)) / (reference.std(axis=0) + 1e-6), -_REACH, _REACH)
    squares = cdist(rows, rows, "sqeuclidean").astype(np.float32)
    own = squares[: len(reference), : len(reference)]
    kernel = np.exp(squares / -max(float(np.median(own[::2, ::2])), 1e-6))
    return kernel, _sides(len(reference), len(window))


def _sides(reference: int, window: int) -> np.ndarray:
    return np.repeat([1 / reference, -1 / window], [reference, window]).astype(np.float32)


@lru_cache(maxsize=8)
def _shuffles(reference: int, window: int, seed: int) -> np.ndarray:
    """(PERMUTATIONS, N); the same for all windows of a size, since drawing them costs more than using them."""
    rows = np.tile(_sides(reference, window), (PERMUTATIONS, 1))
    return np.random.default_rng(seed).permuted(rows, axis=1)


def frechet_distance(reference: np.ndarray, window: np.ndarray) -> float:
    """Distance of the two Gaussians fitted to rows (N, D), as in FID (Dowson 1982, Heusel 2017)."""
    means = reference.mean(axis=0) - window.mean(axis=0)
    first, second = (np.atleast_2d(np.cov(rows, rowvar=False)) for rows in (reference, window))
    values, axes = linalg.eigh(first)
    root = (axes * np.sqrt(np.maximum(values, 0))) @ axes.T
    shared = np.sqrt(np.maximum(linalg.eigvalsh(root @ second @ root), 0)).sum()
    return float(np.sqrt(max(means @ means + np.trace(first) + np.trace(second) - 2 * shared, 0)))


MEASURES: Mapping[str, Measure] = {
    "distribution": Measure(kolmogorov_smirnov, _smirnov_test),
    "mean": Measure(mean_shift, _welch_test),
    "variance": Measure(variance_shift, _brown_forsythe_test),
    "proportion": Measure(proportion_shift, _fisher_test),
    "categories": Measure(category_shift, _chi_square_test),
    "joint": Measure(mean_discrepancy, _permutation_test),
    "frechet": Measure(frechet_distance, None),
}


def stability_index(reference: np.ndarray, window: np.ndarray) -> float:
    """Population stability index over tenths of the reference; half a count is added to every bin."""
    edges = np.unique(np.quantile(reference, np.linspace(0, 1, BINS + 1)[1:-1]))
    shares = []
    for values in (reference, window):
        counts = np.bincount(np.searchsorted(edges, values), minlength=len(edges) + 1) + 0.5
        shares.append(counts / counts.sum())
    return float(((shares[1] - shares[0]) * np.log(shares[1] / shares[0])).sum())


def holm(p_values: np.ndarray) -> np.ndarray:
    """(M,) p-values adjusted for M tests (Holm 1979)."""
    order = np.argsort(p_values)
    steps = p_values[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty_like(p_values)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return adjusted
