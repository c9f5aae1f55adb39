"""A run goes on from its own checkpoints only."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import torch
from places import ROOT

from mri_models.__main__ import TAUGHT_WITH, TEACHING
from mri_models.errors import RecipeError
from mri_models.training.corpus import IGNORE, TASKS, Sample
from mri_models.training.course import begin, by_steps, keep, run_folder


@dataclass(frozen=True)
class Small:
    name: str = "diagnosis/small"
    images: int = 320
    batch: int = 32
    evaluations: int = 5
    lr: float = 1e-3
    warmup: float = 0.1
    weight_decay: float = 0.01
    seed: int = 0


def patient(name: str, split: str = "train") -> Sample:
    return Sample(Path(f"{name}.jpg"), None, name, "here", split, "mri", "brain", dict.fromkeys(TASKS, IGNORE), "")


PATIENTS = [patient("a"), patient("b", "val")]


def stopped(runs: Path) -> Path:
    """A run that was killed at its second checkpoint."""
    folder = begin(Small(), PATIENTS, runs, resume=True).folder
    for step in (2, 4):
        (folder / f"checkpoint-{step}").mkdir()
    return folder


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path):
    folder = stopped(tmp_path)
    run = begin(Small(), PATIENTS, tmp_path, resume=True)
    assert (run.folder, run.checkpoint, run.done) == (folder, str(folder / "checkpoint-4"), False)
    longer = begin(Small(images=640), PATIENTS, tmp_path, resume=True)
    assert longer.checkpoint == run.checkpoint
    assert json.loads((folder / "recipe.json").read_text())["images"] == 640


@pytest.mark.parametrize(
    ("recipe", "patients"),
    [(Small(seed=1), PATIENTS), (Small(lr=1e-2), PATIENTS), (Small(), [patient("a", "val"), patient("b", "val")])],
)
def test_another_recipe_or_other_patients_do_not_go_on(tmp_path, recipe, patients):
    folder = stopped(tmp_path)
    before = {path: path.read_bytes() for path in folder.glob("*.json")}
    with pytest.raises(RecipeError, match="--no-resume"):
        begin(recipe, patients, tmp_path, resume=True)
    assert {path: path.read_bytes() for path in folder.glob("*.json")} == before


def test_starting_over_leaves_nothing_of_the_run_before(tmp_path):
    folder = stopped(tmp_path)
    keep(torch.nn.Linear(2, 2), folder, PATIENTS, {"log": []})
    run = begin(Small(seed=1), PATIENTS, tmp_path, resume=False)
    assert (run.checkpoint, run.done) == (None, False)
    assert sorted(path.name for path in folder.iterdir()) == ["begun.json", "recipe.json"]


def test_a_finished_run_is_not_trained_on(tmp_path):
    keep(torch.nn.Linear(2, 2), stopped(tmp_path), PATIENTS, {"log": []})
    assert begin(Small(), PATIENTS, tmp_path, resume=True).done
    assert not begin(Small(images=640), PATIENTS, tmp_path, resume=True).done


def test_arguments_follow_the_recipe(tmp_path):
    folder = run_folder(tmp_path, Small().name)
    found = by_steps(Small(), folder, 320, metric="dice", greater_is_better=True, per_device_eval_batch_size=1)
    assert (found.max_steps, found.eval_steps, found.save_steps, found.warmup_steps) == (10, 2, 2, 1)
    assert (found.per_device_train_batch_size, found.per_device_eval_batch_size) == (32, 1)
    assert (found.learning_rate, found.seed, found.metric_for_best_model) == (1e-3, 0, "dice")
    assert by_steps(replace(Small(), batch=1000), folder, 320, metric="nll", greater_is_better=False).max_steps == 1


@pytest.mark.parametrize("command", [["train", "gate"], ["recover"], ["baselines"]])
def test_a_package_that_only_training_needs_is_named_when_it_is_missing(command):
    code = f"import sys; sys.modules['sklearn'] = None; from mri_models.__main__ import main; sys.exit(main({command}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "missing_package: sklearn" in done.stderr
    assert "pip install -r mri_models/training/requirements.txt" in done.stderr
    assert "Traceback" not in done.stderr
    assert (ROOT / "mri_models/training/requirements.txt").is_file()


def test_the_packages_that_training_needs_are_those_of_its_requirements():
    lines = (ROOT / TEACHING).read_text().splitlines()
    listed = {re.split(r"[<>=]", line)[0] for line in lines if line and line[0] not in "#-"}
    names = {"scikit-learn": "sklearn", "scikit-image": "skimage"}
    assert {names.get(one, one) for one in listed if not one.endswith("pytorch-model")} == TAUGHT_WITH
