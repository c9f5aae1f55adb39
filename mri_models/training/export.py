"""A finished run → a calibrated folder below weights/ that `AutoModelForImageClassification` loads.

Everything is chosen on validation patients, with the half-precision weights that will be served:
temperature, out-of-distribution statistics, the least accepted confidence of each label, the overlay's colour scale.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import save_file
from torch import nn
from transformers import TimmWrapperConfig, TimmWrapperForImageClassification

from mri_models.calibration import FLOOR, ORDINARY, Calibration, Strangeness
from mri_models.classify import CONFIG_VERSION, Classifier
from mri_models.evaluation.calibration import accept_threshold, fit_mahalanobis, fit_temperature
from mri_models.evaluation.collect import Outputs, collect, labelled, thin
from mri_models.explain import METHODS
from mri_models.hub import beside
from mri_models.ood import MahalanobisScore
from mri_models.preprocess import InputSpec
from mri_models.training.augment import augment
from mri_models.training.card import write_card
from mri_models.training.corpus import TASKS, Sample, draw_weights, read_corpus, split_hash, trainable
from mri_models.training.fit import MEAN, STD, load_run
from mri_models.training.network import MultiTask
from mri_models.training.recipe import Recipe
from mri_models.training.scale import attribution_scale

PERTURBED_IMAGES = 300  # validation images that are scored once more after augmentation
REFERENCE_IMAGES = 600  # training images whose features describe "familiar"
LEAST = 20  # effective validation images behind a threshold of a label's own


def export(recipe: Recipe, data: Path, runs: Path, weights: Path) -> Path:
    """Calibrate the run of `recipe` and write WEIGHTS/NAME; returns that folder."""
    folder = weights / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    samples = read_corpus(data)
    network = load_run(runs, recipe.run or recipe.name)
    classifier = rounded(network, recipe, folder)
    config = TimmWrapperConfig.from_pretrained(folder)
    mri = calibrate(classifier, recipe, samples)
    save_arrays(classifier.ood.to_arrays(), folder / "ood.safetensors")
    mri |= {
        "version": CONFIG_VERSION,
        "input_size": recipe.serve_size,
        "sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "beside": beside(folder),
        "split_hash": split_hash(samples),
        "seed": recipe.seed,
        "sources": sources_used(samples, network.recipe),
    }
    config.mri = mri
    config.save_pretrained(folder)
    write_card(folder, recipe, network.recipe)
    return folder


def rounded(network: MultiTask, recipe: Recipe, folder: Path) -> Classifier:
    """Write the weights as they are served, and read them back; it accepts everything still."""
    write_weights(network, recipe, folder)
    model = TimmWrapperForImageClassification.from_pretrained(folder, dtype=torch.float32)
    return uncalibrated(model.timm_model, recipe)


def write_weights(network: MultiTask, recipe: Recipe, folder: Path) -> None:
    """model.safetensors in half precision (norm statistics stay in single) and the config that rebuilds it."""
    config = wrapper(recipe.network, TASKS[recipe.head], recipe.serve_size, dict(recipe.network_args))
    model = TimmWrapperForImageClassification(config)
    fill(model.timm_model, network, recipe.head)
    state = model.timm_model.state_dict()
    halves = {
        f"timm_model.{key}": (value.half() if value.ndim > 1 else value).contiguous() for key, value in state.items()
    }
    save_file(halves, folder / "model.safetensors", metadata={"format": "pt"})
    config.save_pretrained(folder)


def wrapper(
    architecture: str, labels: Sequence[str], size: int, arguments: dict[str, object] | None = None
) -> TimmWrapperConfig:
    """The config from which `transformers` rebuilds a timm network that was trained here."""
    cfg = {"input_size": [3, size, size], "mean": list(MEAN), "std": list(STD)}
    return TimmWrapperConfig(
        architecture=architecture,
        architectures=["TimmWrapperForImageClassification"],
        dtype="float32",
        model_args=arguments or None,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        pretrained_cfg=cfg | {"interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": "border"},
    )


def fill(model: nn.Module, network: MultiTask, task: str) -> None:
    """Copy the trained trunk and the task's head into a timm network of the same architecture."""
    model.load_state_dict(network.trunk.state_dict(), strict=False)  # all but the classifier
    model.get_classifier().load_state_dict(network.heads[task].state_dict())


def uncalibrated(network: nn.Module, recipe: Recipe) -> Classifier:
    """A timm network as the recipe will serve it, accepting everything."""
    labels = TASKS[recipe.head]
    everything, scales = dict.fromkeys(labels, FLOOR), dict.fromkeys(METHODS, 1.0)
    open_door = Calibration(1.0, everything, 1.0, True, scales)
    network = network.eval().to(memory_format=torch.channels_last)
    spec = InputSpec(recipe.serve_size, MEAN, STD)
    return Classifier(network, labels, spec, open_door, unfitted(network.num_features), digest="")


def unfitted(width: int) -> MahalanobisScore:
    """A distance that calls everything familiar, until the real one is fitted."""
    one = np.ones((1, 1))
    far = np.full(2, np.inf)
    return MahalanobisScore(np.zeros(width), np.zeros((width, 1)), one, one, np.ones(()), far, np.array(False))


def calibrate(classifier: Classifier, recipe: Recipe, samples: Sequence[Sample]) -> dict[str, Any]:
    """Fit everything on validation patients, set it on `classifier`, and return it for the config."""
    validation = collect(classifier, labelled(samples, recipe.head, "val"), recipe.head)
    classifier.ood = familiarity(classifier, recipe, samples, validation)
    classifier.calibration = calibration(classifier, recipe, validation)
    scale = attribution_scale(classifier, validation.samples)
    classifier.calibration = found = replace(classifier.calibration, attribution_scale=scale)
    told = {"strangeness": asdict(found.strangeness)} if found.strangeness else {}
    return told | {
        "temperature": round(found.temperature, 4),
        "thresholds": {label: round(t, 4) for label, t in found.thresholds.items()},
        "threshold_rule": threshold_rule(recipe),
        "ood_threshold": recipe.ood_threshold,
        "flip": True,
        "attribution_scale": scale,
    }


def calibration(classifier: Classifier, recipe: Recipe, validation: Outputs) -> Calibration:
    """What distance adds, then the temperature, then the thresholds, from validation images whose `ood` is fitted."""
    balance = draw_weights(validation.samples, {recipe.head: 1.0})
    strange = replace(classifier.calibration, strangeness=strangeness(classifier, recipe, validation))
    informed = strange.informed(validation.logits, classifier.ood.score(validation.features), classifier.labels)
    judged = copy.copy(classifier)
    judged.calibration = replace(
        strange,
        temperature=fit_temperature(informed, validation.labels, balance),
        ood_threshold=recipe.ood_threshold,
    )
    return replace(judged.calibration, thresholds=label_thresholds(judged, validation, balance, recipe))


def strangeness(classifier: Classifier, recipe: Recipe, validation: Outputs) -> Strangeness | None:
    """What the recipe makes of distance, from where most validation images of the other labels have ended."""
    if not recipe.strange_label:
        return None
    ordinary = validation.labels != classifier.labels.index(recipe.strange_label)
    start = float(np.quantile(classifier.ood.score(validation.features[ordinary]), ORDINARY))
    return Strangeness(recipe.strange_label, round(start, 3), recipe.strange_slope)


def label_thresholds(
    classifier: Classifier, validation: Outputs, balance: np.ndarray, recipe: Recipe
) -> dict[str, float]:
    """The least accepted confidence: one for all labels, or one each where enough validation images got the label.

    Unfamiliar images are refused whatever their confidence, so they have no say.
    """
    answers = classifier.decide(validation.logits, validation.features)
    confidence = np.array([a.confidence for a in answers])
    predicted = np.array([classifier.labels.index(a.label) for a in answers])
    correct = predicted == validation.labels
    familiar = np.array([a.ood_score <= recipe.ood_threshold for a in answers])

    def threshold(chosen: np.ndarray) -> float:
        target = recipe.accept_accuracy
        return accept_threshold(confidence[chosen], correct[chosen], balance[chosen], target=target, least=LEAST)

    pooled = threshold(familiar)
    if not recipe.threshold_by_label:
        return dict.fromkeys(classifier.labels, pooled)
    given = [familiar & (predicted == i) & (confidence >= FLOOR) for i in range(len(classifier.labels))]
    return {
        label: threshold(chosen) if effective_number(balance[chosen]) >= LEAST else pooled
        for label, chosen in zip(classifier.labels, given, strict=True)
    }


def threshold_rule(recipe: Recipe) -> str:
    """The rule of `label_thresholds` in words, for the config and the card."""
    rule = f"least score >= {FLOOR} with accuracy >= {recipe.accept_accuracy} among accepted validation images"
    each = f", for each label given to at least {LEAST} of them" if recipe.threshold_by_label else ""
    return f"{rule}{each}; classes and sources balanced, unfamiliar images apart"


def effective_number(weights: np.ndarray) -> float:
    """How many equal images these weights are worth (Kish 1965)."""
    return float(weights.sum() ** 2 / max((weights**2).sum(), 1e-12))


def familiarity(
    classifier: Classifier, recipe: Recipe, samples: Sequence[Sample], validation: Outputs
) -> MahalanobisScore:
    """Gaussians around the training features of what the stage may accept, with distances of validation images.

    Many of those validation images are perturbed like training images are: scanners that nobody has sent yet
    lie farther out than the corpus' own, and must not all be refused.
    """
    task = recipe.head
    wanted = {TASKS[task].index(label) for label in recipe.familiar or TASKS[task]}
    known = [s for s in samples if trainable(s, recipe.leave_out) and s.targets[task] in wanted]
    weights = draw_weights(known, {task: 1.0})
    count = min(REFERENCE_IMAGES, len(known))
    picks = np.random.default_rng(recipe.seed).choice(len(known), count, replace=False, p=weights)
    reference = collect(classifier, [known[i] for i in picks], task)
    groups = reference.labels
    if recipe.familiar:  # one accepted label: its body parts are the clusters
        groups = np.unique([f"{s.body_part}" for s in reference.samples], return_inverse=True)[1]
    inside = thin([s for s in validation.samples if s.targets[task] in wanted], PERTURBED_IMAGES)
    plain = validation.features[np.isin(validation.labels, list(wanted))]
    shifted = collect(classifier, inside, task, perturb).features
    axes = min(64, count // 4)
    return fit_mahalanobis(reference.features, groups, np.concatenate([plain, shifted]), dims=axes)


def perturb(canvas: np.ndarray, index: int) -> np.ndarray:
    """The training augmentation, seeded by the image's index."""
    return augment(canvas, np.zeros(canvas.shape, np.uint8), canvas.shape[0], np.random.default_rng(index))[0]


def sources_used(samples: Sequence[Sample], recipe: Recipe) -> list[str]:
    """Every source that taught the network, its helper tasks included."""
    used = [s for s in samples if trainable(s, recipe.leave_out)]
    weights = draw_weights(used, recipe.mix)
    return sorted({s.source for s, weight in zip(used, weights, strict=True) if weight > 0})
