"""Steps of training in half the time on a CPU, with the same numbers."""

from __future__ import annotations

import shutil
from functools import partial

import torch
from torch import nn

COMPILED = 100  # steps from which on two minutes of compiling are worth it


def quicken(network: nn.Module, steps: int) -> None:
    """Change `network` in place for so many steps of bfloat16 training on a CPU; a GPU needs none of it.

    Depthwise convolutions stay in float32: their backward pass in bfloat16 takes most of a step otherwise. And where
    there is a C++ compiler, what lies between convolutions is fused in training mode (`torch.compile`): on two cores an
    EfficientNet-B3 U-Net at 224 px takes 0.15 s an image instead of 0.30.
    """
    if torch.cuda.is_available():
        return
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups == module.in_channels > 1:
            module.forward = partial(_in_float32, module.forward)
    if steps >= COMPILED and shutil.which("c++"):
        plain, fused = network.forward, torch.compile(network.forward)
        network.forward = lambda images: (fused if network.training else plain)(images)


def _in_float32(convolve, images: torch.Tensor) -> torch.Tensor:
    with torch.autocast(images.device.type, enabled=False):
        return convolve(images.float()).to(images.dtype)
