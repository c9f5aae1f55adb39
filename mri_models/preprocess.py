"""Scan → network input: the one transform that training, evaluation and serving share.

stretch the 0.5-99.5 percentile to [0, 1] → letterbox into a square → repeat to three channels → normalise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from mri_models.pixels import stretch
from mri_models.types import Scan


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a network expects; read from its config, never written in code."""

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """Where an image of (height, width) lies on a square canvas, in canvas pixels."""

    top: int
    left: int
    height: int
    width: int


def fit_box(shape: tuple[int, int], size: int) -> Box:
    """The largest centred box of the image's aspect ratio in a (size, size) canvas."""
    height, width = shape
    scale = size / max(height, width)
    inner = max(1, round(height * scale)), max(1, round(width * scale))
    return Box((size - inner[0]) // 2, (size - inner[1]) // 2, *inner)


def letterbox(pixels: np.ndarray, size: int) -> np.ndarray:
    """(H, W) float32 in [0, 1] → (size, size) float32, aspect kept, black borders, bicubic with antialiasing."""
    box = fit_box(pixels.shape, size)
    inner = Image.fromarray(pixels, mode="F").resize((box.width, box.height), Image.Resampling.BICUBIC)
    canvas = np.zeros((size, size), np.float32)
    canvas[box.top : box.top + box.height, box.left : box.left + box.width] = np.clip(np.asarray(inner), 0, 1)
    return canvas


def undo_letterbox(canvas: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(S, S) float32 map on a network's canvas → (H, W) float32 on the scan's own grid, bilinear."""
    box = fit_box(shape, canvas.shape[0])
    inner = canvas[box.top : box.top + box.height, box.left : box.left + box.width]
    resized = Image.fromarray(np.ascontiguousarray(inner, np.float32), mode="F").resize(
        (shape[1], shape[0]), Image.Resampling.BILINEAR
    )
    return np.asarray(resized, np.float32)


def normalise(canvas: np.ndarray, spec: InputSpec) -> torch.Tensor:
    """(S, S) float32 in [0, 1] → (3, S, S) float32 tensor."""
    mean, std = (np.asarray(values, np.float32).reshape(3, 1, 1) for values in (spec.mean, spec.std))
    return torch.from_numpy((canvas[None] - mean) / std)


def to_tensor(scan: Scan, spec: InputSpec) -> torch.Tensor:
    """Scan → (1, 3, S, S) float32."""
    return to_batch([stretch(scan.pixels)], spec)


def to_batch(images: Sequence[np.ndarray], spec: InputSpec) -> torch.Tensor:
    """Stretched images, (H, W) float32 in [0, 1] each → (B, 3, S, S) float32."""
    return torch.stack([normalise(letterbox(image, spec.size), spec) for image in images])
