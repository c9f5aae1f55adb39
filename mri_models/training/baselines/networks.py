"""The networks among the baselines: a plain CNN, timm's architectures, and the upper part of EfficientNet-Lite."""

from __future__ import annotations

import timm
import torch
from torch import nn

from mri_models.errors import RecipeError
from mri_models.training.baselines.cases import CLASSES
from mri_models.training.baselines.frozen import lite
from mri_models.training.baselines.recipe import Network

PLAIN = (24, 48, 96, 160)  # channels of the plain CNN's blocks
STARTS = {"lite1": 1, "lite2": 2}


class PlainCnn(nn.Module):
    """(B, 3, S, S) -> (B, C): blocks of Conv + BatchNorm + ReLU + MaxPool, then dense layers with dropout."""

    def __init__(self, classes: int, dropout: float = 0.4):
        super().__init__()
        layers: list[nn.Module] = []
        before = 3
        for width in PLAIN:
            layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            layers.append(nn.MaxPool2d(2))
            before = width
        self.blocks = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(3)  # a coarse sense of place survives
        self.dense = nn.Sequential(
            nn.Flatten(),
            nn.Linear(9 * before, 128),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(128, classes),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.dense(self.pool(self.blocks(x)))


class UpperLite(nn.Module):
    """(B, C, s, s) behind the frozen stages -> (B, classes); batch statistics stay ImageNet's, weights move."""

    def __init__(self, number: int, frozen: int, classes: int, dropout: float = 0.3):
        super().__init__()
        trunk = lite(number)
        self.stages = nn.Sequential(*trunk.blocks[frozen:], trunk.conv_head, trunk.bn2).requires_grad_(True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(2 * trunk.num_features, classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def train(self, mode: bool = True) -> UpperLite:
        """Training mode for dropout only: a batch of 32 would give worse statistics than ImageNet's."""
        super().train(mode)
        self.stages.eval()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.stages(x)
        return self.head(self.dropout(torch.cat([found.mean((2, 3)), found.amax((2, 3))], 1)))


def build(recipe: Network) -> nn.Module:
    """The network of a recipe, channels_last. Raises RecipeError for a start that there is not."""
    torch.manual_seed(recipe.seed)
    if recipe.start in STARTS:
        network = UpperLite(STARTS[recipe.start], recipe.frozen, len(CLASSES))
    elif recipe.start != "scratch":
        raise RecipeError("bad_start", f'start must be "scratch", "lite1" or "lite2", got {recipe.start!r}.')
    elif recipe.network == "plain":
        network = PlainCnn(len(CLASSES))
    else:
        network = timm.create_model(recipe.network, pretrained=False, num_classes=len(CLASSES), **recipe.network_args)
    return network.to(memory_format=torch.channels_last)
