"""Knees of two sources made alike: what else tells the torn ligaments' source from the intact ones' is made random.

Torn and intact ligaments come from different scanners, so contrast, sharpness, resolution and field of view would
answer for the ligament. `level` takes the latter three away; `exchange` puts the ligament of one knee into another,
in every combination of torn and intact, so that neither the surroundings nor the seam say which one it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from mri_models.training.augment import Rng

# Ends of the anterior cruciate ligament, tibia first, as shares (x, y) of the image, on the mid-sagittal slices of
# mridata_knee: read off by eye on 14 volunteers of train and val, all of whom lie within 0.03 of it.
INTACT_ENDS = ((0.46, 0.61), (0.56, 0.47))
SPREAD = 0.02  # jitter of those ends
REACH = 0.4  # half width of what is exchanged, as a share of the ligament's length
RESOLUTIONS = (96, 208)  # px along the longest side: from below the blurrier source to near the sharper one
WINDOW = (0.6, 1.0)  # share of each side that is kept


@dataclass(frozen=True, slots=True, eq=False)
class Notch:
    """A knee whose ligament's place is known: pixels (H, W) float32 in [0, 1]; mask (H, W) uint8, empty where intact.

    ends: (2, 2) x, y of the ligament in pixels, the lower end first.
    """

    pixels: np.ndarray
    mask: np.ndarray
    ends: np.ndarray


def notch(pixels: np.ndarray, mask: np.ndarray, rng: Rng) -> Notch:
    """The ligament's ends from its outline; on an intact knee of mridata_knee from where they are there."""
    if not mask.any():
        ends = np.array(INTACT_ENDS) + rng.normal(0, SPREAD, (2, 2))
        return Notch(pixels, mask, ends * pixels.shape[::-1])
    points = np.argwhere(mask)[:, ::-1].astype(float)
    centre = points.mean(0)
    axis = np.linalg.svd(points - centre, full_matrices=False)[2][0]
    axis = axis if axis[1] < 0 else -axis  # upwards
    along = (points - centre) @ axis
    return Notch(pixels, mask, centre + np.outer((along.min(), along.max()), axis))


def exchange(knee: Notch, others: Sequence[Notch], rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """`knee` with the ligament of whichever of `others` has the most similar surroundings, and that one's outline.

    Returns pixels (H, W) float32 and mask (H, W) uint8.
    """
    placed = [_placed(knee, other) for other in others]
    pixels, mask, region = max(placed, key=lambda one: _likeness(knee.pixels, *one[::2]))
    ring = _ring(region)
    spread = knee.pixels[ring].std() / max(pixels[ring].std(), 0.02)
    fitted = (pixels - pixels[ring].mean()) * np.clip(spread, 0.5, 2) * rng.uniform(0.8, 1.25) + knee.pixels[
        ring
    ].mean()
    alpha = cv2.GaussianBlur(region.astype(np.float32), (0, 0), max(1.0, 0.01 * max(region.shape)))
    return np.clip(knee.pixels + alpha * (fitted - knee.pixels), 0, 1, dtype=np.float32), mask


def level(image: np.ndarray, mask: np.ndarray, rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Random field of view and resolution, alike for every source: image (H, W) float32, mask (H, W) uint8.

    The window keeps the middle of the image, and the whole outline where there is one.
    """
    slices = []
    for axis, side in enumerate(image.shape):
        length = int(side * rng.uniform(*WINDOW))
        low, high = int(0.35 * side), int(0.65 * side)
        if mask.any():
            inside = np.flatnonzero(mask.any(1 - axis))
            low, high = min(low, inside[0]), max(high, inside[-1] + 1)
        length = max(length, high - low)
        start = rng.integers(max(0, high - length), min(low, side - length) + 1)
        slices.append(slice(start, start + length))
    image, mask = image[tuple(slices)], mask[tuple(slices)]
    scale = np.exp(rng.uniform(*np.log(RESOLUTIONS))) / max(image.shape)
    if scale < 1:
        size = tuple(max(8, round(side * scale)) for side in image.shape[::-1])
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)
    return image, mask


def _placed(knee: Notch, other: Notch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`other` moved so that its ligament lies on that of `knee`: pixels, mask, and the bool region that covers both."""
    ends, width = other.ends.copy(), other.pixels.shape[1]
    pixels, mask = other.pixels, other.mask
    if np.sign(np.diff(ends[:, 0])) != np.sign(np.diff(knee.ends[:, 0])):  # the other way round
        pixels, mask = np.ascontiguousarray(pixels[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
        ends[:, 0] = width - 1 - ends[:, 0]
    (a, b), (c, d) = ends @ (1, 1j), knee.ends @ (1, 1j)
    turn = (d - c) / (b - a)  # a similarity is one complex factor and a shift
    shift = c - turn * a
    matrix = np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])
    size = knee.pixels.shape[::-1]
    pixels = cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_NEAREST)
    reach = REACH * abs(d - c)
    capsule = np.zeros(knee.pixels.shape, np.uint8)
    cv2.line(capsule, *(tuple(int(v) for v in end) for end in knee.ends), 1, max(1, int(2 * reach)))
    outlined = cv2.dilate(mask | knee.mask, np.ones((5, 5), np.uint8))
    return pixels, mask, (capsule | outlined) > 0


def _ring(region: np.ndarray) -> np.ndarray:
    """(H, W) bool: the surroundings of a region."""
    return (cv2.dilate(region.astype(np.uint8), np.ones((21, 21), np.uint8)) > 0) & ~region


def _likeness(image: np.ndarray, other: np.ndarray, region: np.ndarray) -> float:
    """Correlation of two images around a region; -1 where one of them is flat."""
    ring = _ring(region)
    one, two = image[ring] - image[ring].mean(), other[ring] - other[ring].mean()
    length = np.sqrt((one**2).sum() * (two**2).sum())
    return float((one * two).sum() / length) if length > 1e-6 else -1.0
