"""Maps and scans as squares of cells: what can be compared between methods whose resolutions differ."""

from __future__ import annotations

import numpy as np

from mri_models.explain.draw import resized
from mri_models.pixels import stretch
from mri_models.preprocess import fit_box, letterbox
from mri_models.types import Attribution, Scan

GRID = 32  # cells a side for comparisons
BACKGROUND = 0.05  # grey level up to which a cell counts as empty, after the networks' own stretch
_FINE = 8  # samples a cell and side while it is averaged


def cells(attribution: Attribution, grid: int = GRID) -> np.ndarray:
    """(grid, grid) float64 mean of the signed map in each cell of the letterboxed square; 0 on its borders."""
    side = grid * _FINE
    box = fit_box(attribution.values.shape, side)
    canvas = np.zeros((side, side))
    rows, columns = slice(box.top, box.top + box.height), slice(box.left, box.left + box.width)
    canvas[rows, columns] = resized(attribution.values, (box.height, box.width))
    return _pooled(canvas, grid)


def content(scan: Scan, grid: int = GRID) -> np.ndarray:
    """(grid, grid) bool: cells that show more than background; all of them when none does."""
    shown = _pooled(letterbox(stretch(scan.pixels), grid * _FINE), grid) > BACKGROUND
    return shown if shown.any() else np.ones_like(shown)


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rho of two sets of cells (N,), ties sharing their mean rank; 0 when one of them is constant."""
    ranks = np.stack([_ranks(first), _ranks(second)])
    ranks -= ranks.mean(1, keepdims=True)
    spread = np.sqrt((ranks**2).sum(1)).prod()
    return float(ranks.prod(0).sum() / spread) if spread > 0 else 0.0


def top_overlap(first: np.ndarray, second: np.ndarray, share: float = 0.1) -> float:
    """What two maps have in common of their strongest cells, `share` of all (N,); by chance it is about `share`."""
    count = max(1, round(share * len(first)))
    strongest = [set(np.argsort(-values, kind="stable")[:count].tolist()) for values in (first, second)]
    return len(strongest[0] & strongest[1]) / count


def _pooled(canvas: np.ndarray, grid: int) -> np.ndarray:
    """(grid * k, grid * k) → (grid, grid) means."""
    fine = len(canvas) // grid
    return canvas.reshape(grid, fine, grid, fine).mean((1, 3), dtype=np.float64)


def _ranks(values: np.ndarray) -> np.ndarray:
    """(N,) → (N,) ranks from 0, ties sharing their mean."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return (ends - (counts + 1) / 2)[place]
