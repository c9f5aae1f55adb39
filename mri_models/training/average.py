"""Averaged weights: in a short run they are better than the last ones (Polyak 1992)."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn
from transformers import TrainerCallback


class Averaged(nn.Module):
    """A network that learns, and the moving average of its weights, which is what is judged and kept."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network
        self.average = deepcopy(network).requires_grad_(False)

    @torch.no_grad()
    def follow(self, memory: float) -> None:
        """Move the average towards the network."""
        for mean, new in zip(self.average.state_dict().values(), self.network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(new, 1 - memory)
            else:
                mean.copy_(new)


class Follow(TrainerCallback):
    """Averages the weights after every step; the memory grows at first, so that the start is forgotten."""

    def __init__(self, memory: float):
        self.memory = memory

    def on_step_end(self, args, state, control, model=None, **kwargs) -> None:
        step = state.global_step
        model.follow(min(self.memory, (1 + step) / (10 + step)))


class SkipBroken(TrainerCallback):
    """Leaves out steps whose gradient is not finite: with bfloat16 on a CPU 3 of 180 were, and one poisons the rest."""

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs) -> None:
        if not all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None):
            model.zero_grad(set_to_none=True)
