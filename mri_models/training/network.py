"""A timm trunk with one linear head a task; what is trained here is exported without its helpers."""

from __future__ import annotations

from collections.abc import Mapping

import timm
import torch
import torch.nn.functional as F
from torch import nn

from mri_models.training.corpus import IGNORE, PFIRRMANN, TASKS
from mri_models.training.recipe import Recipe

TEMPERATURE = 2.0  # of distillation (Hinton 2015)


class MultiTask(nn.Module):
    """pixel_values (B, 3, S, S), labels (B, T) class indices or IGNORE, lesion (B, 1, g, g) in [0, 1] or < 0 = unknown,
    possible (B, 5) the brain labels that may be true of images without a label (zeros: unknown),
    discs (B, g, g) the Pfirrmann grade of a disc in each cell, 0 for none, or IGNORE.

    Returns {"loss", "logits"}: logits (B, sum of classes) are the tasks' outputs side by side, in recipe order.
    """

    def __init__(self, recipe: Recipe, teacher: MultiTask | None = None):
        super().__init__()
        self.recipe = recipe
        self.trunk = timm.create_model(
            recipe.network, pretrained=False, num_classes=0, global_pool="", **recipe.network_args
        )
        width = self.trunk.num_features
        self.dropout = nn.Dropout(0.2)
        self.heads = nn.ModuleDict({task: nn.Linear(width, len(TASKS[task])) for task in recipe.tasks})
        self.lesion_head = nn.Conv2d(width, 1, 1)
        if recipe.disc_weight:
            self.disc_head = nn.Conv2d(width, 1 + PFIRRMANN, 1)
        self._teacher = [teacher.eval().requires_grad_(False)] if teacher else []  # a list: not a submodule
        if teacher:
            self.imitate = nn.Linear(width, teacher.trunk.num_features)

    def encode(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, S, S) → feature map (B, D, S/32, S/32) and its mean (B, D)."""
        features = self.trunk(pixel_values.contiguous(memory_format=torch.channels_last))
        return features, features.mean((2, 3))

    def task_logits(self, pooled: torch.Tensor) -> dict[str, torch.Tensor]:
        return {task: head(pooled) for task, head in self.heads.items()}

    def forward(
        self,
        pixel_values: torch.Tensor,
        labels: torch.Tensor | None = None,
        lesion: torch.Tensor | None = None,
        possible: torch.Tensor | None = None,
        discs: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        features, pooled = self.encode(pixel_values)
        logits = self.task_logits(self.dropout(pooled))
        output = {"logits": torch.cat(list(logits.values()), 1).float()}
        if labels is not None:
            output["loss"] = self.loss(logits, labels, features, lesion)
            if discs is not None and self.recipe.disc_weight:
                output["loss"] = output["loss"] + self.recipe.disc_weight * grade_loss(self.disc_head(features), discs)
            if possible is not None and "brain" in logits:
                output["loss"] = output["loss"] + partial_loss(logits["brain"], possible)
            if self._teacher and self.training:
                output["loss"] = output["loss"] + self.imitation(pixel_values, pooled, logits)
        return output

    def loss(
        self, logits: Mapping[str, torch.Tensor], labels: torch.Tensor, features: torch.Tensor, lesion: torch.Tensor
    ) -> torch.Tensor:
        total = features.new_zeros((), dtype=torch.float32)
        for column, task in enumerate(self.recipe.tasks):
            target = labels[:, column]
            if (known := target != IGNORE).any():
                smoothing = self.recipe.smoothing if self.training else 0.0
                loss = F.cross_entropy(logits[task][known].float(), target[known], label_smoothing=smoothing)
                total = total + loss * known.float().mean()
        if lesion is not None and (known := lesion >= 0).any():
            outline = self.lesion_head(features).float()
            bce = F.binary_cross_entropy_with_logits(outline, lesion.clamp(min=0), reduction="none")
            total = total + self.recipe.mask_weight * (bce * known).sum() / known.sum() * known.float().mean()
            if self.recipe.evidence_weight and "brain" in self.heads:
                tumour = labels[:, self.recipe.tasks.index("brain")]
                loss = evidence_loss(features, self.heads["brain"].weight, tumour, lesion)
                total = total + self.recipe.evidence_weight * loss
        return total

    def imitation(
        self, pixel_values: torch.Tensor, pooled: torch.Tensor, logits: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Distance to the teacher's pooled features (cosine) and class scores (softened KL)."""
        teacher = self._teacher[0]
        with torch.no_grad():
            _, wanted = teacher.encode(pixel_values)
            answers = teacher.task_logits(wanted)
        loss = 1 - F.cosine_similarity(self.imitate(pooled).float(), wanted.float()).mean()
        for task in logits.keys() & answers.keys():
            student = F.log_softmax(logits[task].float() / TEMPERATURE, 1)
            loss = loss + F.kl_div(student, F.softmax(answers[task].float() / TEMPERATURE, 1), reduction="batchmean")
        return loss


def partial_loss(logits: torch.Tensor, possible: torch.Tensor) -> torch.Tensor:
    """Minus log of the score given to the possible labels together (partial-label learning, Jin & Ghahramani 2002).

    logits (B, C), possible (B, C) of 0 and 1; rows of zeros count nothing.
    """
    known = possible.sum(1) > 0
    scores = F.log_softmax(logits.float(), 1).masked_fill(possible == 0, -torch.inf)
    return -torch.logsumexp(scores[known], 1).sum() / len(logits)


def evidence_loss(
    features: torch.Tensor, weights: torch.Tensor, labels: torch.Tensor, lesion: torch.Tensor
) -> torch.Tensor:
    """Minus log of the share of a class activation map (Zhou 2016) that lies in the outlined cells, batch mean.

    The network is to be right for the right reason (Ross 2017). features (B, D, g, g), weights (C, D) of the linear
    head, labels (B,), lesion (B, 1, g, g) share of outline in each cell; images without an outline count nothing.
    """
    inside = lesion[:, 0] > 0
    shown = (labels != IGNORE) & inside.any((1, 2))
    if not shown.any():
        return features.new_zeros((), dtype=torch.float32)
    maps = torch.einsum("bdhw,bd->bhw", features[shown].float(), weights[labels[shown]].float())
    evidence = F.softplus(maps)  # what Grad-CAM draws, with a gradient where it is negative
    share = (evidence * inside[shown]).sum((1, 2)) / evidence.sum((1, 2))
    return -share.clamp(min=1e-6).log().sum() / len(labels)


def grade_loss(logits: torch.Tensor, grades: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each cell's disc grade, cells with a disc and cells without one weighing alike.

    logits (B, 6, g, g); grades (B, g, g) 0 to 5, or IGNORE.
    """
    losses = F.cross_entropy(logits.float(), grades, ignore_index=IGNORE, reduction="none")
    parts = [losses[chosen].mean() for chosen in (grades > 0, grades == 0) if chosen.any()]
    return sum(parts, logits.new_zeros((), dtype=torch.float32))
