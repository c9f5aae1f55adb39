"""What averages of finished runs give on validation patients: the figures by which the shares of a soup are chosen."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mri_models.errors import RecipeError
from mri_models.evaluation.collect import Change, Outputs, collect, collect_all, labelled
from mri_models.orientation import QUARTERS, turned
from mri_models.training.augment import marks
from mri_models.training.corpus import read_corpus
from mri_models.training.export import perturb, rounded
from mri_models.training.fit import balanced_losses, mean_recall
from mri_models.training.fit import blend as blend_classifiers
from mri_models.training.recipe import Recipe, load_recipe
from mri_models.training.segment_export import fit_rule, segmenter_of
from mri_models.training.segment_start import SegmentRecipe
from mri_models.training.segment_start import blend as blend_outlines

ASKED_AGAIN = ("brain", "body_part")  # about validation images as other people might send them
Figures = dict[str, float]


def compare(
    recipe: Any, shares: Sequence[Sequence[float]], data: Path, runs: Path
) -> Iterator[tuple[dict[str, float], Figures]]:
    """Average the runs that `recipe.soup` names with each of these shares, and judge it on validation patients as it
    would be served. Without shares: each run alone, then the recipe's own.

    Raises RecipeError "no_soup" for a recipe that averages nothing, "bad_shares" for another number of shares.
    """
    judge = judge_of(recipe)
    names = list(recipe.soup)
    alone = [[float(i == k) for i in range(len(names))] for k in range(len(names))]
    for one in shares or [*alone, list(recipe.soup.values())]:
        if len(one) != len(names) or min(one) < 0 or not sum(one):
            raise RecipeError("bad_shares", f"--shares takes {len(names)} numbers, for {', '.join(names)}; got {one}.")
        soup = {name: share for name, share in zip(names, one, strict=True) if share}
        yield dict(zip(names, one, strict=True)), judge(replace(recipe, soup=soup), data, runs)


def read_shares(text: str) -> list[float]:
    """ "0.3,0.7" → [0.3, 0.7]; RecipeError "bad_shares" for anything else."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise RecipeError("bad_shares", f"--shares takes numbers like 0.3,0.7, got {text!r}.") from None


def judge_of(recipe: Any) -> Callable[[Any, Path, Path], Figures]:
    judges = {Recipe: classifiers, SegmentRecipe: outlines}
    if not getattr(recipe, "soup", None) or type(recipe) not in judges:
        raise RecipeError("no_soup", f"{recipe.name} averages no runs; a recipe that does has a soup.")
    return judges[type(recipe)]


def classifiers(recipe: Recipe, data: Path, runs: Path) -> Figures:
    """Log loss and balanced accuracy of each task, classes counting alike, at the size at which it is served; of
    ASKED_AGAIN in each of WAYS, too."""
    samples = read_corpus(data)
    network = blend_classifiers(recipe, runs)
    with tempfile.TemporaryDirectory() as folder:
        served = {
            task: rounded(network, replace(recipe, head=task, serve_size=load_recipe(task).serve_size), Path(folder))
            for task in recipe.tasks
        }
    found = collect_all({task: (one, task, labelled(samples, task, "val")) for task, one in served.items()})
    for task in [task for task in ASKED_AGAIN if task in found]:
        for way, change in WAYS.items():
            found[f"{task}, {way}"] = collect(served[task], found[task].samples, task, change)
    return {f"{name}: {key}": value for name, outputs in found.items() for key, value in judged(outputs).items()}


def drawn_on(canvas: np.ndarray, index: int) -> np.ndarray:
    """With arrows, rings or letters, seeded by the image's index."""
    return marks(canvas, np.random.default_rng(index))


def lying(canvas: np.ndarray, index: int) -> np.ndarray:
    """On a side or on its head."""
    return turned(canvas, 1 + index % (QUARTERS - 1))


WAYS: dict[str, Change] = {"perturbed": perturb, "drawn on": drawn_on, "lying": lying}


def judged(outputs: Outputs) -> Figures:
    scores, loss = balanced_losses(outputs.logits, outputs.labels)
    return {"log loss": round(loss, 4), "balanced accuracy": round(mean_recall(outputs.labels, scores.argmax(1)), 4)}


def outlines(recipe: SegmentRecipe, data: Path, runs: Path) -> Figures:
    """Dice, the missed share and the empty images outlined, with the export's rule fitted to each."""
    segmenter, pictures = segmenter_of(blend_outlines(recipe.soup, runs), recipe, data)
    return fit_rule(segmenter, [p for p in pictures if p.split == "val"], recipe.missed, recipe.edge)[1]
