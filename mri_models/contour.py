"""One way to draw outlines: a thin line and a light fill in each label's colour, the same for every image."""

from __future__ import annotations

import numpy as np
from PIL import Image
from scipy.ndimage import binary_erosion

from mri_models.types import Mask, Scan

PALETTE = ((255, 176, 0), (86, 180, 233), (0, 190, 140), (240, 120, 200))  # colour-blind-safe (IBM; Okabe & Ito 2008)
FILL = 0.22  # opacity inside the line
LINE = 0.004  # its width in shares of the image's longest side


def colour_of(mask: Mask, label: str) -> tuple[int, int, int]:
    """RGB of one label."""
    return PALETTE[mask.labels.index(label) % len(PALETTE)]


def layer(mask: Mask) -> Image.Image:
    """RGBA picture of the scan's size: what lies over the image."""
    width = max(1, round(LINE * max(mask.values.shape)))
    colours, alpha = np.zeros((*mask.values.shape, 3), np.uint8), np.zeros(mask.values.shape, np.float32)
    for index, label in enumerate(mask.labels, 1):
        inside = mask.values == index
        if inside.any():
            colours[inside] = colour_of(mask, label)
            alpha[inside] = FILL
            alpha[inside & ~binary_erosion(inside, iterations=width)] = 1
    return Image.fromarray(np.dstack([colours, (alpha * 255).round().astype(np.uint8)]), "RGBA")


def drawn(scan: Scan, mask: Mask) -> Image.Image:
    """RGB picture of the scan with its outlines."""
    grey = Image.fromarray((scan.pixels * 255).round().astype(np.uint8)).convert("RGBA")
    return Image.alpha_composite(grey, layer(mask)).convert("RGB")


def binary(mask: Mask) -> Image.Image:
    """The outline as a file for other programs: 0 and 255, of the scan's size."""
    return Image.fromarray((mask.values > 0).astype(np.uint8) * 255)
