"""DiscNet: the network that grades the discs of a spine, each beside its neighbours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from huggingface_hub import PyTorchModelHubMixin
from safetensors.torch import load_file
from torch import nn

from mri_models.types.discs import GRADES, LEVELS

FINDINGS = ("narrowing", "bulging", "herniation")
OUTPUTS = len(GRADES) + len(FINDINGS)


class Grader(nn.Module):
    """One trunk and its head. A disc's logits are a linear function of its own features, of the mean over the discs of
    its spine (discs age together), and of its level."""

    def __init__(self, trunk: str, trunk_args: Mapping[str, Any]):
        super().__init__()
        self.trunk = timm.create_model(trunk, pretrained=False, num_classes=0, **trunk_args)
        width = self.trunk.num_features * self.trunk.global_pool.feat_mult()
        self.dropout = nn.Dropout(0.3)
        self.own = nn.Linear(width, OUTPUTS)
        self.spine = nn.Linear(width, OUTPUTS, bias=False)
        self.level = nn.Embedding(len(LEVELS), OUTPUTS)
        nn.init.zeros_(self.spine.weight)
        nn.init.zeros_(self.level.weight)

    def forward(self, crops: torch.Tensor, owner: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        features = self.trunk(crops.contiguous(memory_format=torch.channels_last)).float()
        return self.judge(self.dropout(features), owner, levels)

    def beside(self, crops: torch.Tensor, others: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        """Crops (B, 3, H, W) of one disc, each time beside the same features (N, D) of its spine's others → (B, 8)."""
        own = self.trunk(crops.contiguous(memory_format=torch.channels_last)).float()
        means = (own + others.sum(0)) / (1 + len(others))
        return self.own(own) + self.spine(means) + self.level(level)

    def judge(self, features: torch.Tensor, owner: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        """Pooled features (N, D) → logits (N, 8)."""
        spines = int(owner.max()) + 1
        counts = torch.bincount(owner, minlength=spines)[:, None]
        means = features.new_zeros(spines, features.shape[1]).index_add(0, owner, features) / counts
        return self.own(features) + self.spine(means)[owner] + self.level(levels)


class DiscNet(nn.Module, PyTorchModelHubMixin):
    """crops (N, 3, H, W), owner (N,) which spine each belongs to, levels (N,) index in LEVELS → logits (N, 8).

    Logits: Pfirrmann grades 1 to 5 (softmax), then narrowing, bulging and herniation (sigmoid each); the mean over
    `members` graders that differ in their random start.
    """

    def __init__(self, trunk: str, trunk_args: Mapping[str, Any] | None = None, members: int = 1):
        super().__init__()
        self.shape = {"trunk": trunk, "trunk_args": dict(trunk_args or {}), "members": members}
        self.members = nn.ModuleList(Grader(trunk, self.shape["trunk_args"]) for _ in range(members))

    def each(self, crops: torch.Tensor, owner: torch.Tensor, levels: torch.Tensor) -> list[torch.Tensor]:
        """Logits of each member."""
        return [member(crops, owner, levels) for member in self.members]

    def forward(self, crops: torch.Tensor, owner: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
        return torch.stack(self.each(crops, owner, levels)).mean(0)

    def of(self, members: Iterable[Grader]) -> DiscNet:
        """A network of these members, of the same kind as its own, which stay theirs as well."""
        network = DiscNet(self.shape["trunk"], self.shape["trunk_args"], 0)
        network.members.extend(members)
        network.shape["members"] = len(network.members)
        return network

    def features(self, crops: torch.Tensor) -> list[torch.Tensor]:
        """(N, 3, H, W) → pooled features (N, D) of each member."""
        crops = crops.contiguous(memory_format=torch.channels_last)
        return [member.trunk(crops).float() for member in self.members]

    def beside(self, crops: torch.Tensor, others: Sequence[torch.Tensor], level: torch.Tensor) -> torch.Tensor:
        """Logits (B, 8) of one disc's crops, the features of its spine's other discs given; see `Grader.beside`."""
        answers = [m.beside(crops, rest, level) for m, rest in zip(self.members, others, strict=True)]
        return torch.stack(answers).mean(0)


def read_discnet(shape: Mapping[str, Any], path: Path) -> DiscNet:
    """A network of this shape with the weights of a file, ready to serve."""
    network = DiscNet(shape["trunk"], shape["trunk_args"], shape["members"])
    network.load_state_dict(load_file(path))
    return network.eval().requires_grad_(False)
