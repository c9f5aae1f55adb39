"""The convolutional autoencoder that learns what normal brains look like, and how its drawing is compared with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from safetensors.torch import load_file
from torch import nn

WINDOW = 7  # px; side of the squares in which structure is compared
_C1, _C2 = 0.01**2, 0.03**2  # Wang 2004, for grey levels in [0, 1]


class Autoencoder(nn.Module, PyTorchModelHubMixin):
    """(B, 1, S, S) in [0, 1] → the same; between them only a code (B, latent, S / 2^n, S / 2^n), n = len(channels).

    Encoder: two Conv2d + ReLU and a MaxPool a level, a 1x1 bottleneck. Decoder: ConvTranspose2d + ReLU, sigmoid.
    No skip connections: they would let an anomaly pass around the bottleneck.
    """

    def __init__(self, size: int = 128, channels: Sequence[int] = (8, 16, 32, 64), latent: int = 16):
        super().__init__()
        if size % 2 ** len(channels):
            raise ValueError(f"size must be a multiple of {2 ** len(channels)} for {len(channels)} levels, got {size}")
        self.size, self.channels, self.latent = size, tuple(channels), latent
        levels = [_down(before, after) for before, after in zip((1, *channels), channels, strict=False)]
        self.encoder = nn.Sequential(*levels, nn.Conv2d(channels[-1], latent, 1))
        rising = tuple(reversed(channels))
        ups = [_up(before, after) for before, after in zip(rising, (*rising[1:], rising[-1]), strict=True)]
        self.decoder = nn.Sequential(
            nn.Conv2d(latent, rising[0], 1), nn.ReLU(), *ups, nn.Conv2d(rising[-1], 1, 3, padding=1), nn.Sigmoid()
        )
        self.apply(_start)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encoder(images))


def read_autoencoder(shape: Mapping[str, Any], path: Path) -> Autoencoder:
    """A network of this shape with the weights of a file.

    `Autoencoder.from_pretrained` reads the same, but prints to standard output, where our JSON Lines go.
    """
    network = Autoencoder(shape["size"], shape["channels"], shape["latent"])
    network.load_state_dict(load_file(path))
    return network.eval().requires_grad_(False)


def _start(layer: nn.Module) -> None:
    """He 2015: without normalisation layers PyTorch's own start lets the signal die out on its way."""
    if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.zeros_(layer.bias)


def _down(before: int, after: int) -> nn.Sequential:
    """Half the side, `after` channels."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


def _up(before: int, after: int) -> nn.Sequential:
    """Twice the side, `after` channels; a kernel of twice the stride leaves no chequerboard (Odena 2016)."""
    return nn.Sequential(nn.ConvTranspose2d(before, after, 4, stride=2, padding=1), nn.ReLU())


def similarity(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Structural similarity (Wang 2004) of (B, 1, S, S) images at each pixel, (B, 1, S, S), at most 1."""

    def mean(values: torch.Tensor) -> torch.Tensor:
        return F.avg_pool2d(values, WINDOW, 1, WINDOW // 2, count_include_pad=False)

    a, b = mean(one), mean(other)
    variances = mean(one * one) - a * a + mean(other * other) - b * b
    covariance = mean(one * other) - a * b
    return (2 * a * b + _C1) * (2 * covariance + _C2) / ((a * a + b * b + _C1) * (variances + _C2))
