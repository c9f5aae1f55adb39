"""The evaluation command on a small part of the corpus, and the questions that it asks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mri_models.errors import DataError
from mri_models.evaluation import agreement
from mri_models.evaluation.agreement import agreed
from mri_models.evaluation.collect import Outputs, put_right, thin
from mri_models.evaluation.metrics import Outcomes
from mri_models.evaluation.questions import questions
from mri_models.evaluation.run import evaluate, merged
from mri_models.training.corpus import TASKS, Sample
from mri_models.types import Mask, Prediction, Scan


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


def test_the_manifest_s_mistakes_are_put_right_at_the_gate_and_left_out_behind_it():
    seen = ("", "ct", "nothing", "mri", "")
    samples = [replace(sample(i), mislabelled=found) for i, found in enumerate(seen)]
    gate = outcomes("gate", [0, 1, 1, 0, 1], [0, 0, 0, 1, 1], [True] * 5)
    right, wrong = put_right(gate, samples)
    assert (wrong, right.labels.tolist(), right.correct.all()) == (3, [0, 1, 0, 1], True)
    brain, _ = put_right(outcomes("brain", [0, 1, 2, 3, 0], [0, 1, 2, 3, 0], [True] * 5), samples)
    assert brain.labels.tolist() == [0, 0]
    assert put_right(gate, [sample(i) for i in range(5)]) is None


class Outliner:
    """Outlines something on the images that it is told about; what it looked at is kept."""

    def __init__(self, on: set[float]):
        self.on, self.asked = on, []

    def __call__(self, scan: Scan) -> Mask:
        grey = round(float(scan.pixels.mean()), 2)
        self.asked.append(grey)
        values = np.full(scan.shape, grey in self.on, np.uint8)
        return Mask(values, values.astype(np.float32), ("tumour",), float(grey in self.on), 0.3, None)


def grey_image(folder: Path, level: int) -> Path:
    path = folder / f"{level}.png"
    Image.fromarray(np.full((64, 64), level, np.uint8)).save(path)
    return path


def test_a_tumour_pattern_counts_as_accepted_only_with_an_outline(tmp_path):
    stage = outcomes("brain", [0, 0, 3, 1], [0, 3, 3, 1], [True, True, True, False])
    samples = [replace(sample(i), path=grey_image(tmp_path, 51 * (1 + i))) for i in range(4)]
    outliner = Outliner(on={0.2})

    found = agreed(stage, samples, outliner)

    assert found.accepted.tolist() == [True, False, True, False]
    assert stage.accepted.tolist() == [True, True, True, False]
    assert outliner.asked == [0.2, 0.4]  # neither the healthy one nor what was refused before


def test_healed_heads_are_counted_with_and_without_outlines(monkeypatch):
    scans = {Scan(np.full((64, 64), level, np.float32)): level for level in (0.2, 0.4, 0.6, 0.8)}
    answers = {0.2: ("glioma", True), 0.4: ("glioma", True), 0.6: ("no_tumor", True), 0.8: ("glioma", False)}
    monkeypatch.setattr(agreement, "healed_brains", lambda samples, split: [(None, scan) for scan in scans])

    def brain(scan: Scan) -> Prediction:
        label, accepted = answers[scans[scan]]
        return Prediction(label, 0.9, 0.6, {label: 0.9}, 0.1, 0.9, accepted)

    found = agreement.healed_heads(brain, Outliner(on={0.4}), [], "test", None)

    assert [row["share"] for row in found.values()] == [0.25, 0.25, 0.5]
    assert {row["images"] for row in found.values()} == {4}


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
    assert result["stages"].keys() == pipeline.models.keys()
    assert result["models"].keys() == {*pipeline.models, "orientation"}  # which turned what they saw
    assert (tmp_path / "figures.json").is_file()
    assert "anomaly" not in result


def test_measures_of_other_patients_are_not_mixed():
    known = {"split": "test", "split_hash": "a", "models": {"gate": "1", "brain": "2"}, "anomaly": 3}
    new = {"split": "test", "split_hash": "a", "models": {"gate": "4"}}
    assert merged(known, new) == known | {"models": {"gate": "4", "brain": "2"}}
    with pytest.raises(DataError, match="without --only"):
        merged(known, new | {"split_hash": "b"})


def test_measures_of_images_that_another_network_turned_are_not_mixed():
    known = {"split_hash": "a", "models": {"gate": "1"}}
    turned = merged(known, {"split_hash": "a", "models": {"orientation": "2"}})
    assert turned["models"] == {"gate": "1", "orientation": "2"}
    assert merged(turned, {"split_hash": "a", "models": {"orientation": "2", "gate": "3"}})["models"]["gate"] == "3"
    with pytest.raises(DataError, match="another orientation"):
        merged(turned, {"split_hash": "a", "models": {"orientation": "4"}})
