"""Letters and digits burnt into an image: names and dates may be among them, and models may read them. No network.

Not a reader: it looks for rows of small, equally high, evenly bright strokes on an even ground, as printed text is and
anatomy is not. What is found is said, never cut out or kept.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from scipy.sparse.csgraph import connected_components

from mri_models.types import Scan


@dataclass(frozen=True, slots=True)
class Print:
    """What printed text looks like, in pixels and in shares of a letter's height or of the full grey range."""

    side: int = 1024  # px; larger images are looked at in every n-th pixel
    stroke: int = 7  # px; strokes are thinner
    contrast: float = 0.25  # of a stroke against what is around it
    heights: tuple[int, int] = (5, 36)  # px
    widest: float = 1.5  # width over height of one letter
    shift: float = 0.2  # of the base line, in heights
    gap: float = 0.9  # between letters, in heights
    taller: float = 1.3  # of two letters in a row
    letters: int = 4  # in a row, below which ribs, vessels and vertebral edges look alike
    ground: float = 0.12  # standard deviation between the strokes
    crowd: int = 1500  # strokes, above which the image is texture


PRINT = Print()
WARNING = "The image seems to hold burnt-in text, which may name a person. Send it without annotations."


def warnings_of(scan: Scan) -> tuple[str, ...]:
    """Sentences about what is amiss, but not enough to refuse."""
    return (WARNING,) if scan.annotated or has_lettering(scan.pixels) else ()


def has_lettering(pixels: np.ndarray, limits: Print = PRINT) -> bool:
    """(H, W) float32 in [0, 1]: whether a row of letters is in it, brighter or darker than its ground."""
    step = -(-max(pixels.shape) // limits.side)
    pixels = pixels[::step, ::step]
    return _rows(pixels, limits) or _rows(1 - pixels, limits)


def _rows(pixels: np.ndarray, limits: Print) -> bool:
    size = (limits.stroke, limits.stroke)
    strokes = pixels - ndimage.grey_opening(pixels, size) > limits.contrast
    labels, _ = ndimage.label(strokes, np.ones((3, 3), bool))
    boxes = [
        (rows.start, rows.stop, columns.start, columns.stop)
        for rows, columns in ndimage.find_objects(labels)
        if limits.heights[0] <= rows.stop - rows.start <= limits.heights[1]
        and columns.stop - columns.start <= limits.widest * (rows.stop - rows.start)
    ]
    if not limits.letters <= len(boxes) <= limits.crowd:
        return False
    top, bottom, left, right = np.array(boxes).T
    height = (bottom - top).astype(np.float32)
    taller = np.maximum(height[:, None], height)
    beside = (
        (np.abs(bottom[:, None] - bottom) <= limits.shift * taller)
        & (taller <= limits.taller * np.minimum(height[:, None], height))
        & (np.maximum(left[:, None], left) - np.minimum(right[:, None], right) <= limits.gap * taller)
        & (np.maximum(left[:, None], left) >= np.minimum(right[:, None], right) - 1)
    )
    _, row_of = connected_components(beside, directed=False)
    for row in np.flatnonzero(np.bincount(row_of) >= limits.letters):
        mine = row_of == row
        area = np.s_[top[mine].min() : bottom[mine].max(), left[mine].min() : right[mine].max()]
        around = ndimage.binary_dilation(strokes[area], np.ones((3, 3), bool))
        ground = pixels[area][~around]
        if ground.size and ground.std() < limits.ground:
            return True
    return False
