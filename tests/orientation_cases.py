"""A compass that needs no training: it sees which side of an image is brightest."""

from __future__ import annotations

import torch
from torch import nn

from mri_models.orientation import Compass
from mri_models.preprocess import InputSpec

SPEC = InputSpec(32, (0.5,) * 3, (0.5,) * 3)


class Brightest(nn.Module):
    """Sees which side of an image is brightest: the top in an upright one, the left in one turned by a quarter."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.full((), 20.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        rows, columns, half = images.mean((1, 3)), images.mean((1, 2)), images.shape[2] // 2
        down, across = (line[:, :half].mean(1) - line[:, half:].mean(1) for line in (rows, columns))
        return self.weight * torch.stack([down, across, -down, -across], 1)


def compass(threshold: float = 0.9) -> Compass:
    return Compass(Brightest(), SPEC, 1.0, threshold, "ab")
