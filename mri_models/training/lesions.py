"""Lesions that are no tumour, simulated in healthy brains: white-matter spots, swelling, cysts.

The corpus knows a hundred abnormal brains beside its tumours, too few to learn what "abnormal" may look like. That
simulated anomalies teach to find real ones was shown by Tan et al. 2020 (foreign patch interpolation).
"""

from __future__ import annotations

import cv2
import numpy as np

from mri_models.training.heal import HEAD

Rng = np.random.Generator

SKULL = 0.07  # of the longest side: how far inside the head a lesion's middle lies at least
LEAST_HEAD = 0.1  # share of the image; below it there is no room for a lesion
SEEN = 0.1  # least mean change of grey level inside the outline
DRAWN = 0.3  # of a lesion's full strength: where its outline is drawn


def with_lesion(image: np.ndarray, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """image (H, W) float32 in [0, 1], a healthy brain → the image with a lesion and its outline (H, W) uint8 0 or 255.

    The outline is empty, and the image as it was, where no brain was found or the lesion would not be seen.
    """
    unchanged = image, np.zeros(image.shape, np.uint8)
    inside = depths(image)
    if not inside.any():
        return unchanged
    kind = (spots, swelling, cyst)[rng.choice(3, p=(0.45, 0.35, 0.2))]
    strength, changed = kind(image, inside, rng)
    strength = strength * cv2.GaussianBlur((image > HEAD).astype(np.float32), (0, 0), 1.0)
    result = np.clip(image + strength * (changed - image), 0, 1, dtype=np.float32)
    outline = strength > DRAWN
    if not outline.any() or np.abs(result - image)[outline].mean() < SEEN:
        return unchanged
    return result, outline.astype(np.uint8) * 255


def depths(image: np.ndarray) -> np.ndarray:
    """(H, W) bool: tissue well inside the head; all False where the head is too small."""
    head = cv2.morphologyEx((image > HEAD).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
    if head.mean() < LEAST_HEAD:
        return np.zeros(image.shape, bool)
    reach = cv2.distanceTransform(np.pad(head, 1), cv2.DIST_L2, 3)[1:-1, 1:-1]
    deep = reach > SKULL * max(image.shape)
    return deep & (image > 0.4 * np.median(image[deep])) if deep.any() else deep


def spots(image: np.ndarray, inside: np.ndarray, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Some small soft ellipses, most of them brighter than what they lie in, some on both sides alike."""
    width = image.shape[1]
    strength = np.zeros(image.shape, np.float32)
    places = np.argwhere(inside)
    side = max(image.shape)
    for y, x in places[rng.integers(len(places), size=rng.integers(3, 22))]:
        axes = tuple(int(a) for a in np.maximum(1, side * rng.uniform(0.006, 0.025, 2)))
        mirrored = width - 1 - x
        for column in (x, mirrored) if rng.random() < 0.3 and inside[y, mirrored] else (x,):
            cv2.ellipse(strength, (int(column), int(y)), axes, rng.uniform(0, 180), 0, 360, rng.uniform(0.6, 1), -1)
    strength = cv2.GaussianBlur(strength, (0, 0), max(0.7, side * rng.uniform(0.003, 0.009)))
    return strength, image + shift(image[inside], rng, brighter=0.85)


def swelling(image: np.ndarray, inside: np.ndarray, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """A soft, ragged region that is brighter or darker while its structure stays: oedema, infarct, gliosis."""
    size = max(image.shape) * rng.uniform(0.05, 0.14)
    strength = blob(image, inside, size, rng, ragged=rng.uniform(0.5, 1.5))
    soft = cv2.GaussianBlur(strength, (0, 0), size * rng.uniform(0.08, 0.3))
    return soft, image + shift(image[soft > DRAWN], rng, brighter=0.7)


def cyst(image: np.ndarray, inside: np.ndarray, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """A smooth, sharply bounded region of one grey level: the darkest, or the brightest."""
    size = max(image.shape) * rng.uniform(0.03, 0.1)
    strength = blob(image, inside, size, rng, ragged=rng.uniform(0, 0.3))
    level = rng.uniform(0.02, 0.2) if rng.random() < 0.6 else rng.uniform(0.75, 1.0)
    smooth = cv2.GaussianBlur(image, (0, 0), 2.0)
    return cv2.GaussianBlur(strength, (0, 0), 1.0), level + 0.1 * (smooth - smooth.mean())


def blob(image: np.ndarray, inside: np.ndarray, size: float, rng: Rng, ragged: float) -> np.ndarray:
    """(H, W) float32, 1 in one region of about `size` px radius, 0 outside; `ragged` 0 gives an ellipse."""
    places = np.argwhere(inside)
    middle = places[rng.integers(len(places))]
    y, x = np.indices(image.shape, np.float32)
    turn, stretch = rng.uniform(0, np.pi), np.exp(rng.uniform(-0.4, 0.4))
    along = (x - middle[1]) * np.cos(turn) + (y - middle[0]) * np.sin(turn)
    across = (y - middle[0]) * np.cos(turn) - (x - middle[1]) * np.sin(turn)
    radius = np.hypot(along * stretch, across / stretch) / size
    grain = cv2.GaussianBlur(rng.standard_normal(image.shape, np.float32), (0, 0), max(1.0, 0.35 * size))
    return (radius + ragged * 0.35 * grain / max(float(grain.std()), 1e-6) < 1).astype(np.float32)


def shift(tissue: np.ndarray, rng: Rng, brighter: float) -> float:
    """A change of grey level; `brighter` is the share of changes upwards, where `tissue` is not bright already."""
    upwards = rng.random() < brighter and (not tissue.size or tissue.mean() < 0.65)
    return float(rng.uniform(0.15, 0.5)) if upwards else -float(rng.uniform(0.15, 0.4))
