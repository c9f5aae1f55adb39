"""Outlined images → a trained ResUNet: balanced draws, early stopping, best checkpoint, resume, kept curves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from monai.losses import DiceCELoss
from torch import nn
from transformers import EarlyStoppingCallback, EvalPrediction, set_seed

from mri_models.preprocess import InputSpec
from mri_models.training.average import Averaged, Follow, SkipBroken
from mri_models.training.corpus import read_corpus
from mri_models.training.course import begin, by_steps, keep, story, taught_by
from mri_models.training.fit import MEAN, STD, BalancedTrainer
from mri_models.training.outlines import SUBJECTS, Outlines, draw_shares
from mri_models.training.quick import quicken
from mri_models.training.segment_start import SegmentRecipe, blend, load_network, start_network
from mri_models.training.taught import taught
from mri_models.unet import ResUNet

KIND = "segmentation"


class Lesson(Averaged):
    """pixel_values (B, 3, S, S), labels (B, S, S) → {"loss"}; in evaluation also "dice" (B, labels), of the averaged
    weights.

    Loss: soft Dice over the batch (Milletari 2016) plus cross-entropy. Dice of an image: 1 where neither truth nor
    answer hold a pixel, so that an outline where there is nothing costs.
    """

    def __init__(self, recipe: SegmentRecipe, runs: Path, weights: Path):
        super().__init__(start_network(recipe, runs, weights))
        self.frozen = first_stages(self.network, recipe.frozen)
        for part in self.frozen:
            part.requires_grad_(False)
        self.criterion = DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)

    def train(self, mode: bool = True) -> Lesson:
        super().train(mode)
        for part in self.frozen:  # their statistics stay as well
            part.eval()
        return self

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        network = self.network if self.training else self.average
        logits = network(pixel_values).float()
        output = {"loss": self.criterion(logits, labels[:, None])}
        if not self.training:
            output["dice"] = overlap(logits.argmax(1), labels, logits.shape[1] - 1)
        return output


def overlap(answer: torch.Tensor, truth: torch.Tensor, count: int) -> torch.Tensor:
    """(B, H, W) classes → (B, count) Dice of classes 1 to count; 1 where both are empty."""
    found = []
    for label in range(1, 1 + count):
        a, b = (answer == label).flatten(1), (truth == label).flatten(1)
        both, sizes = (a & b).sum(1), a.sum(1) + b.sum(1)
        found.append(torch.where(sizes > 0, 2 * both / sizes.clamp(min=1), 1.0))
    return torch.stack(found, 1)


def first_stages(network: ResUNet, count: int) -> list[nn.Module]:
    """Stem and the first `count` stages of the encoder: generic at high resolution, so most of the time for nothing."""
    encoder = network.encoder
    return [encoder.conv_stem, encoder.bn1, *encoder.blocks[:count]] if count else []


def parameter_groups(lesson: Lesson, recipe: SegmentRecipe) -> list[dict[str, object]]:
    """The encoder learns more slowly than what starts from nothing."""
    encoder = [p for p in lesson.network.encoder.parameters() if p.requires_grad]
    rest = [*lesson.network.decoder.parameters(), *lesson.network.head.parameters()]
    return [{"params": encoder, "lr": recipe.lr * recipe.encoder_lr}, {"params": rest, "lr": recipe.lr}]


def mean_dice(prediction: EvalPrediction) -> dict[str, float]:
    """Mean Dice over images and labels, and of each label."""
    dice = np.asarray(prediction.predictions)
    return {"dice": float(dice.mean())} | {f"dice_{i}": float(column.mean()) for i, column in enumerate(dice.T, 1)}


def train(recipe: SegmentRecipe, data: Path, runs: Path, weights: Path, *, resume: bool = True) -> ResUNet:
    """Train one recipe on DATA; a killed run resumes from its last checkpoint, a finished one stays.

    Writes recipe.json, best.safetensors and history.json into RUNS/NAME.
    """
    set_seed(recipe.seed)
    samples = read_corpus(data)
    run = begin(recipe, samples, runs, resume=resume)
    if recipe.soup:
        network = blend(recipe.soup, runs)
        lessons = [known for name in recipe.soup if (known := story(runs, name).get("taught_by"))]
        most = max(lessons, key=lambda known: known["images"], default=None)
        keep(network, run.folder, samples, {"log": [], "soup": recipe.soup, "taught_by": most})
        return network.eval()
    if run.done:
        return load_network(recipe.name, runs)
    subject = SUBJECTS[recipe.subject]
    pictures = subject.read(data, recipe.longest)
    if recipe.teacher:
        pictures += taught(data, recipe.longest, load_network(recipe.teacher, runs), recipe.serve_size)
    seen, unseen = ([p for p in pictures if p.split == split] for split in ("train", "val"))
    spec = InputSpec(recipe.size, MEAN, STD)
    lesson = Lesson(recipe, runs, weights).to(memory_format=torch.channels_last)
    quicken(lesson.network, recipe.images // recipe.batch)
    groups = parameter_groups(lesson, recipe)
    optimizer = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay, fused=True)
    trainer = BalancedTrainer(
        model=lesson,
        args=by_steps(recipe, run.folder, recipe.images, metric="dice", greater_is_better=True),
        train_dataset=Outlines(seen, subject, spec, hard=recipe.hard, train=True, smallest=recipe.smallest),
        eval_dataset=Outlines(unseen, subject, spec, hard=recipe.hard, train=False),
        compute_metrics=mean_dice,
        callbacks=[Follow(recipe.average), SkipBroken(), EarlyStoppingCallback(recipe.patience)],
        optimizers=(optimizer, None),
        draws=draw_shares(seen, recipe.shares or subject.shares),
        count=recipe.images,
    )
    trainer.train(resume_from_checkpoint=run.checkpoint)
    keep(lesson.average, run.folder, samples, {"log": trainer.state.log_history, "taught_by": taught_by(seen)})
    return lesson.average.eval()
