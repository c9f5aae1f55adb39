"""Tumours taken out: the healthy half of a head, mirrored over its midline, stands in for what lies under the outline.

Contrast-enhanced slices without a tumour are what the corpus lacks: all of its own come from patients with one, and all
of its healthy brains were scanned without contrast medium. Without them a network may learn that contrast medium means
a tumour. Mirrored tissue as a healthy reference goes back to Saha et al. 2012 (unsupervised bounding boxes).
"""

from __future__ import annotations

from itertools import product

import cv2
import numpy as np

Rng = np.random.Generator

COARSE = 72  # px, longest side while the midline is looked for
ANGLES = np.arange(-16, 17, 4)  # degrees, of the midline
SHIFTS = np.linspace(-0.12, 0.12, 13)  # of the midline from the head's middle, in widths of the image
ALIKE = 0.7  # least correlation between a head and its mirror image; sagittal slices stay below
SHARED = 0.02  # most of the outline that may lie on its own mirror image
WIDENED = 0.03  # of the longest side: an outline's surroundings that go with it
EDGE, HALF_EDGE = 0.012, 0.006  # of the longest side: how softly an outline's, and a half's, surroundings go over
HEAD = 0.06  # grey level of the darkest tissue


def healed(pixels: np.ndarray, mask: np.ndarray, rng: Rng) -> np.ndarray | None:
    """pixels (H, W) uint8, mask (H, W) the tumour → (H, W) uint8 without it; None where nothing can stand in for it."""
    image = pixels.astype(np.float32) / 255
    matrix = midline(image, mask)
    return None if matrix is None else (heal(image, mask, matrix, rng) * 255).round().astype(np.uint8)


def twice_healthy(image: np.ndarray, mask: np.ndarray) -> np.ndarray | None:
    """image (H, W) float32 in [0, 1], mask (H, W) the tumour → the healthy half of the head and its mirror image.

    Unlike `healed` this leaves neither swelling nor a shifted midline behind; None where no half is healthy.
    """
    matrix = midline(image, mask)
    half = None if matrix is None else sick_half(widened(mask), matrix)
    return None if half is None else replaced(image, half, HALF_EDGE, matrix)


def midline(image: np.ndarray, region: np.ndarray) -> np.ndarray | None:
    """image (H, W) float32 in [0, 1], region (H, W) the tumour → (2, 3) reflection over the head's midline, in px.

    None where the head has no mirror symmetry or the tumour lies on both sides of it.
    """
    scale = COARSE / max(image.shape)
    small = cv2.GaussianBlur(cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), (0, 0), 1.0)
    sick = cv2.resize((region > 0).astype(np.float32), small.shape[::-1], interpolation=cv2.INTER_AREA) > 0
    columns = np.flatnonzero((small > HEAD).sum(0) > 0.1 * len(small))
    if not len(columns):
        return None
    middle = (columns[0] + columns[-1]) / 2
    places = product(middle + SHIFTS * small.shape[1], ANGLES)
    candidates = [reflection(x, small.shape[0] / 2, angle) for x, angle in places]
    scores = [likeness(small, sick, matrix) for matrix in candidates]
    best = int(np.argmax(scores))
    if scores[best] < ALIKE:
        return None
    matrix = candidates[best].copy()
    matrix[:, 2] /= scale
    inside = region > 0
    shared = inside & (reflected(widened(region), matrix) > 0.5)
    return matrix.astype(np.float32) if shared.sum() <= SHARED * inside.sum() else None


def reflection(x: float, y: float, angle: float) -> np.ndarray:
    """(2, 3) reflection over the line through (x, y), `angle` degrees off the vertical."""
    turn = np.deg2rad(2 * angle)
    linear = np.array([[-np.cos(turn), np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return np.column_stack([linear, np.array([x, y]) - linear @ (x, y)])


def likeness(image: np.ndarray, sick: np.ndarray, matrix: np.ndarray) -> float:
    """Correlation of a head with its mirror image, where neither shows the tumour."""
    other = reflected(image, matrix)
    known = (np.maximum(image, other) > HEAD) & ~sick & (reflected(sick.astype(np.float32), matrix) < 0.5)
    if known.sum() < 100:
        return 0.0
    return float(np.corrcoef(image[known], other[known])[0, 1])


def reflected(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    return cv2.warpAffine(image, matrix, image.shape[::-1], flags=cv2.INTER_LINEAR)


def widened(region: np.ndarray) -> np.ndarray:
    """(H, W) float32, 1 in the outline and close to it."""
    reach = max(1, round(WIDENED * max(region.shape)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.dilate((region > 0).astype(np.float32), kernel)


def heal(image: np.ndarray, region: np.ndarray, matrix: np.ndarray, rng: Rng) -> np.ndarray:
    """image (H, W) float32 whose tumour is `region` → the same head without it; `matrix` from `midline`.

    Either the outline and its surroundings are replaced, or the whole half: swelling reaches further than outlines do.
    """
    part = widened(region)
    half = sick_half(part, matrix) if rng.random() < 0.5 else None
    return replaced(image, part, EDGE, matrix) if half is None else replaced(image, half, HALF_EDGE, matrix)


def replaced(image: np.ndarray, part: np.ndarray, edge: float, matrix: np.ndarray) -> np.ndarray:
    """The image with its mirror image where `part` (H, W) is 1; `edge` is the transition's width."""
    alpha = cv2.GaussianBlur(part, (0, 0), max(1.0, edge * max(image.shape)))
    return np.clip(image + alpha * (reflected(image, matrix) - image), 0, 1, dtype=np.float32)


def sick_half(part: np.ndarray, matrix: np.ndarray) -> np.ndarray | None:
    """(H, W) float32, 1 on the side of the midline that holds `part`; None where it reaches over the midline."""
    y, x = np.indices(part.shape)
    moved = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] - x  # positive left of the midline
    left = moved > 0
    share = part[left].sum() / max(part.sum(), 1)
    if 0.1 < share < 0.9:
        return None
    return (left if share >= 0.9 else ~left).astype(np.float32)
