"""The evaluation command on a small part of the corpus, and the questions that it asks."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mri_models.evaluation.collect import Outputs, thin
from mri_models.evaluation.metrics import Outcomes
from mri_models.evaluation.run import evaluate, questions
from mri_models.training.corpus import TASKS, Sample


def sample(i: int, modality: str = "mri", part: str = "brain") -> Sample:
    return Sample(None, None, f"p{i}", "s", "test", modality, part, {}, "")


def outcomes(task: str, predicted: list[int], truth: list[int], accepted: list[bool]) -> Outcomes:
    n = len(truth)
    probabilities = np.eye(len(TASKS[task]))[predicted]
    names = np.array([f"p{i}" for i in range(n)])
    return Outcomes(probabilities, np.array(truth), TASKS[task], names, names, np.array(accepted), np.zeros(n))


def test_gate_questions_count_what_is_let_in_by_modality():
    samples = (sample(0), sample(1, part="heart"), sample(2, "ct"), sample(3, "ct"))
    stage = outcomes("gate", [0, 0, 0, 1], [0, 0, 1, 1], [True, True, True, False])

    found = questions("gate", stage, Outputs(None, None, stage.labels, samples))

    assert found["ct let in"] == {"share": 0.5, "images": 2}
    assert found["brain, knee and spine MRI kept"] == {"share": 1.0, "images": 1}


def test_brain_questions_tell_accepted_from_all():
    stage = outcomes("brain", [3, 3, 0, 0], [0, 0, 0, 3], [True, False, True, True])

    found = questions("brain", stage, Outputs(None, None, stage.labels, tuple(map(sample, range(4)))))

    assert found["tumours called no tumour"]["share"] == pytest.approx(2 / 3, abs=1e-3)
    assert found["tumours called no tumour, accepted"]["share"] == pytest.approx(1 / 3, abs=1e-3)
    assert found["healthy called a tumour"] == {"share": 1.0, "images": 1}


def test_thin_keeps_about_the_limit():
    assert len(thin(list(map(sample, range(100))), 10)) == 10
    assert len(thin(list(map(sample, range(5))), 10)) == 5


@pytest.mark.corpus
@pytest.mark.weights
@pytest.mark.timeout(900)  # every part of it once, on two slow cores
def test_a_small_evaluation_beats_chance_and_changes_no_table(pipeline, corpus, tmp_path):
    evaluate(pipeline, corpus, tmp_path, split="test", limit=40)

    stages = json.loads((tmp_path / "metrics.json").read_text())["stages"]
    assert stages["gate"]["overall"]["auroc"]["value"] > 0.9
    assert stages["body_part"]["overall"]["accuracy"]["value"] > 0.8
    assert stages["diagnosis/brain"]["overall"]["accuracy"]["value"] > 0.6
    assert (tmp_path / "gate" / "reliability.png").stat().st_size > 5_000


@pytest.mark.corpus
@pytest.mark.weights
def test_the_classifiers_are_measured_together_without_the_rest(pipeline, corpus, tmp_path):
    evaluate(pipeline, corpus, tmp_path, limit=8, only="classifiers")

    result = json.loads((tmp_path / "metrics.json").read_text())
    assert result["models"].keys() == result["stages"].keys() == pipeline.models.keys()
    assert (tmp_path / "figures.json").is_file()
    assert "anomaly" not in result
