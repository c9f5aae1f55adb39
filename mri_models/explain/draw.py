"""Scans, maps over scans and error maps as pictures, on fixed scales."""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image

from mri_models.types import Attribution, Scan

COOL, WARM = (33, 102, 172), (214, 47, 39)  # against, for the class; colour-blind-safe pair (ColorBrewer RdBu)
HEAT = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))  # "inferno", for errors >= 0


def picture(scan: Scan) -> Image.Image:
    """The scan as an RGB picture of its own size."""
    return Image.fromarray((scan.pixels * 255).round().astype(np.uint8)).convert("RGB")


def overlay(scan: Scan, attribution: Attribution, opacity: float = 0.6) -> Image.Image:
    """RGB picture of the scan's size: red speaks for the class, blue against; opacity grows with the magnitude.

    The colour scale is fixed by validation images, so that a map without evidence stays empty.
    """
    strength = np.clip(attribution.values / attribution.scale, -1, 1)[..., None]
    colour = np.where(strength > 0, np.array(WARM, np.float32), np.array(COOL, np.float32))
    alpha = np.abs(strength) * min(max(float(opacity), 0.0), 1.0)
    grey = np.asarray(picture(scan), np.float32)
    return Image.fromarray((grey * (1 - alpha) + colour * alpha).round().astype(np.uint8))


def heat(error: np.ndarray, scale: float) -> Image.Image:
    """(S, S) error → RGB on a fixed scale from 0 (black) to `scale` and above (pale yellow)."""
    place = np.clip(error / scale, 0, 1)
    stops = np.linspace(0, 1, len(HEAT))
    channels = [np.interp(place, stops, channel) for channel in zip(*HEAT, strict=True)]
    return Image.fromarray(np.stack(channels, -1).round().astype(np.uint8))


def within(shape: tuple[int, int], side: int) -> tuple[int, int]:
    """The same aspect ratio with the longest side at most `side`."""
    factor = min(1.0, side / max(shape))
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def shrunk(scan: Scan, side: int) -> Scan:
    """The scan with its longest side at most `side`."""
    pixels = np.clip(resized(scan.pixels, within(scan.shape, side)), 0, 1)
    return dataclasses.replace(scan, pixels=pixels, spacing_mm=None)  # what is only drawn needs none


def on_grid(attribution: Attribution, shape: tuple[int, int]) -> Attribution:
    """The same map on another grid (H, W); a network's canvas is coarser than most scans, so little is lost."""
    return dataclasses.replace(attribution, values=resized(attribution.values, shape))


def resized(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) → `shape` float32, bilinear and antialiased."""
    image = Image.fromarray(np.ascontiguousarray(values), mode="F")
    return np.array(image.resize(shape[::-1], Image.Resampling.BILINEAR), np.float32)
