"""Labelled volumes → a trained FoldedUNet: balanced patches, averaged weights, early stopping, resume, kept curves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from monai.losses import DiceCELoss
from transformers import EarlyStoppingCallback, set_seed

from mri_models.errors import RecipeError
from mri_models.training.average import Averaged, Follow, SkipBroken
from mri_models.training.corpus import read_corpus
from mri_models.training.course import RECIPE, begin, best_weights, by_steps, keep
from mri_models.training.fit import BalancedTrainer
from mri_models.training.patches import Patches, Whole, on_grid
from mri_models.training.recipe import read_values, strict
from mri_models.training.segment import mean_dice, overlap
from mri_models.training.volumes import read_volumes
from mri_models.unet3d import FoldedUNet, read_unet3d

KIND = "segmentation3d"


@dataclass(frozen=True, slots=True)
class Segment3dRecipe:
    """How one volume network is trained; see the comments in recipes/segment_spine3d.toml for the reasons."""

    kind: str
    name: str  # folder below weights/
    body_part: str  # of volumes.csv
    labels: list[str]  # 1, 2, ... of the label files
    spacing: list[float]  # mm: right to left, head to foot, front to back
    patch: list[int]  # voxels that training sees at once
    serve_patch: list[int]
    serve_overlap: float
    fold: list[int]
    kernels: list[list[int]]
    strides: list[list[int]]
    widths: list[int]
    patches: int  # seen in all
    slicer: str = ""  # a network below weights/ for sagittal slices, whose answers join; "": none
    batch: int = 2
    lr: float = 2e-3  # peak; AdamW, cosine
    weight_decay: float = 0.02
    warmup: float = 0.05  # share of all steps
    average: float = 0.99  # memory of the averaged weights, which are what is kept
    evaluations: int = 10
    patience: int = 5  # validations without progress before it ends
    seed: int = 0

    @property
    def shape(self) -> dict[str, object]:
        """What FoldedUNet is built from."""
        return {key: getattr(self, key) for key in ("labels", "fold", "kernels", "strides", "widths")}


def load_segment3d_recipe(name_or_path: str, changes: Iterable[str] = ()) -> Segment3dRecipe:
    """Read recipes/NAME.toml or a path, then apply "key=value" changes.

    Raises RecipeError for patches that the network can't halve as often as it does.
    """
    path, values = read_values(name_or_path, changes)
    recipe = strict(Segment3dRecipe, path, values)
    steps = FoldedUNet(**recipe.shape).multiple
    for key in ("patch", "serve_patch"):
        if any(side % step for side, step in zip(getattr(recipe, key), steps, strict=True)):
            raise RecipeError("bad_patch", f"{path.name}: {key} must be multiples of {steps}.")
    return recipe


class Lesson(Averaged):
    """pixel_values (B, 1, D, H, W), labels (B, D, H, W) → {"loss"}; in evaluation also "dice" (B, labels), of the
    averaged weights."""

    def __init__(self, recipe: Segment3dRecipe):
        super().__init__(FoldedUNet(**recipe.shape))
        self.criterion = DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        network = self.network if self.training else self.average
        logits = network(pixel_values).float()
        output = {"loss": self.criterion(logits, labels[:, None])}
        if not self.training:
            output["dice"] = overlap(logits.argmax(1), labels, logits.shape[1] - 1)
        return output


def train(recipe: Segment3dRecipe, data: Path, runs: Path, *, resume: bool = True) -> FoldedUNet:
    """Train one recipe on DATA; a killed run resumes from its last checkpoint, a finished one stays.

    Writes recipe.json, best.safetensors and history.json into RUNS/NAME.
    """
    set_seed(recipe.seed)
    samples = read_corpus(data)
    run = begin(recipe, samples, runs, resume=resume)
    if run.done:
        return load_network3d(recipe, runs)
    count, spacing = len(recipe.labels), tuple(recipe.spacing)
    volumes = [v for v in read_volumes(data, recipe.body_part) if v.split in ("train", "val")]
    seen, unseen = ([on_grid(v, spacing, count) for v in volumes if v.split == split] for split in ("train", "val"))
    lesson = Lesson(recipe).to(memory_format=torch.channels_last_3d)
    trainer = BalancedTrainer(
        model=lesson,
        args=by_steps(
            recipe,
            run.folder,
            recipe.patches,
            metric="dice",
            greater_is_better=True,
            per_device_eval_batch_size=1,
            ignore_data_skip=True,  # patches are random anyway; redoing those before the checkpoint takes minutes
        ),
        train_dataset=Patches(seen, tuple(recipe.patch)),
        eval_dataset=Whole(unseen, lesson.network.multiple),
        compute_metrics=mean_dice,
        callbacks=[Follow(recipe.average), SkipBroken(), EarlyStoppingCallback(recipe.patience)],
        draws=np.full(len(seen), 1 / len(seen)),
        count=recipe.patches,
    )
    trainer.train(resume_from_checkpoint=run.checkpoint)
    keep(lesson.average, run.folder, samples, {"log": trainer.state.log_history})
    return lesson.average.eval()


def load_network3d(recipe: Segment3dRecipe, runs: Path) -> FoldedUNet:
    """The best network of a finished run.

    Raises RecipeError when there is none.
    """
    path = best_weights(runs, recipe.name)
    trained = Segment3dRecipe(**json.loads((path.parent / RECIPE).read_text()))
    return read_unet3d(FoldedUNet(**trained.shape).shape, path)
