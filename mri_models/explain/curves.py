"""Deletion and insertion curves (Petsiuk 2018): what becomes of the class score when a map's regions go, or come.

A map that found what the network uses makes the score fall early when its strongest cells are veiled first, and rise
early when they are uncovered first. Only cells that show something are ordered: veiling black margins changes nothing
and would make every order look alike. A random order of the same cells is the baseline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mri_models.classify import Classifier
from mri_models.explain.cells import cells, content
from mri_models.explain.network import probe, veil
from mri_models.preprocess import to_tensor
from mri_models.types import Attribution, Scan

GRID = 16  # cells a side that are veiled or uncovered
SHARES = (0.0, 0.03, 0.06, 0.1, 0.16, 0.25, 0.4, 0.65, 1.0)  # of the ordered cells: dense where good maps act

Order = np.ndarray  # (N,) places in the flattened grid, the first to go first


@dataclass(frozen=True, slots=True, eq=False)
class Curves:
    """Class probability (O, len(SHARES)) of O orders, while cells are veiled and while they are uncovered."""

    deletion: np.ndarray
    insertion: np.ndarray | None = None


def order_of(attribution: Attribution, scan: Scan, seed: int = 0) -> Order:
    """Cells with content, from the strongest evidence for the class to the strongest against it; ties by lot."""
    inside = np.flatnonzero(content(scan, GRID))
    values = cells(attribution, GRID).ravel()[inside]
    lot = np.random.default_rng(seed).permutation(len(inside))
    return inside[lot][np.argsort(-values[lot], kind="stable")]


def random_orders(scan: Scan, count: int, seed: int = 0) -> list[Order]:
    """The baseline: the same cells in orders drawn by lot."""
    generator = np.random.default_rng([seed, 1])
    inside = np.flatnonzero(content(scan, GRID))
    return [generator.permutation(inside) for _ in range(count)]


def measure_curves(
    classifier: Classifier, scan: Scan, target: str, orders: Sequence[Order], *, insertion: bool = False
) -> Curves:
    """The curves of several orders in as few passes as possible; both ends are shared by all of them."""
    image = to_tensor(scan, classifier.spec).to(classifier.device)
    without = veil(image)
    gone = np.stack([_first(order, share) for order in orders for share in SHARES[1:-1]])  # (O * P, G, G) bool
    ends = np.stack([np.zeros((GRID, GRID), bool), _first(orders[0], 1.0)])
    masks = [ends, gone, ends[1] & ~gone] if insertion else [ends, gone]
    found = _probabilities(classifier, (image, without), np.concatenate(masks), target)
    high, low = found[:2]
    rows = found[2:].reshape(-1, len(orders), len(SHARES) - 2)  # deletion, and insertion where it is asked for
    deletion = np.pad(rows[0], ((0, 0), (1, 1)), constant_values=((0, 0), (high, low)))
    if not insertion:
        return Curves(deletion)
    return Curves(deletion, np.pad(rows[1], ((0, 0), (1, 1)), constant_values=((0, 0), (low, high))))


def area(curve: np.ndarray) -> np.ndarray:
    """(..., len(SHARES)) → area under each curve, in [0, 1]."""
    return np.trapezoid(curve, SHARES, axis=-1)


def _first(order: Order, share: float) -> np.ndarray:
    """(G, G) bool: the first `share` of the cells."""
    mask = np.zeros(GRID * GRID, bool)
    mask[order[: round(share * len(order))]] = True
    return mask.reshape(GRID, GRID)


def _probabilities(
    classifier: Classifier, pair: tuple[torch.Tensor, torch.Tensor], gone: np.ndarray, target: str
) -> np.ndarray:
    """Calibrated probability (B,) of `target` when the cells `gone` (B, G, G) of an image show its veil."""
    image, without = pair
    scores, found = probe(classifier), []
    for part in torch.from_numpy(gone).to(image.device)[:, None].float().split(64):  # bounds memory
        mask = torch.nn.functional.interpolate(part, image.shape[2:], mode="nearest")
        shares = scores(torch.lerp(image, without, mask)).sigmoid()
        found.append(shares[:, classifier.labels.index(target)].cpu().numpy())
    return np.concatenate(found).astype(np.float64)
