"""Turned images in the README: what is asked of each way in which an image lies."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from places import ROOT
from standing_cases import pipeline, samples_in

from mri_models.evaluation import turned
from mri_models.evaluation.tables import check_readme
from mri_models.evaluation.turned import measure_turned, render, write_turned_tables
from mri_models.training.corpus import Sample


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    return samples_in(tmp_path)


def asked(*args, **options) -> dict[str, dict]:
    samples, *about = args
    found = measure_turned(pipeline(*about, **options), samples, "test", None)
    return {one["question"]: one for one in found["questions"]}


def test_each_way_of_an_image_is_asked(samples):
    brain = asked(samples)["brain accepted as brain"]
    assert (brain["number"], brain["upright"]["value"]) == (2, 1.0)
    assert brain["on its side"]["value"] == brain["on its head"]["value"] == 1.0
    assert brain["on its side, left so"]["value"] == brain["on its head, left so"]["value"] == 0.0
    unsure = asked(samples, threshold=1.1)["brain accepted as brain"]
    assert unsure["upright"]["value"] == 1.0
    assert unsure["on its side"]["value"] == unsure["on its head"]["value"] == 0.0


def test_each_question_is_asked_of_its_images(samples):
    found = asked(samples)
    assert found["brain patterns accepted and right"]["upright"]["value"] == 1.0
    assert found["brain patterns accepted and wrong"]["upright"]["value"] == 0.0
    assert found["knee accepted as knee"]["upright"]["value"] == 0.0  # taken for a brain
    assert "other body parts let in" not in found  # a phantom has no upright


def test_a_pattern_counts_only_of_an_accepted_brain(samples):
    knees = asked(samples, "knee", "pituitary")
    assert knees["knee accepted as knee"]["upright"]["value"] == 1.0
    assert knees["brain patterns accepted and wrong"]["upright"]["value"] == 0.0
    assert asked(samples, "brain", "pituitary")["brain patterns accepted and wrong"]["upright"]["value"] == 1.0


def test_what_the_compass_says_is_counted_by_part_and_source(samples):
    told = {one["images"]: one for one in measure_turned(pipeline(), samples, "test", None)["compass"]}
    assert {name: one["number"] for name, one in told.items()} == {"brain": 2, "knee": 1, "s": 3}
    shares = {key: one["value"] for key, one in told["brain"].items() if key != "number" and key != "images"}
    assert shares == {"told": 1.0, "disturbed": 0.0, "righted": 1.0, "otherwise": 0.0}


def test_what_is_no_mri_may_get_in_by_being_turned(samples):
    found = measure_turned(pipeline(), samples, "test", None)
    assert found["strangers"] == {"images": 1, "turned": 1, "let_in": 1}
    assert "1 got in that the gate would have refused" in render(found)


def test_the_table_goes_into_readme_and_card(samples, tmp_path):
    found, paths = measure_turned(pipeline(), samples, "test", None), (tmp_path / "README.md", tmp_path / "card.md")
    for path in paths:
        path.write_text(f"<!-- results:{turned.NAME} -->\n<!-- /results:{turned.NAME} -->")
    write_turned_tables(found, *paths)
    for path in paths:
        assert check_readme(path, turned.NAME, render(found))
        assert "| brain accepted as brain | 2 | 1.000 | 1.000 | 1.000 | 0.000 | 0.000 |" in path.read_text()


def test_the_tables_are_of_these_weights_and_shown():
    metrics = json.loads((ROOT / "weights" / "metrics.json").read_text(encoding="utf-8"))
    measured = metrics[turned.NAME]
    for name, digest in measured["models"].items():
        assert json.loads((ROOT / "weights" / name / "config.json").read_text())["mri"]["sha256"] == digest, name
    for path in ("README.md", "weights/orientation/README.md"):
        assert check_readme(ROOT / path, turned.NAME, render(measured))
