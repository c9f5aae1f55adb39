"""The volume network: a U-Net of MONAI's blocks on a lattice whose points hold a few voxels each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin
from monai.networks.blocks import UnetOutBlock, UnetResBlock, UnetUpBlock
from safetensors.torch import load_file
from torch import nn

ACTIVATION = ("leakyrelu", {"inplace": True, "negative_slope": 0.01})


class FoldedUNet(nn.Module, PyTorchModelHubMixin):
    """(B, 1, D, H, W) voxels in [0, 1] → logits (B, 1 + labels, D, H, W), background first.

    D, H and W must be multiples of `multiple`. A U-Net with residual units, 3D (Çiçek 2016; Isensee 2021 for kernels
    and strides that follow the spacing). `fold` voxels are one point with as many channels, and the answer is unfolded
    again (pixel shuffle, Shi 2016): full resolution in and out, at a quarter of the time or less.
    mean, std: voxels become (v - mean) / std inside, so that black padding outside stays black.
    """

    def __init__(
        self,
        labels: Sequence[str],
        fold: Sequence[int],
        kernels: Sequence[Sequence[int]],
        strides: Sequence[Sequence[int]],
        widths: Sequence[int],
        mean: float = 0.25,
        std: float = 0.25,
    ):
        super().__init__()
        self.shape = {
            "labels": list(labels),
            "fold": list(fold),
            "kernels": [list(kernel) for kernel in kernels],
            "strides": [list(stride) for stride in strides],
            "widths": list(widths),
            "mean": mean,
            "std": std,
        }
        self.fold, self.mean, self.std = tuple(fold), mean, std
        self.multiple = tuple(prod(steps) for steps in zip(fold, *strides, strict=True))
        points = prod(fold)
        # batch norm: instance norm takes a third longer here
        sizes = zip((points, *widths), widths, kernels, strides, strict=False)
        self.down = nn.ModuleList(UnetResBlock(3, *size, "batch", ACTIVATION) for size in sizes)
        steps = zip(pairwise(widths), kernels, strides[1:], strict=False)
        self.up = nn.ModuleList(
            UnetUpBlock(3, coarse, fine, kernel, 1, stride, "batch", ACTIVATION)
            for (fine, coarse), kernel, stride in steps
        )
        self.head = UnetOutBlock(3, widths[0], points * (1 + len(labels)))

    def forward(self, voxels: torch.Tensor) -> torch.Tensor:
        found = fold((voxels - self.mean) / self.std, self.fold).contiguous(memory_format=torch.channels_last_3d)
        skips = [found := block(found) for block in self.down]
        for block, skip in zip(reversed(self.up), reversed(skips[:-1]), strict=True):
            found = block(found, skip)
        return unfold(self.head(found), self.fold)


def fold(voxels: torch.Tensor, steps: Sequence[int]) -> torch.Tensor:
    """(B, C, D, H, W) → (B, C·a·b·c, D/a, H/b, W/c): neighbouring voxels side by side as channels."""
    a, b, c = steps
    batch, channels, depth, height, width = voxels.shape
    split = voxels.reshape(batch, channels, depth // a, a, height // b, b, width // c, c)
    return split.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(batch, -1, depth // a, height // b, width // c)


def unfold(points: torch.Tensor, steps: Sequence[int]) -> torch.Tensor:
    """The inverse of `fold`."""
    a, b, c = steps
    batch, _, depth, height, width = points.shape
    split = points.reshape(batch, -1, a, b, c, depth, height, width)
    return split.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(batch, -1, depth * a, height * b, width * c)


def read_unet3d(shape: Mapping[str, Any], path: Path) -> FoldedUNet:
    """A network of this shape with the weights of a file, ready to serve."""
    keys = ("labels", "fold", "kernels", "strides", "widths", "mean", "std")
    network = FoldedUNet(**{key: shape[key] for key in keys})
    network.load_state_dict(load_file(path))
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last_3d)
