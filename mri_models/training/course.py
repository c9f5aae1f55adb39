"""What the runs of all recipes share: their folder, what may go on from what, Trainer's arguments, what is kept."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn
from transformers import TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from mri_models.errors import RecipeError
from mri_models.training.corpus import Sample, split_hash

BEST, RECIPE, STORY, BEGUN = "best.safetensors", "recipe.json", "history.json", "begun.json"  # of a run's folder
FREE = ("images", "patches", "spines", "epochs", "evaluations", "patience")  # a run may go on for longer than planned
OTHER_RUN = "other_run"


@dataclass(frozen=True, slots=True)
class Begun:
    """A run's folder, the checkpoint that it goes on from, and whether exactly this run has come to its end already."""

    folder: Path
    checkpoint: str | None
    done: bool


def run_folder(runs: Path, name: str) -> Path:
    """Where the run of a recipe keeps checkpoints, curves and its best weights."""
    return runs / name.replace("/", "_")


def begin(recipe: Any, samples: Sequence[Sample], runs: Path, *, resume: bool) -> Begun:
    """Begin the run of a recipe (a dataclass with a name), or go on with it; without `resume` what is there goes.

    Raises RecipeError "other_run" where the folder holds a run of another recipe or of other patients: its checkpoints
    would end as this recipe's weights.
    """
    folder = run_folder(runs, recipe.name)
    if not resume:
        shutil.rmtree(folder, ignore_errors=True)
    values = json.loads(json.dumps(dataclasses.asdict(recipe)))
    fixed = {key: value for key, value in values.items() if key not in FREE}
    begun = {"recipe": fixed, "split_hash": split_hash(samples)}
    note, written = folder / BEGUN, folder / RECIPE
    if note.is_file() and json.loads(note.read_text()) != begun:
        raise RecipeError(
            OTHER_RUN,
            f"{folder} holds a run of this name with another recipe or on other patients. Start over with "
            "--no-resume, or give the recipe another name.",
        )
    done = note.is_file() and (folder / STORY).is_file() and json.loads(written.read_text()) == values
    folder.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(begun, indent=1))
    written.write_text(json.dumps(values, indent=1))
    return Begun(folder, get_last_checkpoint(str(folder)), done)


def by_steps(
    recipe: Any, folder: Path, shown: int, *, metric: str, greater_is_better: bool, **other: Any
) -> TrainingArguments:
    """Arguments of a run that shows `shown` items; of the recipe: batch, evaluations, lr, warmup, weight_decay, seed.

    metric: of validation patients; the checkpoint at which it was best is kept. other: what differs.
    """
    steps = max(1, shown // recipe.batch)
    every = max(1, steps // recipe.evaluations)
    gpu = torch.cuda.is_available()
    usual = {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": recipe.batch,
        "per_device_eval_batch_size": 32,
        "learning_rate": recipe.lr,
        "lr_scheduler_type": "cosine",
        "warmup_steps": int(recipe.warmup * steps),
        "weight_decay": recipe.weight_decay,
        "bf16": True,
        "use_cpu": not gpu,
        "eval_strategy": "steps",
        "eval_steps": every,
        "save_strategy": "steps",
        "save_steps": every,
        "save_total_limit": 2,
        "load_best_model_at_end": True,
        "metric_for_best_model": metric,
        "greater_is_better": greater_is_better,
        "logging_steps": 20,
        "dataloader_num_workers": 8 if gpu else 1,
        "dataloader_prefetch_factor": 4,
        "dataloader_persistent_workers": True,
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "report_to": [],
        "seed": recipe.seed,
    }
    return TrainingArguments(**usual | other)


def keep(network: nn.Module, folder: Path, samples: Sequence[Sample], story: dict[str, object]) -> None:
    """best.safetensors, and history.json with how it came about."""
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    save_file(state, folder / BEST)
    (folder / STORY).write_text(json.dumps({"split_hash": split_hash(samples)} | story, indent=1))


def as_served(network: nn.Module) -> nn.Module:
    """The same network, in place: its weights rounded to the half precision in which they are published."""
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half().float())
    return network


def publish(network: nn.Module, path: Path) -> None:
    """Write the weights in half precision; counters stay whole numbers."""
    state = network.state_dict()
    half = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    save_file({name: value.contiguous() for name, value in half.items()}, path, metadata={"format": "pt"})


def taught_by(items: Sequence[Any]) -> dict[str, Any]:
    """How many of these (with split and source) are of training patients, and of which sources: what a card says."""
    seen = [item for item in items if item.split == "train"]
    return {"images": len(seen), "sources": sorted({item.source for item in seen})}


def story(runs: Path, name: str) -> dict[str, Any]:
    """What `keep` wrote of a finished run: "log" of the trainer, "split_hash", and more by kind."""
    return json.loads((run_folder(runs, name) / STORY).read_text())


def curve(log: Sequence[Mapping[str, float]], *metrics: str) -> list[dict[str, float]]:
    """Metrics of validation patients by step."""
    looks = [entry for entry in log if f"eval_{metrics[0]}" in entry]
    return [{"step": e["step"]} | {name: round(e[f"eval_{name}"], 4) for name in metrics} for e in looks]


def best_weights(runs: Path, name: str) -> Path:
    """The file that the finished run of a recipe keeps; RecipeError when there is none."""
    path = run_folder(runs, name) / BEST
    if not path.is_file():
        raise RecipeError("no_run", f"{path} is missing; run `python -m mri_models train` with this recipe first.")
    return path
