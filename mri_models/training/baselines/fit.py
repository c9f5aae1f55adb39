"""Gradient descent within a budget: balanced draws, validation inside the training folds, the best weights kept."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.metrics import balanced_accuracy_score
from torch import nn

from mri_models.training.baselines.clock import Clock
from mri_models.training.baselines.frozen import restore, to_input
from mri_models.training.baselines.pictures import shrunk, varied
from mri_models.training.baselines.recipe import Network

WARMUP = 0.05  # share of the budget in which the rate rises
PATIENCE = 2  # validations without improvement before "plateau" halves the rate
CLIP = 5.0  # largest norm of a gradient


class Feed(Protocol):
    """Where a network's inputs come from, by image index."""

    def drawn(self, indices: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        """Varied inputs for training, (B, ...)."""

    def plain(self, indices: np.ndarray) -> list[torch.Tensor]:
        """The inputs that an image is judged by, one tensor (B, ...) a view; scores are averaged."""


@dataclass(frozen=True, slots=True, eq=False)
class PixelFeed:
    """Canvases (N, 256, 256) uint8, varied anew each time."""

    pictures: np.ndarray
    size: int

    def drawn(self, indices: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        return to_input(np.stack([varied(self.pictures[i], self.size, rng) for i in indices]))

    def plain(self, indices: np.ndarray) -> list[torch.Tensor]:
        return [to_input(np.stack([shrunk(self.pictures[i], self.size) for i in indices]))]


@dataclass(frozen=True, slots=True, eq=False)
class ActivationFeed:
    """Kept activations (N, V, s, s, C): training draws any view, judging averages the image and its mirror."""

    kept: np.ndarray

    def drawn(self, indices: np.ndarray, rng: np.random.Generator) -> torch.Tensor:
        views = rng.integers(self.kept.shape[1], size=len(indices))
        return restore(self.kept[i, view] for i, view in zip(indices, views, strict=True))

    def plain(self, indices: np.ndarray) -> list[torch.Tensor]:
        return [restore(self.kept[i, view] for i in indices) for view in (0, 1)]


def scores(network: nn.Module, feed: Feed, indices: np.ndarray, *, bf16: bool = False) -> np.ndarray:
    """(len(indices), C) class scores, rows sum to 1."""
    network.eval()
    found = []
    with torch.inference_mode():
        for chunk in _chunks(indices, 64):
            answers = [_logits(network, view, bf16).softmax(1) for view in feed.plain(chunk)]
            found.append(torch.stack(answers).mean(0))
    return torch.cat(found).double().numpy()


def fit(
    recipe: Network, network: nn.Module, feed: Feed, labels: np.ndarray, weights: np.ndarray, parts: list[np.ndarray]
) -> dict[str, object]:
    """Train in place; `parts` are the indices to train on and, where the recipe validates, those to validate on.

    labels (N,), weights (N,) how often an image is drawn. Returns the story: images seen and each validation.
    """
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    optimiser = _optimiser(recipe, network)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, mode="min", factor=0.5, patience=PATIENCE)
    share = weights[parts[0]] / weights[parts[0]].sum()
    clock, seen, best, log = Clock(), 0, math.inf, []
    kept = copy.deepcopy(network.state_dict())
    while (used := _used(recipe, clock, seen)) < 1:
        if recipe.schedule == "cosine":
            _set_rate(optimiser, recipe.lr * _cosine(used))
        chosen = rng.choice(parts[0], recipe.batch, p=share)
        network.train()
        logits = _logits(network, feed.drawn(chosen, rng), recipe.bf16)
        loss = F.cross_entropy(logits, torch.from_numpy(labels[chosen]), label_smoothing=recipe.smoothing)
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), CLIP)
        optimiser.step()
        seen += recipe.batch
        last = _used(recipe, clock, seen) >= 1
        if recipe.validated and (last or seen % recipe.every < recipe.batch):
            entry = {"images": seen, **validate(recipe, network, feed, labels, parts[1])}
            log.append(entry)
            if recipe.schedule == "plateau":
                plateau.step(entry["loss"])
            if entry["loss"] < best:
                best, kept = entry["loss"], copy.deepcopy(network.state_dict())
    if recipe.validated:
        network.load_state_dict(kept)
    return {"images_seen": seen, "validations": log}


def validate(recipe: Network, network: nn.Module, feed: Feed, labels: np.ndarray, held: np.ndarray) -> dict[str, float]:
    """Class-balanced log loss and balanced accuracy on held-out training patients."""
    found, truth = scores(network, feed, held, bf16=recipe.bf16), labels[held]
    losses = -np.log(np.clip(found[np.arange(len(truth)), truth], 1e-6, 1))
    loss = np.mean([losses[truth == label].mean() for label in np.unique(truth)])
    accuracy = balanced_accuracy_score(truth, found.argmax(1))
    return {"loss": round(float(loss), 4), "balanced_accuracy": round(float(accuracy), 4)}


def _logits(network: nn.Module, inputs: torch.Tensor, bf16: bool) -> torch.Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        return network(inputs if bf16 else inputs.float()).float()


def _optimiser(recipe: Network, network: nn.Module) -> torch.optim.Optimizer:
    if recipe.weight_decay:
        return torch.optim.AdamW(network.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    return torch.optim.Adam(network.parameters(), recipe.lr)


def _used(recipe: Network, clock: Clock, seen: int) -> float:
    """Share of the budget that is used up: of the CPU minutes or of the images, whichever is further."""
    by_time = clock.cpu_minutes / recipe.minutes if recipe.minutes else 0.0
    return max(by_time, seen / recipe.images if recipe.images else 0.0)


def _cosine(used: float) -> float:
    return used / WARMUP if used < WARMUP else (1 + math.cos(math.pi * (used - WARMUP) / (1 - WARMUP))) / 2


def _set_rate(optimiser: torch.optim.Optimizer, rate: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = max(rate, 1e-8)


def _chunks(indices: np.ndarray, size: int) -> Iterator[np.ndarray]:
    for start in range(0, len(indices), size):
        yield indices[start : start + size]
