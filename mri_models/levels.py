"""Where the discs of a spine lie: outline → boxes in order from the sacrum upwards → upright crops of each disc."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
from scipy import ndimage

from mri_models.types import Mask
from mri_models.types.discs import LEVELS

DISC = "disc"  # label of the spine outline
CRUMB = 0.2  # patches smaller than this share of the median are no disc of their own
MERGED = 1.7  # patches larger than this multiple of the median hold more than one disc
NEAR = 0.5  # of the spacing: patches nearer to each other are parts of one disc
REACH = (0.5, 2.2)  # next disc, in spacings; a missed disc ends the count, since levels above it would be wrong
TURN = 0.9  # radians that the spine may turn from one disc to the next
LEAST = 3  # discs, below which there is no spine to count along

Box = tuple[int, int, int, int]  # top, left, bottom, right; the last two exclusive


@dataclass(frozen=True, slots=True)
class Place:
    """Where a disc lies.

    centre: (row, column) px. tilt: of the spine there, radians right of straight up. spacing: px from disc to disc.
    """

    centre: tuple[float, float]
    tilt: float
    spacing: float


def disc_boxes(mask: Mask) -> list[Box]:
    """The discs of an outline in order from the lowest upwards; empty where fewer than LEAST make a chain."""
    if DISC not in mask.labels or not mask.found:
        return []
    patches = separated(mask.values == 1 + mask.labels.index(DISC))
    if len(patches) < LEAST:
        return []
    middles = np.array([patch.mean(0) for patch in patches])
    order = chain(middles, np.sqrt([len(patch) for patch in patches]))
    return [box_of(patches[i]) for i in order[: len(LEVELS)]]


def separated(inside: np.ndarray) -> list[np.ndarray]:
    """(H, W) bool → (N, 2) pixel places of each disc: crumbs dropped, merged discs parted, parts joined."""
    patches = _patches(inside)
    if not patches:
        return []
    typical = float(np.median([len(patch) for patch in patches]))
    kept = []
    for patch in patches:
        if len(patch) > MERGED * typical:
            kept += _parted(patch, inside.shape, typical)
        elif len(patch) > CRUMB * typical:
            kept.append(patch)
    return _joined(kept)


def _patches(inside: np.ndarray) -> list[np.ndarray]:
    numbers, count = ndimage.label(inside, np.ones((3, 3)))
    return [np.argwhere(numbers == i) for i in range(1, count + 1)]


def _parted(patch: np.ndarray, shape: tuple[int, int], typical: float) -> list[np.ndarray]:
    """A patch of several discs, worn down until it falls apart; each pixel then goes to the nearest remainder."""
    worn = np.zeros(shape, bool)
    worn[tuple(patch.T)] = True
    while worn.any():
        seeds = [part for part in _patches(worn) if len(part) > CRUMB * CRUMB * typical]
        if len(seeds) > 1:
            marks = np.zeros(shape, np.int32)
            for i, seed in enumerate(seeds, 1):
                marks[tuple(seed.T)] = i
            nearest = ndimage.distance_transform_edt(marks == 0, return_distances=False, return_indices=True)
            owner = marks[tuple(nearest[:, patch[:, 0], patch[:, 1]])]
            return [patch[owner == i] for i in range(1, len(seeds) + 1)]
        worn = ndimage.binary_erosion(worn)
    return [patch]


def _joined(patches: list[np.ndarray]) -> list[np.ndarray]:
    """Parts of one disc, whose middles lie closer than NEAR of the typical spacing and at one height of it."""
    while len(patches) > LEAST:
        middles = np.array([patch.mean(0) for patch in patches])
        apart = np.linalg.norm(middles[:, None] - middles, axis=2) + np.diag(np.full(len(middles), np.inf))
        i, j = np.unravel_index(apart.argmin(), apart.shape)
        if apart[i, j] > NEAR * np.median(apart.min(1)):
            break
        patches = [p for k, p in enumerate(patches) if k not in (i, j)] + [np.concatenate([patches[i], patches[j]])]
    return patches


def chain(middles: np.ndarray, weights: Sequence[float]) -> list[int]:
    """Indices of the path that climbs through discs at even distances and without sharp turns, the lowest first.

    middles (N, 2) row and column. Of all such paths the one with the most weight (N,); patches beside the spine,
    which no path of many discs can take in, fall away.
    """
    apart = np.linalg.norm(middles[:, None] - middles, axis=2)
    spacing = float(np.median((apart + np.diag(np.full(len(middles), np.inf))).min(1)))
    upwards = [int(i) for i in np.argsort(-middles[:, 0])]
    best: dict[tuple[int, int], tuple[float, tuple[int, ...]]] = {}  # last two discs → (worth, path)
    for a in upwards:
        for b in upwards:
            if _step(middles[a], middles[b], spacing):
                best[a, b] = (weights[a] + weights[b], (a, b))
    for j in upwards:
        for i, k in [(i, k) for i in upwards for k in upwards if (i, j) in best and (j, k) in best]:
            first, second = middles[j] - middles[i], middles[k] - middles[j]
            even = 1 / REACH[1] < np.linalg.norm(second) / np.linalg.norm(first) < REACH[1]
            worth, path = best[i, j]
            if even and _turn(first, second) < TURN and worth + weights[k] > best[j, k][0]:
                best[j, k] = (worth + weights[k], (*path, k))
    return list(max(best.values())[1]) if best else []


def _step(low: np.ndarray, high: np.ndarray, spacing: float) -> bool:
    up, across = low[0] - high[0], abs(low[1] - high[1])
    return up > 0 and across < 1.5 * up and REACH[0] * spacing < np.hypot(up, across) < REACH[1] * spacing


def _turn(first: np.ndarray, second: np.ndarray) -> float:
    cosine = first @ second / (np.linalg.norm(first) * np.linalg.norm(second))
    return float(np.arccos(np.clip(cosine, -1, 1)))


def box_of(patch: np.ndarray) -> Box:
    """(N, 2) pixel places → their bounding box."""
    (top, left), (bottom, right) = patch.min(0), patch.max(0) + 1
    return int(top), int(left), int(bottom), int(right)


def places(boxes: Sequence[Sequence[float]]) -> list[Place]:
    """Boxes in order from L5/S1 upwards → where each disc lies and how the spine leans there.

    At the ends the lean goes on changing as it did: the lumbosacral disc is the most tilted one.
    """
    if len(boxes) < LEAST:
        raise ValueError(f"at least {LEAST} discs are needed to tell how a spine leans, got {len(boxes)}")
    edges = np.asarray(boxes, float)
    middles = (edges[:, :2] + edges[:, 2:] - 1) / 2  # the last two edges are exclusive
    steps = np.diff(middles, axis=0)
    leans = np.unwrap(np.arctan2(steps[:, 1], -steps[:, 0]))
    inner = (leans[1:] + leans[:-1]) / 2
    first = leans[0] + 0.65 * (leans[0] - leans[1])
    last = leans[-1] + 0.5 * (leans[-1] - leans[-2])
    spacing = float(np.median(np.linalg.norm(steps, axis=1)))
    tilts = [first, *inner, last]
    return [Place((float(y), float(x)), float(tilt), spacing) for (y, x), tilt in zip(middles, tilts, strict=True)]


def to_crop(place: Place, size: tuple[int, int], wide: float) -> np.ndarray:
    """(2, 3) affine from image pixels (x, y) to a crop of size (height, width), `wide` spacings across, disc level."""
    height, width = size
    scale = width / (wide * place.spacing)
    cosine, sine = np.cos(place.tilt), np.sin(place.tilt)
    turn = scale * np.array([[cosine, sine], [-sine, cosine]])
    row, column = place.centre
    shift = np.array([(width - 1) / 2, (height - 1) / 2]) - turn @ np.array([column, row])
    return np.column_stack([turn, shift])


def cut(pixels: np.ndarray, affine: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W) float32 → crop of size (height, width) float32, its edges repeated outside the image."""
    scale = float(np.sqrt(abs(np.linalg.det(affine[:, :2]))))
    if scale < 0.8:  # warpAffine has no antialiasing
        pixels = cv2.GaussianBlur(pixels, (0, 0), 0.4 / scale)
    warp = partial(cv2.warpAffine, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return warp(pixels, affine, (size[1], size[0]))
