"""Turned images in the README: what is asked of each way in which an image lies."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from places import ROOT

from mri_models.evaluation import turned
from mri_models.evaluation.tables import check_readme
from mri_models.evaluation.turned import measure_turned, render, write_turned_table
from mri_models.preprocess import InputSpec
from mri_models.training.corpus import TASKS, Sample


class TopLight:
    """Accepts the given label of an image that is brightest above, and nothing of one that lies."""

    spec, features_key = InputSpec(32, (0.5,) * 3, (0.5,) * 3), "the same trunk"

    def __init__(self, label: str):
        self.label = label

    def features(self, batch):
        return np.array([[float(image[0, :8].mean() - image[0].mean())] for image in batch])

    def logits(self, features):
        return features

    def decide(self, logits, _):
        return [SimpleNamespace(label=self.label, accepted=row[0] > 0.3) for row in logits]


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:12] = 255
    Image.fromarray(pixels).save(tmp_path / "image.png")
    brain = {"brain": TASKS["brain"].index("glioma")}
    about = [("brain", "a", brain), ("brain", "b", brain), ("knee", "c", {"brain": -100}), ("phantom", "d", {})]
    made = [Sample(tmp_path / "image.png", None, who, "s", "test", "mri", part, t, "") for part, who, t in about]
    return [*made, Sample(tmp_path / "image.png", None, "e", "s", "train", "mri", "brain", brain, "")]


def pipeline(part: str = "brain", pattern: str = "glioma") -> SimpleNamespace:
    answers = {"gate": "mri", "body_part": part, "diagnosis/brain": pattern}
    return SimpleNamespace(models={name: TopLight(label) for name, label in answers.items()})


def test_each_way_of_an_image_is_asked(samples):
    found = {one["question"]: one for one in measure_turned(pipeline(), samples, "test", None)}
    brain = found["brain accepted as brain"]
    assert (brain["images"], brain["upright"]["value"]) == (2, 1.0)
    assert brain["on its side"]["value"] == brain["on its head"]["value"] == 0.0
    assert found["brain patterns accepted and right"]["upright"]["value"] == 1.0
    assert found["brain patterns accepted and wrong"]["upright"]["value"] == 0.0
    assert found["knee accepted as knee"]["upright"]["value"] == 0.0  # taken for a brain
    assert "other body parts let in" not in found  # a phantom has no upright


def test_a_pattern_counts_only_of_an_accepted_brain(samples):
    found = {one["question"]: one for one in measure_turned(pipeline("knee", "pituitary"), samples, "test", None)}
    assert found["knee accepted as knee"]["upright"]["value"] == 1.0
    assert found["brain patterns accepted and wrong"]["upright"]["value"] == 0.0
    wrong = {one["question"]: one for one in measure_turned(pipeline("brain", "pituitary"), samples, "test", None)}
    assert wrong["brain patterns accepted and wrong"]["upright"]["value"] == 1.0


def test_the_table_goes_into_the_readme(samples, tmp_path):
    found, readme = measure_turned(pipeline(), samples, "test", None), tmp_path / "README.md"
    readme.write_text(f"<!-- results:{turned.NAME} -->\n<!-- /results:{turned.NAME} -->")
    write_turned_table(found, readme)
    assert check_readme(readme, turned.NAME, render(found))
    assert "| brain accepted as brain | 2 | 1.000 | 0.000 | 0.000 |" in readme.read_text()


def test_the_readme_shows_what_was_measured():
    metrics = json.loads((ROOT / "weights" / "metrics.json").read_text(encoding="utf-8"))
    assert check_readme(ROOT / "README.md", turned.NAME, render(metrics[turned.NAME]))
