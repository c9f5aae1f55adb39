"""Published weights → finished runs: whoever has the repository, but not its runs, goes on from what it serves."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from mri_models.anomaly import MEMORY
from mri_models.anomaly import NAME as ANOMALY
from mri_models.hub import CONFIG, WEIGHTS, model_folders
from mri_models.training.anomaly import AnomalyRecipe, load_anomaly_recipe
from mri_models.training.anomaly_export import VARIANT
from mri_models.training.commands import read_recipe
from mri_models.training.course import BEST, RECIPE, STORY, run_folder
from mri_models.training.network import MultiTask
from mri_models.training.recipe import Recipe, load_recipe

State = dict[str, torch.Tensor]
TRUNK, HEAD = "timm_model.", "timm_model.classifier."


@dataclass(frozen=True, slots=True)
class Recovered:
    """A run as its training would have left it, with the weights in the precision in which they were published."""

    recipe: Any
    state: State
    story: Mapping[str, Any]

    def write(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        save_file({key: value.contiguous() for key, value in self.state.items()}, folder / BEST)
        (folder / RECIPE).write_text(json.dumps(dataclasses.asdict(self.recipe), indent=1))
        (folder / STORY).write_text(json.dumps(self.story, indent=1))


def recover(weights: Path, runs: Path) -> Iterator[Path]:
    """Write into `runs` every run from which a model in `weights` was exported; a finished run that is there stays.

    A recipe may then start from it (start = "run:NAME"), average it, or be exported again. Yields the folders written.
    """
    for run in recovered(weights):
        folder = run_folder(runs, run.recipe.name)
        if not (folder / BEST).is_file():
            run.write(folder)
            yield folder


def recovered(weights: Path) -> Iterator[Recovered]:
    """The runs behind `weights`: one for each model, but gate, body part and brain are heads of the same."""
    heads: dict[str, list[tuple[Recipe, Path]]] = {}
    for model, folder in model_folders(weights).items():
        recipe = read_recipe(model)
        if isinstance(recipe, Recipe):
            heads.setdefault(recipe.run or recipe.name, []).append((recipe, folder))
        elif isinstance(recipe, AnomalyRecipe):
            yield from autoencoders(folder)
        else:
            yield whole(recipe, folder)
    for models in heads.values():
        yield shared(models, weights / ANOMALY)


def whole(recipe: Any, folder: Path) -> Recovered:
    """A model whose file holds all of its run's network: outlines in slices and volumes, the disc grader."""
    mri = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["mri"]
    told = {"split_hash": mri["split_hash"], "log": looks(mri["curve"])}
    if "train" in mri.get("images", {}):
        told["taught_by"] = {"images": mri["images"]["train"], "sources": mri["sources"]}
    return Recovered(recipe, single(load_file(folder / WEIGHTS)), told)


def autoencoders(folder: Path) -> Iterator[Recovered]:
    """The autoencoder that is served, and the one that it was compared with."""
    mri = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["mri"]
    files = {mri["autoencoder"]: WEIGHTS} | ({mri["variant"]["name"]: VARIANT} if "variant" in mri else {})
    for name, file in files.items():
        curve = mri["curves"][name]
        log = [{"loss": loss} for loss in curve["loss"]]
        log += [
            {"eval_train_error": seen, "eval_val_error": unseen}
            for seen, unseen in zip(curve["train_error"], curve["val_error"], strict=True)
        ]
        told = {"split_hash": mri["split_hash"], "log": log}
        yield Recovered(load_anomaly_recipe(name), single(load_file(folder / file)), told)


def shared(models: Sequence[tuple[Recipe, Path]], anomaly: Path) -> Recovered:
    """The run whose heads these classifiers are; tasks that were only helpers begin anew.

    The lesion outline that it learned beside its classes is kept with the anomaly score that uses it.
    """
    recipe, folder = models[0]
    recipe = load_recipe(recipe.run) if recipe.run else recipe
    network = MultiTask(recipe)
    state = network.state_dict()
    for model, place in models:  # whose trunks are the same
        published = single(load_file(place / WEIGHTS))
        state |= {f"heads.{model.head}.{part}": published.pop(HEAD + part) for part in ("weight", "bias")}
        state |= {f"trunk.{key.removeprefix(TRUNK)}": value for key, value in published.items()}
    mri = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["mri"]
    if (anomaly / MEMORY).is_file() and "brain" in {model.head for model, _ in models}:
        memory = load_file(anomaly / MEMORY)
        state["lesion_head.weight"] = memory["outline.weight"].float().reshape(state["lesion_head.weight"].shape)
        state["lesion_head.bias"] = memory["outline.bias"].float().reshape(1)
    return Recovered(recipe, state, {"split_hash": mri["split_hash"], "log": []})


def single(state: State) -> State:
    """Half precision → single; counters stay whole numbers."""
    return {key: value.float() if value.is_floating_point() else value for key, value in state.items()}


def looks(curve: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """A card's curve of validation metrics → the lines of a run's log that it was read from."""
    return [{"step": e["step"]} | {f"eval_{key}": e[key] for key in e if key != "step"} for e in curve]
