"""Normal brains → a trained autoencoder: early stopping, best checkpoint, reduce-on-plateau, resume, kept curves."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import EarlyStoppingCallback, EvalPrediction, TrainingArguments, set_seed

from mri_models.autoencoder import Autoencoder, read_autoencoder, similarity
from mri_models.training.brains import SPLITS, Brains, normal_brains
from mri_models.training.corpus import draw_weights, read_corpus
from mri_models.training.course import BEST, RECIPE, begin, best_weights, keep, run_folder, story
from mri_models.training.fit import BalancedTrainer
from mri_models.training.recipe import read_values, strict

KIND = "autoencoder"
PLAIN = 4  # every fourth training image is looked at without augmentation after each epoch


@dataclass(frozen=True, slots=True)
class AnomalyRecipe:
    """How one autoencoder is trained; see the comments in recipes/anomaly*.toml for the reasons."""

    kind: str
    name: str  # run folder
    size: int = 128
    channels: list[int] = field(default_factory=lambda: [8, 16, 32, 64])
    latent: int = 16
    epochs: int = 100
    batch: int = 16
    lr: float = 1e-3  # Adam; halved on a plateau
    plateau: int = 4  # epochs
    patience: int = 12  # epochs
    structure: float = 0.3  # share of 1 - SSIM in the loss; the rest is the absolute error
    noise: float = 0.0  # of the denoising variant
    noise_cells: int = 16
    rival: str = ""  # another of these runs; whichever serves validation patients better is exported
    encoder: str = "brain"  # recipe of the classifier whose features the score uses
    levels: list[int] = field(default_factory=lambda: [2, 3])  # its feature maps that make the patches
    tumour_size: int = 192  # px; input of the network that outlines tumours: with its pass a score takes 80 ms at most
    seed: int = 0

    @property
    def shape(self) -> dict[str, Any]:
        """What `Autoencoder` is built from."""
        return {"size": self.size, "channels": self.channels, "latent": self.latent}


def load_anomaly_recipe(name_or_path: str, changes: Iterable[str] = ()) -> AnomalyRecipe:
    """Read recipes/NAME.toml or a path, then apply "key=value" changes."""
    return strict(AnomalyRecipe, *read_values(name_or_path, changes))


class Lesson(nn.Module):
    """An autoencoder with its loss: images (B, 1, S, S) → {"loss", "errors" (B,)}; only training corrupts its input."""

    def __init__(self, recipe: AnomalyRecipe):
        super().__init__()
        self.recipe = recipe
        self.network = Autoencoder(**recipe.shape)

    def forward(self, images: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        drawn = self.network(self.corrupted(images) if self.training else images)
        absolute = (drawn - images).abs().mean((1, 2, 3))
        unlike = 1 - similarity(images, drawn).mean((1, 2, 3))
        errors = (1 - self.recipe.structure) * absolute + self.recipe.structure * unlike
        return {"loss": errors.mean(), "errors": errors.detach()}

    def corrupted(self, images: torch.Tensor) -> torch.Tensor:
        """Coarse Gaussian noise inside the head (Kascenas 2022); the image itself where the recipe asks for none."""
        if not self.recipe.noise:
            return images
        cells = self.recipe.noise_cells
        coarse = torch.randn(len(images), 1, cells, cells, device=images.device) * self.recipe.noise
        grain = nn.functional.interpolate(coarse, images.shape[2:], mode="bilinear", align_corners=False)
        return (images + grain * (images > 0.05)).clamp(0, 1)


def split_errors(prediction: EvalPrediction) -> dict[str, float]:
    """Mean error of each split over the sources that both have, each counting once: their shares differ."""
    errors, (split, source) = prediction.predictions, prediction.label_ids.T
    shared = set(source[split == 0]) & set(source[split == 1])

    def error(index: int) -> float:
        return float(np.mean([errors[(split == index) & (source == i)].mean() for i in shared]))

    return {f"{name}_error": error(index) for index, name in enumerate(SPLITS)}


def arguments(recipe: AnomalyRecipe, folder: Path) -> TrainingArguments:
    return TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch,
        per_device_eval_batch_size=32,
        optim="adamw_torch",
        learning_rate=recipe.lr,
        lr_scheduler_type="reduce_lr_on_plateau",
        lr_scheduler_kwargs={"mode": "min", "factor": 0.5, "patience": recipe.plateau},
        use_cpu=not torch.cuda.is_available(),
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="eval_val_error",
        greater_is_better=False,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to=[],
        seed=recipe.seed,
    )


def train(recipe: AnomalyRecipe, data: Path, runs: Path, *, resume: bool = True) -> Autoencoder:
    """Train on the normal brains of split train; a killed run resumes from its last checkpoint, a finished one stays.

    Writes recipe.json, best.safetensors and history.json (by epoch: loss, and the error on plain images of both
    splits; split hash) into RUNS/NAME.
    """
    set_seed(recipe.seed)
    samples = read_corpus(data)
    run = begin(recipe, samples, runs, resume=resume)
    if run.done:
        return load_autoencoder(runs, recipe.name)
    seen, unseen = normal_brains(samples, "train"), normal_brains(samples, "val")
    lesson = Lesson(recipe)
    trainer = BalancedTrainer(
        model=lesson,
        args=arguments(recipe, run.folder),
        train_dataset=Brains(seen, recipe.size, vary=True),
        eval_dataset=Brains([*seen[::PLAIN], *unseen], recipe.size, vary=False),
        compute_metrics=split_errors,
        callbacks=[EarlyStoppingCallback(recipe.patience)],
        draws=draw_weights(seen, {"brain": 1.0}),
        count=len(seen),
    )
    trainer.train(resume_from_checkpoint=run.checkpoint)
    keep(lesson.network, run.folder, samples, {"log": trainer.state.log_history})
    return lesson.network.eval()


def finished(runs: Path, name: str) -> bool:
    """Whether the run of this name has come to its end."""
    return (run_folder(runs, name) / BEST).is_file()


def load_autoencoder(runs: Path, name: str) -> Autoencoder:
    """The best network of a finished run.

    Raises RecipeError when there is none.
    """
    path = best_weights(runs, name)
    recipe = AnomalyRecipe(**json.loads((path.parent / RECIPE).read_text()))
    return read_autoencoder(recipe.shape, path)


@dataclass(frozen=True, slots=True)
class Curve:
    """What a run's history says, by epoch: the loss while learning, and the errors on plain images of both splits.

    kept: index of the epoch whose weights are exported, the one of least validation error.
    """

    loss: tuple[float, ...]
    train_error: tuple[float, ...]
    val_error: tuple[float, ...]
    kept: int

    @property
    def fall(self) -> float:
        """Loss of the kept epoch as a share of the first epoch's."""
        return self.loss[self.kept] / self.loss[0]

    @property
    def gap(self) -> float:
        """How much larger the validation error is than the training error, as a share of the latter."""
        return self.val_error[self.kept] / self.train_error[self.kept] - 1


def read_curve(runs: Path, name: str) -> Curve:
    """The curve of a finished run."""
    log = story(runs, name)["log"]
    loss, seen, unseen = (
        tuple(round(entry[key], 5) for entry in log if key in entry)
        for key in ("loss", "eval_train_error", "eval_val_error")
    )
    return Curve(loss, seen, unseen, int(np.argmin(unseen)))
