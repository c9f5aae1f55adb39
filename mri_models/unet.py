"""ResUNet: the outline network, an EfficientNet of residual blocks going down and MONAI's residual units coming up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import timm
import torch
import torch.nn.functional as F
from huggingface_hub import PyTorchModelHubMixin
from monai.networks.blocks import ResidualUnit
from safetensors.torch import load_file
from torch import nn


class ResUNet(nn.Module, PyTorchModelHubMixin):
    """(B, 3, S, S) → logits (B, 1 + labels, S, S), background first; S a multiple of 32.

    A U-Net (Ronneberger 2015) with residual units (He 2016; Zhang 2018 for the combination). Going down: the feature
    maps of a timm network at strides 2 to 32. Coming up: at each stride the coarser map, doubled, beside the finer one.
    The last doubling is bilinear: outlines are smooth, and full-resolution maps would cost half of the time.
    """

    def __init__(
        self,
        encoder: str,
        labels: Sequence[str],
        encoder_args: Mapping[str, Any] | None = None,
        widths: Sequence[int] = (128, 64, 48, 32),
    ):
        super().__init__()
        self.shape = {
            "encoder": encoder,
            "labels": list(labels),
            "encoder_args": dict(encoder_args or {}),
            "widths": list(widths),
        }
        self.encoder = timm.create_model(encoder, features_only=True, pretrained=False, **self.shape["encoder_args"])
        finer = self.encoder.feature_info.channels()[::-1]
        steps = pairwise((finer[0], *widths))
        self.decoder = nn.ModuleList(
            ResidualUnit(2, coarse + skip, width, subunits=2, norm="batch", act="relu")
            for (coarse, width), skip in zip(steps, finer[1:], strict=True)
        )
        self.head = nn.Conv2d(widths[-1], 1 + len(labels), 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        *skips, drawn = self.encoder(images.contiguous(memory_format=torch.channels_last))
        for unit, skip in zip(self.decoder, reversed(skips), strict=True):
            drawn = unit(torch.cat([F.interpolate(drawn, scale_factor=2.0), skip], 1))
        return F.interpolate(self.head(drawn), scale_factor=2.0, mode="bilinear", align_corners=False)


def read_unet(shape: Mapping[str, Any], path: Path) -> ResUNet:
    """A network of this shape with the weights of a file.

    `ResUNet.from_pretrained` reads the same, but prints to standard output, where our JSON Lines go.
    """
    network = ResUNet(shape["encoder"], shape["labels"], shape["encoder_args"], shape["widths"])
    network.load_state_dict(load_file(path))
    return network.eval().requires_grad_(False)
