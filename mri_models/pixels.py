"""What every reader shares: the size limit, colour to grey, and unknown intensities to [0, 1]."""

from __future__ import annotations

import math

import numpy as np

from mri_models.errors import FileRejected

MAX_PIXELS = 25_000_000
_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, the weights of Pillow's mode "L"
_BAND = 512  # rows converted at a time, so that a 25 megapixel photograph costs no extra float copies
_SAMPLE = 1 << 20  # pixels that percentiles are taken from


def check_pixel_count(width: int, height: int, most: int = MAX_PIXELS) -> None:
    """Refuse by the header's word alone, before a pixel is decoded."""
    if width * height > most:
        raise FileRejected(
            "too_many_pixels",
            f"The image has {width} x {height} pixels; at most {most // 1_000_000} megapixels are read. "
            "Scale it down and try again.",
        )


def to_unit(values: np.ndarray) -> np.ndarray:
    """Unsigned integers by their type's full range, so that 8-bit 255 becomes 1.0; float32."""
    return values.astype(np.float32) / np.float32(np.iinfo(values.dtype).max)


def to_grey(colour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3 or 4), unsigned or float in [0, 1] -> (H, W) float32 grey in [0, 1] and uint8 max - min over RGB.

    255 is the full range; alpha lies on black.
    """
    height, width = colour.shape[:2]
    grey = np.empty((height, width), np.float32)
    spread = np.empty((height, width), np.uint8)
    for top in range(0, height, _BAND):
        band = colour[top : top + _BAND]
        band = to_unit(band) if band.dtype.kind == "u" else band
        red, green, blue = (band[..., channel] for channel in range(3))
        alpha = band[..., 3] if band.shape[2] == 4 else np.float32(1)
        grey[top : top + _BAND] = (_LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue) * alpha
        widest = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
        spread[top : top + _BAND] = np.rint(np.minimum(widest * alpha, 1) * 255)
    return np.minimum(grey, 1, out=grey), spread


def stretch(values: np.ndarray) -> np.ndarray:
    """Intensities of unknown range -> [0, 1] between their 0.5th and 99.5th percentile; a constant becomes 0.

    Full range would let one bright vessel or a burnt-in marker turn the anatomy black, and 16-bit files mostly
    hold 12 bits. Where the percentiles meet (a small object on an even background) the extremes take over.
    """
    step = max(1, math.isqrt(values.size // _SAMPLE))
    low, high = np.percentile(values[::step, ::step], (0.5, 99.5))
    if low >= high:
        low, high = values.min(), values.max()
    if low >= high:
        return np.zeros(values.shape, np.float32)
    return between(values, float(low), float(high))


def between(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """`low` -> 0, `high` -> 1, clipped; float32. The work of np.interp at a tenth of its time."""
    scaled = values.astype(np.float32)  # the one copy: of a large volume each is half a gigabyte
    np.clip(scaled, low, high, out=scaled)
    scaled -= np.float32(low)
    scaled /= np.float32(high - low)
    return np.clip(scaled, 0, 1, out=scaled)
