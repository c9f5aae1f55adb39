"""Every baseline on every fold, each result kept as it comes: what is there is never computed twice."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mri_models.errors import DataError
from mri_models.training.baselines.cases import Cases, Fold, assign, folds, folds_hash, inner
from mri_models.training.baselines.clock import Clock, latency_ms
from mri_models.training.baselines.pictures import Preparation, canvases, shrunk
from mri_models.training.baselines.recipe import Baseline, Classical, Mean, Network, load_baseline
from mri_models.training.corpus import draw_weights
from mri_models.whole import write_whole

HELD = 6  # one in so many training images is validated on, where a network validates
SLOW_INNER = 4  # the parts that a single inner held-out part is one of


@dataclass(frozen=True, eq=False)
class Study:
    """The cases, divided once; results below runs/baselines/SPLIT/NAME/."""

    cases: Cases
    split: str  # "patients" or "slices"
    count: int  # outer folds
    folder: Path
    preparation: Preparation = dataclasses.field(default_factory=Preparation)
    variant: str = ""  # names another preparation's results

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @cached_property
    def assigned(self) -> np.ndarray:
        return assign(self.cases, self.split, self.count)

    @cached_property
    def digest(self) -> str:
        return folds_hash(self.cases, self.assigned)

    def path(self, name: str, fold: int) -> Path:
        return self.folder / self.split / self.variant / name / f"fold{fold}.json"


def run_baseline(study: Study, recipe: Baseline, wanted: Sequence[int] | None = None) -> None:
    """The folds of one baseline that have no result of this recipe and division yet."""
    for fold in folds(study.assigned, study.count):
        if wanted is not None and fold.number not in wanted:
            continue
        if isinstance(recipe, Mean) or read_result(study, recipe, fold.number) is None:  # its members may be new
            result = one_fold(study, recipe, fold)
            write_result(study, recipe, fold, result)
            print(f"{study.split} {recipe.name} fold {fold.number}: {json.dumps(result['story'])[:300]}", flush=True)


def one_fold(study: Study, recipe: Baseline, fold: Fold) -> dict[str, Any]:
    """{"scores" (n, C), "story", "cpu_minutes", "wall_minutes", "latency_ms"} of one baseline on one fold."""
    match recipe:
        case Classical():
            return _classical(study, recipe, fold)
        case Network():
            return _network(study, recipe, fold)
        case Mean():
            return _mean(study, recipe, fold)


def read_result(study: Study, recipe: Baseline, fold: int) -> dict[str, Any] | None:
    """A kept result, or None where there is none of this very recipe and division."""
    path = study.path(recipe.name, fold)
    if not path.is_file():
        return None
    kept = json.loads(path.read_text())
    same = kept["folds"] == study.digest and kept["recipe"] == json.loads(json.dumps(dataclasses.asdict(recipe)))
    return kept if same else None


def write_result(study: Study, recipe: Baseline, fold: Fold, result: dict[str, Any]) -> None:
    path = study.path(recipe.name, fold.number)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {"folds": study.digest, "recipe": dataclasses.asdict(recipe), "fold": fold.number} | result
    kept["scores"] = np.asarray(result["scores"]).round(5).tolist()
    write_whole(path, [json.dumps(kept).encode()])


def _classical(study: Study, recipe: Classical, fold: Fold) -> dict[str, Any]:
    from mri_models.training.baselines.classical import tune
    from mri_models.training.baselines.frozen import extractor, features

    cases = study.cases
    table = np.asarray(features(recipe.features, cases, study.preparation, study.cache))
    parts = recipe.inner_folds if recipe.inner_folds > 1 else SLOW_INNER
    divided = inner(cases, fold.train, study.split, parts)
    clock = Clock()
    model, story = tune(recipe, table[fold.train], cases.labels[fold.train], divided)
    costs = _costs(clock)
    extract = extractor(recipe.features)
    picture = canvases(cases, study.preparation, study.cache)[fold.judged[0]]
    speed = latency_ms(lambda: model.scores(extract(picture)[None]))
    return {"scores": model.scores(table[fold.judged]), "story": story, "latency_ms": speed} | costs


def _network(study: Study, recipe: Network, fold: Fold) -> dict[str, Any]:
    from mri_models.training.baselines.fit import PixelFeed, fit, scores
    from mri_models.training.baselines.networks import build

    cv2.setNumThreads(0)
    cases = study.cases
    pictures = canvases(cases, study.preparation, study.cache)
    network = build(recipe)
    if recipe.start == "scratch":
        feed = PixelFeed(pictures, recipe.size)
        answer = partial(scores, network, feed, fold.judged[:1], bf16=recipe.bf16)
    else:
        feed, answer = _upper(study, recipe, network, pictures[fold.judged[0]])
    parts = [fold.train]
    if recipe.validated:
        held = inner(cases, fold.train, study.split, HELD) == 0
        parts = [fold.train[~held], fold.train[held]]
    clock = Clock()
    story = fit(recipe, network, feed, cases.labels, draw_weights(cases.samples, {"brain": 1.0}), parts)
    costs = _costs(clock)
    found = scores(network, feed, fold.judged, bf16=recipe.bf16)
    return {"scores": found, "story": story, "latency_ms": latency_ms(answer)} | costs


def _upper(study: Study, recipe: Network, network: Any, picture: np.ndarray) -> tuple[Any, Callable[[], Any]]:
    """The feed of kept activations, and how one image is answered from its pixels (image and mirror)."""
    import torch

    from mri_models.training.baselines import frozen
    from mri_models.training.baselines.fit import ActivationFeed
    from mri_models.training.baselines.networks import STARTS

    number = STARTS[recipe.start]
    kept = frozen.activations(study.cases, number, recipe.frozen, recipe.size, recipe.views, study.cache)
    below = frozen.lite(number)

    @torch.inference_mode()
    def answer() -> torch.Tensor:
        plain = shrunk(picture, recipe.size)
        half = frozen.lower(below, np.stack([plain, plain[:, ::-1]]), recipe.frozen)
        return network.eval()(half.float()).softmax(1).mean(0)

    return ActivationFeed(kept), answer


def _mean(study: Study, recipe: Mean, fold: Fold) -> dict[str, Any]:
    """Raises DataError where a member has no result on this fold."""
    found = [read_result(study, load_baseline(name), fold.number) for name in recipe.members]
    if missing := [name for name, result in zip(recipe.members, found, strict=True) if result is None]:
        raise DataError("no_result", f"{recipe.name} fold {fold.number} wants {missing} first; run them on this split.")
    summed = {key: round(sum(r[key] for r in found), 3) for key in ("cpu_minutes", "wall_minutes", "latency_ms")}
    return {"scores": np.mean([r["scores"] for r in found], axis=0), "story": {"members": recipe.members}} | summed


def _costs(clock: Clock) -> dict[str, float]:
    return {"cpu_minutes": round(clock.cpu_minutes, 3), "wall_minutes": round(clock.wall_minutes, 3)}
