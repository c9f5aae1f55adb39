"""Networks that learn no more: batch norms folded into the convolutions before them.

The same answers and gradients from fewer ways through memory.
"""

from __future__ import annotations

import copy
from itertools import pairwise
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

Network = TypeVar("Network", bound=nn.Module)


class Runner:
    """(B, 3, S, S) → the network's outputs, float32, on its device; half precision on a GPU. Thread-safe."""

    def __init__(self, network: nn.Module):
        self.device = next(network.parameters()).device
        self._network = network.eval()

    @torch.inference_mode()
    def __call__(self, batch: torch.Tensor) -> tuple[torch.Tensor, ...]:
        batch = batch.to(self.device, memory_format=torch.channels_last)
        with torch.autocast("cuda", torch.float16, enabled=self.device.type == "cuda"):
            found = self._network(batch)
        return tuple(part.float() for part in ((found,) if isinstance(found, torch.Tensor) else found))


def folded(network: Network) -> Network:
    """A frozen copy in which each 2D convolution has taken in the batch norm that is the next child of its module.

    Outputs agree within rounding (Jacob 2018, "Quantization and Training of Neural Networks", section 3.2). It takes
    for granted that a module calls its children in the order in which it names them, as timm's and this package's do.
    """
    copied = copy.deepcopy(network).eval()
    for module in copied.modules():
        for (before, convolution), (after, norm) in pairwise(list(module.named_children())):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, before, fuse_conv_bn_eval(convolution, norm))
                setattr(module, after, getattr(norm, "act", nn.Identity()))  # timm's norms end in an activation
    return copied.requires_grad_(False).to(memory_format=torch.channels_last)
