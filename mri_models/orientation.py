"""Which way is up? A small network tells how an image lies, so that the others can judge it upright."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import numpy as np
import torch
from scipy.special import log_softmax, softmax
from torch import nn

from mri_models.classify import read_model
from mri_models.fold import Runner, folded
from mri_models.hub import loading, verify
from mri_models.pixels import stretch
from mri_models.preprocess import InputSpec, to_batch
from mri_models.types import Mask, Orientation, Scan

NAME = "orientation"  # of its folder, and of its place in a report's hashes
ARCHITECTURE = "tf_efficientnet_lite1"
CONFIG_VERSION = 1
QUARTERS = 4  # of a full turn: the classes, by how often an image was turned by 90 degrees against the clock


def turned(pixels: np.ndarray, quarters: int) -> np.ndarray:
    """(H, W) turned by `quarters` times 90 degrees against the clock."""
    return np.ascontiguousarray(np.rot90(pixels, quarters))


def as_it_came(values: np.ndarray, orientation: Orientation | None) -> np.ndarray:
    """(H, W) on the grid of an image that was turned upright → on that of the image as it came."""
    return turned(values, orientation.turn_deg // 90) if orientation else values


def mask_as_it_came(mask: Mask, orientation: Orientation | None) -> Mask:
    """The outline of an image that was turned upright → on the grid of the image as it came."""
    values, probability = (as_it_came(one, orientation) for one in (mask.values, mask.probability))
    spacing = mask.spacing_mm
    if spacing and orientation and orientation.turn_deg != 180:
        spacing = spacing[::-1]
    return replace(mask, values=values, probability=probability, spacing_mm=spacing)


def together(logits: np.ndarray) -> np.ndarray:
    """Logits (..., 4, 4) of one image as it came and turned by 90, 180 and 270 degrees against the clock → (..., 4).

    The log-likelihood that it came turned by so many quarters, as all four ways say it together.
    """
    shares, ways = log_softmax(logits, axis=-1), np.arange(QUARTERS)
    return np.stack([shares[..., ways, (ways + j) % QUARTERS].sum(-1) for j in range(QUARTERS)], axis=-1)


class Compass:
    """Scan → Orientation. Thread-safe: nothing changes after construction.

    network: (B, 3, S, S) → logits (B, 4), of how each image lies. temperature: divides what the four ways of an image
    say together. threshold: least probability at which an image is turned.
    """

    def __init__(self, network: nn.Module, spec: InputSpec, temperature: float, threshold: float, digest: str):
        self.runner = Runner(folded(network))
        self.spec = spec
        self.temperature = temperature
        self.threshold = threshold
        self.digest = digest

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Self:
        """Read a model folder: config.json, model.safetensors.

        Raises WeightsError when a file is missing, altered, or of a version this package does not know.
        """
        digest = verify(folder)
        with loading(folder, "an orientation network"):
            model, spec = read_model(folder, CONFIG_VERSION)
            rule = float(model.config.mri["temperature"]), float(model.config.mri["threshold"])
        return cls(model.timm_model.to(device, memory_format=torch.channels_last), spec, *rule, digest)

    def logits(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Stretched images, (H, W) float32 in [0, 1] each → (B, 4) float64, of how each lies."""
        return self.runner(to_batch(images, self.spec))[0].cpu().numpy().astype(np.float64)

    def judge(self, logits: np.ndarray) -> Orientation:
        """(4, 4) of one image in all four ways, as it came first → how it lies as it came."""
        shares = softmax(together(logits) / self.temperature)
        best = int(shares.argmax())
        return Orientation(90 * best, float(shares[best]), self.threshold)

    def __call__(self, scan: Scan) -> Orientation | None:
        """How a scan lies, where it surely does not stand; None elsewhere.

        Only one that seems to lie at first sight is looked at in the other three ways too.
        """
        pixels = stretch(scan.pixels)
        first = self.logits([pixels])
        if first[0].argmax() == 0:
            return None
        others = self.logits([turned(pixels, quarters) for quarters in range(1, QUARTERS)])
        found = self.judge(np.concatenate([first, others]))
        return found if found.lies else None
