"""Checks that need no network: an image that holds nothing to analyse is refused with its reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri_models.errors import QualityRejected
from mri_models.types import Scan


@dataclass(frozen=True, slots=True)
class Limits:
    """Thresholds; "MRI" is the extreme among the 4971 MRI of the training and validation patients that are >= 64 px.

    All but the first two are measured on at most `side` pixels a side (every n-th pixel), so that they do not depend
    on how far an image was scaled up.
    """

    min_side: int = 64  # px; the product's limit, below it no model was trained
    max_aspect: float = 4.0  # longer strips are rulers, banners and profiles; MRI: 3.0
    side: int = 256
    min_range: float = 0.05  # 99.5th minus 0.5th percentile; MRI: 0.235, and 13 grey levels of 256 hold no anatomy
    max_single: float = 0.99  # share of one grey level (and its neighbours); MRI: 0.89
    max_double: float = 0.99  # share of the two commonest grey levels (and neighbours); MRI: 0.92, binary masks: 1
    min_correlation: float = 0.3  # of neighbouring pixels; MRI: 0.61, white noise after JPEG: 0.11
    min_coarse: float = 4.0  # variance of 8 x 8 means over that of white noise; MRI: 19.7, white noise: 1.3
    min_edge: float = 0.04  # 99.9th percentile of the local slope over the range; MRI: 0.29, plain gradients: 0.02


LIMITS = Limits()
_BLOCK = 8
_NEAR = 2  # grey levels of 256 that count as one: JPEG rounding around a constant


def check_quality(scan: Scan, limits: Limits = LIMITS) -> None:
    """Raise QualityRejected with the first reason found; an image that passes may still not be an MRI."""
    _check_shape(*scan.shape, limits)
    step = -(-max(scan.shape) // limits.side)
    pixels = scan.pixels[::step, ::step]
    low, high = np.percentile(pixels, (0.5, 99.5))
    single, double = _level_shares(pixels)
    if high - low < limits.min_range or single > limits.max_single:
        raise QualityRejected("blank", "The image is blank: nearly all pixels have the same grey. Send another image.")
    if double > limits.max_double:
        raise QualityRejected(
            "two_level", "The image has only two grey levels, like a mask or a drawing. Send the scan itself."
        )
    if _neighbour_correlation(pixels) < limits.min_correlation and _coarse_variance(pixels) < limits.min_coarse:
        raise QualityRejected(
            "noise", "The image is noise: neighbouring pixels have nothing in common. Check how it was exported."
        )
    if _steepest(pixels) < limits.min_edge * (high - low):
        raise QualityRejected("blurred", "The image shows no edge at all, only soft shades. Send a sharper image.")


def _check_shape(height: int, width: int, limits: Limits) -> None:
    if min(height, width) < limits.min_side:
        raise QualityRejected(
            "too_small",
            f"The image has {width} x {height} pixels; at least {limits.min_side} x {limits.min_side} are needed. "
            "Send it at its original resolution.",
        )
    if max(height, width) > limits.max_aspect * min(height, width):
        raise QualityRejected(
            "extreme_aspect",
            f"The image is a strip of {width} x {height} pixels; at most {limits.max_aspect:g} to 1 is accepted. "
            "Send the whole image.",
        )


def _level_shares(pixels: np.ndarray) -> tuple[float, float]:
    """Share of pixels at the commonest of 256 grey levels, and at the two commonest, each with its near ones."""
    levels = np.rint(pixels * 255).astype(np.intp)
    counts = np.bincount(levels.ravel(), minlength=256)
    shares = []
    for _ in range(2):
        peak = int(counts.argmax())
        near = slice(max(0, peak - _NEAR), peak + _NEAR + 1)
        shares.append(counts[near].sum() / pixels.size)
        counts[near] = 0
    return shares[0], shares[0] + shares[1]


def _neighbour_correlation(pixels: np.ndarray) -> float:
    """Lag-one autocorrelation, of rows or of columns, whichever is larger."""
    centred = pixels - pixels.mean()
    products = (np.mean(centred[:, 1:] * centred[:, :-1]), np.mean(centred[1:] * centred[:-1]))
    return float(max(products) / np.mean(centred**2))


def _coarse_variance(pixels: np.ndarray) -> float:
    """Variance of block means over what independent pixels would leave: 1 for white noise, up to 64 for flat areas."""
    rows, columns = (side // _BLOCK for side in pixels.shape)
    blocks = pixels[: rows * _BLOCK, : columns * _BLOCK].reshape(rows, _BLOCK, columns, _BLOCK)
    return float(blocks.mean(axis=(1, 3)).var() / pixels.var() * _BLOCK**2)


def _steepest(pixels: np.ndarray) -> float:
    """99.9th percentile of |d/dx| + |d/dy|."""
    slope = np.abs(np.diff(pixels, axis=0))[:, :-1] + np.abs(np.diff(pixels, axis=1))[:-1]
    return float(np.percentile(slope, 99.9))
