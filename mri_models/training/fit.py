"""Recipe → trained network: `transformers.Trainer` with balanced draws, early stopping, resume and kept curves."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from scipy.special import log_softmax
from sklearn.metrics import recall_score
from torch.utils.data import WeightedRandomSampler
from transformers import EarlyStoppingCallback, EvalPrediction, Trainer, set_seed

from mri_models.errors import RecipeError
from mri_models.evaluation.calibration import fit_temperature
from mri_models.preprocess import InputSpec
from mri_models.training.corpus import IGNORE, TASKS, Sample, draw_weights, read_corpus, trainable
from mri_models.training.course import RECIPE, begin, best_weights, by_steps, keep
from mri_models.training.data import Images
from mri_models.training.network import MultiTask
from mri_models.training.quick import quicken
from mri_models.training.recipe import Recipe
from mri_models.training.starts import grown

MEAN = STD = (0.5, 0.5, 0.5)  # what the EfficientNet-Lite starts were trained with
VALIDATION_IMAGES = 600  # per validation during the run; calibration uses all of them afterwards


def load_run(runs: Path, name: str) -> MultiTask:
    """The best network of a finished run, by recipe name."""
    path = best_weights(runs, name)
    recipe = Recipe(**json.loads((path.parent / RECIPE).read_text()))
    network = MultiTask(recipe)
    state = load_file(path)
    network.load_state_dict({key: value for key, value in state.items() if not key.startswith("imitate.")})
    return network.eval()


def start_network(recipe: Recipe, runs: Path) -> MultiTask:
    """A network with its recipe's start, teacher and noise."""
    network = MultiTask(recipe, load_run(runs, recipe.teacher) if recipe.teacher else None)
    if recipe.start == "grown":
        state = {f"trunk.{key}": value for key, value in grown(recipe.network).state_dict().items()}
    elif recipe.start.startswith("run:"):
        state = load_run(runs, recipe.start.removeprefix("run:")).state_dict()
    elif recipe.start == "scratch":
        return network
    else:
        raise RecipeError("bad_start", f'start must be "scratch", "grown" or "run:NAME", got {recipe.start!r}.')
    wanted = network.state_dict()
    network.load_state_dict(wanted | {key: value for key, value in state.items() if key in wanted})
    with torch.no_grad():
        for weight in network.trunk.parameters():
            if weight.ndim > 1:
                weight.add_(torch.randn_like(weight) * weight.std() * recipe.start_noise)
    return network


def blend(recipe: Recipe, runs: Path) -> MultiTask:
    """The average of `recipe.soup`'s runs, written as a run of its own (model soup, Wortsman 2022).

    A head that a run lacks is averaged over those that have it.
    """
    states = {name: load_run(runs, name).state_dict() for name in recipe.soup}
    network = MultiTask(recipe)
    mixed = {}
    for key, like in network.state_dict().items():
        parts = {name: state[key] for name, state in states.items() if key in state}
        whole = sum(recipe.soup[name] for name in parts)
        mixed[key] = sum(part.double() * (recipe.soup[name] / whole) for name, part in parts.items()).to(like.dtype)
    network.load_state_dict(mixed)
    return network


class BalancedTrainer(Trainer):
    """Draws training images by `draws` (N,) instead of once an epoch each."""

    def __init__(self, *args, draws: np.ndarray, count: int, **kwargs):
        super().__init__(*args, **kwargs)
        self._draws, self._count = draws, count

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        state_dict = state_dict or self.model.state_dict()
        packed = {key: value.contiguous() for key, value in state_dict.items()}  # safetensors takes no channels_last
        super()._save(output_dir, packed)

    def _get_train_sampler(self, *_args) -> WeightedRandomSampler:
        generator = torch.Generator().manual_seed(self.args.seed)
        return WeightedRandomSampler(torch.from_numpy(self._draws), self._count, generator=generator)


def head_metrics(recipe: Recipe, prediction: EvalPrediction) -> dict[str, float]:
    """Balanced accuracy and class-balanced log loss of each task on validation patients, and the log losses' mean
    weighted by the recipe's mix ("nll"), which chooses the checkpoint.

    The loss is taken after temperature scaling, as serving does: label smoothing alone would let an early, vague
    checkpoint win.
    """
    labels = prediction.label_ids
    metrics, column = {}, 0
    for i, task in enumerate(recipe.tasks):
        width = len(TASKS[task])
        logits = prediction.predictions[:, column : column + width]
        column += width
        known = labels[:, i] != IGNORE
        if not known.any():
            continue
        truth = labels[known, i]
        scores, metrics[f"{task}_nll"] = balanced_losses(logits[known], truth)
        metrics[f"{task}_balanced_accuracy"] = mean_recall(truth, scores.argmax(1))
    metrics["nll"] = sum(share * metrics.get(f"{task}_nll", 0.0) for task, share in recipe.mix.items())
    return metrics


def mean_recall(labels: np.ndarray, given: np.ndarray) -> float:
    """Balanced accuracy over the classes present; scikit-learn's warns of answers that are none of them."""
    return float(recall_score(labels, given, labels=np.unique(labels), average="macro"))


def balanced_losses(logits: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, float]:
    """(N, C) logits, (N,) class indices → (N, C) log scores after temperature scaling, and their log loss with every
    class counting alike."""
    raw = logits.astype(np.float64)
    scores = log_softmax(raw / fit_temperature(raw, truth, 1 / np.bincount(truth)[truth]), 1)
    losses = -scores[np.arange(len(truth)), truth]
    return scores, float(np.mean([losses[truth == c].mean() for c in np.unique(truth)]))


def validation_subset(samples: Sequence[Sample], recipe: Recipe) -> list[Sample]:
    """A fixed draw of validation images, balanced as the recipe's mix is; left-out sources choose no checkpoint."""
    known = [s for s in samples if s.split == "val" and s.source not in recipe.leave_out]
    chosen = [s for s in known if any(s.targets[task] != IGNORE for task in recipe.mix)]
    if len(chosen) <= VALIDATION_IMAGES:
        return chosen
    weights = draw_weights(chosen, recipe.mix)
    picks = np.random.default_rng(0).choice(len(chosen), VALIDATION_IMAGES, replace=False, p=weights)
    return [chosen[i] for i in sorted(picks)]


def train(recipe: Recipe, data: Path, runs: Path, *, resume: bool = True) -> MultiTask:
    """Train one recipe on DATA, or average its soup; a killed run resumes from its last checkpoint, a finished stays.

    Writes recipe.json, best.safetensors and history.json (loss, learning rate and validation metrics by step, split
    hash) into RUNS/NAME.
    """
    set_seed(recipe.seed)
    samples = read_corpus(data)
    run = begin(recipe, samples, runs, resume=resume)
    if recipe.soup:
        network = blend(recipe, runs)
        keep(network, run.folder, samples, {"soup": recipe.soup})
        return network.eval()
    if run.done:
        return load_run(runs, recipe.name)
    spec = InputSpec(recipe.size, MEAN, STD)
    candidates = [s for s in samples if trainable(s, recipe.leave_out)]
    shown = draw_weights(candidates, recipe.mix) > 0
    images = Images([s for s, seen in zip(candidates, shown, strict=True) if seen], recipe, spec, train=True)
    network = start_network(recipe, runs).to(memory_format=torch.channels_last)
    quicken(network.trunk, recipe.images // recipe.batch)
    if network._teacher:
        network._teacher[0].to("cuda" if torch.cuda.is_available() else "cpu", memory_format=torch.channels_last)
    best = recipe.keep == "best"
    arguments = by_steps(
        recipe,
        run.folder,
        recipe.images,
        metric="nll",
        greater_is_better=False,
        lr_scheduler_type=recipe.schedule,
        load_best_model_at_end=best,
    )
    trainer = BalancedTrainer(
        model=network,
        args=arguments,
        train_dataset=images,
        eval_dataset=Images(validation_subset(samples, recipe), recipe, spec, train=False),
        compute_metrics=lambda prediction: head_metrics(recipe, prediction),
        callbacks=[EarlyStoppingCallback(recipe.patience)] if best else [],
        draws=draw_weights(images.samples, recipe.mix, recipe.favoured),  # healed slices: like one more source
        count=recipe.images,
    )
    trainer.train(resume_from_checkpoint=run.checkpoint)
    keep(network, run.folder, samples, {"log": trainer.state.log_history})
    return network.eval()
