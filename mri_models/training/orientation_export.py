"""A finished orientation run → weights/orientation, its temperature and threshold chosen on validation patients."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.special import softmax
from tqdm.auto import tqdm

from mri_models.evaluation.calibration import fit_temperature
from mri_models.hub import WEIGHTS
from mri_models.orientation import ARCHITECTURE, CONFIG_VERSION, QUARTERS, Compass, together
from mri_models.preprocess import InputSpec
from mri_models.training.corpus import Sample, read_corpus, split_hash
from mri_models.training.course import as_served, curve, publish, story, taught_by
from mri_models.training.export import wrapper
from mri_models.training.fit import MEAN, STD
from mri_models.training.inspected import UPSIDE_DOWN
from mri_models.training.orientation import OrientationRecipe, four_ways, load_turner, standing
from mri_models.training.orientation_card import write_card

LABELS = ("upright", *(f"turned by {90 * quarters} degrees against the clock" for quarters in range(1, QUARTERS)))
RULE = (
    "the least probability at which at most {turned:.1%} of upright validation images would be turned, images counting "
    "alike, and sources counting alike"
)


def export(recipe: OrientationRecipe, data: Path, runs: Path, weights: Path) -> Path:
    """Calibrate the run of `recipe` and write WEIGHTS/NAME, for `AutoModelForImageClassification`; returns it."""
    model, samples = as_served(load_turner(runs, recipe.name)), read_corpus(data)
    spec, judged = InputSpec(recipe.size, MEAN, STD), standing(samples, "val")
    logits = all_ways(Compass(model.timm_model, spec, 1.0, 1.0, ""), judged)
    said = together(logits)
    temperature = fit_temperature(said, np.zeros(len(judged), int))
    shares, seems = softmax(said / temperature, axis=1), logits.argmax(2)
    threshold = least(shares, seems[:, 0] > 0, [sample.source for sample in judged], 1 - recipe.upright_kept)
    folder = weights / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    publish(model, folder / WEIGHTS)
    seen = taught_by(standing(samples, "train"))
    config = wrapper(ARCHITECTURE, LABELS, recipe.size)
    config.mri = {
        "version": CONFIG_VERSION,
        "input_size": recipe.size,
        "temperature": round(temperature, 4),
        "threshold": threshold,
        "threshold_rule": RULE.format(turned=1 - recipe.upright_kept),
        "validation": answers(shares, seems, threshold),
        "sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
        "split_hash": split_hash(samples),
        "upside_down": hashlib.sha256(UPSIDE_DOWN.read_bytes()).hexdigest(),  # the list of what had to be turned
        "seed": recipe.seed,
        "sources": seen["sources"],
        "images": {"train": seen["images"], "val": len(judged), "shown": recipe.images},
        "curve": curve(story(runs, recipe.name)["log"], "nll", "accuracy"),
    }
    config.save_pretrained(folder)
    write_card(folder)
    return folder


def all_ways(compass: Compass, samples: Sequence[Sample]) -> np.ndarray:
    """(N, 4, 4) logits of images upright and turned by 90, 180 and 270 degrees against the clock."""
    return np.stack([compass.logits(four_ways(sample)) for sample in tqdm(samples, leave=False)])


def least(shares: np.ndarray, suspect: np.ndarray, sources: Sequence[str], allowed: float) -> float:
    """The threshold of RULE, in [0.5, 1].

    shares: (N, 4) probabilities of how upright images lie. suspect: (N,) bool, whether they seem to lie at first sight.
    allowed: the share of them that may be turned.
    """
    wrong = np.where(suspect & (shares.argmax(1) > 0), shares.max(1), 0.0)
    _, of_row, sizes = np.unique(sources, return_inverse=True, return_counts=True)
    order = np.argsort(-wrong)
    score = 0.0
    for weights in (np.ones(len(wrong)), 1 / sizes[of_row]):
        beyond = np.cumsum(weights[order]) / weights.sum() > allowed
        score = max(score, wrong[order][beyond.argmax()])  # the surest mistake that must not be made
    return min(1.0, max(0.5, float(np.ceil(score * 1e4 + 1) / 1e4)))


def answers(shares: np.ndarray, seems: np.ndarray, threshold: float) -> dict[str, float]:
    """What serving with that threshold gives, were the gate not asked.

    shares: (N, 4) of how upright images lie. seems: (N, 4) how each way of them lies at first sight, 0 for upright.
    """
    right, sure, suspect = shares.argmax(1) == 0, shares.max(1) >= threshold, seems > 0
    lies = (shares.argmax(1)[:, None] + np.arange(1, QUARTERS)) % QUARTERS > 0  # what all ways say of each turned one
    return {
        "told_at_once": round(float((seems == np.arange(QUARTERS)).mean()), 4),
        "told": round(float(right.mean()), 4),
        "upright_turned": round(float((suspect[:, 0] & ~right & sure).mean()), 4),
        "righted": round(float((suspect[:, 1:] & (right & sure)[:, None]).mean()), 4),
        "turned_wrongly": round(float((suspect[:, 1:] & (~right & sure)[:, None] & lies).mean()), 4),
    }
