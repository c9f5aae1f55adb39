"""Coloured arrows, lines, letters and banners on a grey image: painted over, so that no model looks at them.

An MRI is grey, so what is coloured was drawn on it: by somebody who points at what they saw, by a measuring tool, by a
web site. Once colour is gone a red circle is a ring in the tissue, and models answer to it. What lay below is not
known: it is drawn anew from its border (`cv2.inpaint`; Bertalmio 2001, Navier-Stokes, Fluid Dynamics, and Image and
Video Inpainting), and the report says so. Coloured areas are left alone: what they cover may be the lesion itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from scipy import ndimage

from mri_models.pixels import to_grey
from mri_models.types import Scan


@dataclass(frozen=True, slots=True)
class Ink:
    """What tells a drawn mark from grey, from a coloured picture and from an area that is filled with colour."""

    side: int = 1024  # px; larger images are looked at and painted at this size
    strong: float = 0.16  # max - min over RGB, of the full range: surely coloured
    weak: float = 0.06  # belongs to a mark that it touches; chroma of JPEG files stays below
    most: float = 0.06  # share of the image, above which it is a coloured picture
    thick: float = 0.08  # of the shorter side: wider than arrows and lines are
    margin: float = 0.1  # of the height or width, within which a banner may be as thick as it likes
    gap: float = 0.012  # of the shorter side: letters in a banner, dashes of a line
    radius: int = 3  # px around a point that its grey is drawn from


INK = Ink()
PAINTED = (
    "Coloured marks or letters were drawn on the image. They were painted over before the models looked: what lies "
    "below them is not known, and letters may name a person."
)
FILLED = "Part of the image is filled with colour. The models see its brightness only, and may take it for tissue."


def from_colour(values: np.ndarray, **fields: Any) -> Scan:
    """A `Scan` of (H, W, 3 or 4) RGB, unsigned or float in [0, 1]; `fields` are its others."""
    grey, spread = to_grey(values)
    pixels, painted, filled = paint_over(grey, spread)
    return Scan(pixels, colourfulness=float(spread.mean() / 255), painted=painted, filled=filled, **fields)


def paint_over(grey: np.ndarray, spread: np.ndarray, ink: Ink = INK) -> tuple[np.ndarray, bool, bool]:
    """An image without its marks, whether it had any, and whether coloured areas are left in it.

    grey: (H, W) float32 in [0, 1]. spread: (H, W) uint8, max - min over RGB (`to_grey`).
    """
    height, width = grey.shape
    factor = min(1, ink.side / max(height, width))
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    marks, filled = find(cv2.resize(spread, small, interpolation=cv2.INTER_AREA), ink)
    if not marks.any():
        return grey, False, filled
    seen = np.rint(cv2.resize(grey, small, interpolation=cv2.INTER_AREA) * 255).astype(np.uint8)  # inpaint takes bytes
    drawn = cv2.resize(cv2.inpaint(seen, marks, ink.radius, cv2.INPAINT_NS), (width, height))
    marks = cv2.resize(marks, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.where(marks > 0, drawn.astype(np.float32) / 255, grey), True, filled


def find(spread: np.ndarray, ink: Ink = INK) -> tuple[np.ndarray, bool]:
    """(H, W) uint8, 1 where a mark was drawn, and whether coloured areas are left. Neither in a coloured picture."""
    coloured = hysteresis(spread, ink.weak * 255, ink.strong * 255)
    if not 0 < coloured.mean() <= ink.most:
        return np.zeros_like(coloured), False
    shorter = min(spread.shape)
    kernel = np.ones((max(3, round(ink.gap * shorter) | 1),) * 2, np.uint8)
    number, component, boxes, _ = cv2.connectedComponentsWithStats(
        cv2.morphologyEx(coloured, cv2.MORPH_CLOSE, kernel), connectivity=8
    )
    depth = cv2.distanceTransform(np.pad(coloured, 1), cv2.DIST_L2, 5)[1:-1, 1:-1]  # to the nearest grey
    thickness = 2 * ndimage.maximum(depth, component, np.arange(number))
    drawn = thickness <= ink.thick * shorter
    drawn |= [is_banner(box, spread.shape, ink) for box in boxes]
    drawn[0] = False  # the grey rest
    return drawn[component].astype(np.uint8), not drawn[1:].all()


def hysteresis(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """(H, W) uint8, 1 where values exceed `low` and hang together with some that exceed `high` (Canny 1986)."""
    _, component = cv2.connectedComponents((values > low).astype(np.uint8), connectivity=8)
    kept = np.zeros(component.max() + 1, np.uint8)
    kept[component[values > high]] = 1
    return kept[component]


def is_banner(box: np.ndarray, shape: tuple[int, int], ink: Ink = INK) -> bool:
    """Whether a box (left, top, width, height, ...) lies within the margin at one edge."""
    left, top, width, height = box[:4]
    near = (left + width, top + height, shape[1] - left, shape[0] - top)  # to the left, upper, right, lower edge
    return any(reach <= ink.margin * side for reach, side in zip(near, (*shape[::-1], *shape[::-1]), strict=True))


def warnings_of(scan: Scan) -> tuple[str, ...]:
    """Sentences about the colour that was found in a grey image."""
    return (PAINTED,) * scan.painted + (FILLED,) * scan.filled
