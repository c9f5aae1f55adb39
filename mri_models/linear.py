"""Products and distances of NumPy's matrices, worked out by torch.

NumPy's BLAS has threads of its own, which go on waiting for work after each product and hold up torch's: up to 0.1 s of
the next network's time on two cores.
"""

from __future__ import annotations

import numpy as np
import torch


def product(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """(N, K) @ (K, M) → (N, M), both of one floating type."""
    return (_tensor(first) @ _tensor(second)).numpy()


def distances(rows: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """Rows (N, D), bank (M, D) → (N, M) float32 Euclidean; by the binomial formula, which spares an (N, M, D) array."""
    first, second = (_tensor(part.astype(np.float32)) for part in (rows, bank))
    return torch.cdist(first, second, compute_mode="use_mm_for_euclid_dist").numpy()


def _tensor(matrix: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(matrix))
