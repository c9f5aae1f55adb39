"""Golden outcomes: every bundled example through the real pipeline."""

from __future__ import annotations

import json

import pytest
from places import EXAMPLES

from mri_models import VolumePipeline

CASES = json.loads((EXAMPLES / "expected.json").read_text(encoding="utf-8"))
VOLUMES = json.loads((EXAMPLES / "volumes" / "expected.json").read_text(encoding="utf-8"))


def test_every_image_is_listed_and_sourced():
    images = {p.name for p in EXAMPLES.iterdir()} - {"SOURCES.md", "expected.json", "volumes"}
    sources = (EXAMPLES / "SOURCES.md").read_text(encoding="utf-8")
    assert images == set(CASES)
    assert all(name in sources for name in images)


def test_captions_and_alt_texts_are_there():
    assert all(0 < len(case["caption"]) <= 28 and case["alt"] for case in CASES.values())


def test_examples_stay_small():
    assert sum(p.stat().st_size for p in EXAMPLES.iterdir() if p.is_file()) < 3_000_000


@pytest.mark.weights
@pytest.mark.parametrize("name", CASES)
def test_example_comes_to_what_is_promised(pipeline, name):
    report = pipeline(EXAMPLES / name, explain=False)

    assert report.status == CASES[name]["status"], report.to_dict()
    assert (report.rejection.stage if report.rejection else None) == CASES[name]["stage"]
    assert (report.orientation.turn_deg if report.orientation else 0) == CASES[name].get("turn_deg", 0)


def test_every_volume_is_listed_sourced_and_small():
    files = [p for p in (EXAMPLES / "volumes").iterdir() if p.name != "expected.json"]
    sources = (EXAMPLES / "SOURCES.md").read_text(encoding="utf-8")
    assert {p.name for p in files} == set(VOLUMES)
    assert all(f"volumes/{name}" in sources for name in VOLUMES)
    assert sum(p.stat().st_size for p in files) < 1_500_000


@pytest.mark.weights
@pytest.mark.parametrize("name", VOLUMES)
def test_volume_comes_to_what_is_promised(pipeline, name):
    report = VolumePipeline(pipeline)(EXAMPLES / "volumes" / name)

    assert report.status == VOLUMES[name]["status"], report.to_dict()
    assert (report.rejection.stage if report.rejection else None) == VOLUMES[name]["stage"]
