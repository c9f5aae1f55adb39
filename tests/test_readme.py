"""The README tells the truth: its samples run, its tables are the JSON's, its front matter fits the requirements."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import pytest
from advice_cases import outlined
from fakes import FakePipeline, scan_png, served
from places import ROOT
from volume_cases import discs

from mri_models import __main__ as command
from mri_models import volumetric
from mri_models.drift import experiment
from mri_models.evaluation import anomaly, benchmark, explanations
from mri_models.evaluation.commands import EVERYTHING, LEAKY
from mri_models.evaluation.run import tables
from mri_models.evaluation.tables import check_readme
from mri_models.hub import model_folders, verify
from mri_models.training import unseen
from mri_models.training.recipe import load_recipe
from mri_models.types import Orientation, Rejection, Report

README = ROOT / "README.md"
WEIGHTS = ROOT / "weights"


def sample(name: str) -> str:
    text = README.read_text(encoding="utf-8")
    return re.search(rf"<!-- sample:{name} -->\n```\w+\n(.*?)```", text, re.DOTALL)[1]


@pytest.fixture(scope="module")
def address(pipeline) -> Iterator[str]:
    with served(pipeline) as url:
        yield url


@pytest.fixture
def metrics() -> dict:
    return json.loads((WEIGHTS / "metrics.json").read_text(encoding="utf-8"))


def run(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=240).stdout


@pytest.mark.weights
def test_python_sample():
    assert "looks like an MRI" in run(sys.executable, "-c", sample("python"))


@pytest.mark.weights
def test_command_line_sample():
    lines = run("bash", "-c", sample("cli").replace("python ", f"{sys.executable} ", 1)).splitlines()
    reports = [json.loads(line) for line in lines]
    assert [r["file"] for r in reports] == ["01_brain_t1_axial.png", "15_photo.jpg"]
    assert reports[1]["status"] == "rejected"
    assert next(iter(reports[0])) == "file"


def test_publish_sample_is_a_dry_run():
    lines = run("bash", "-c", sample("publish").replace("python ", f"{sys.executable} ", 1)).splitlines()
    assert lines[0].startswith("model owner/mri-patterns: ")
    assert lines[-1].startswith("Dry run: nothing was sent.")


@pytest.mark.weights
def test_client_sample(address):
    code = sample("client").replace("http://127.0.0.1:7860", address)
    assert "brain" in run(sys.executable, "-c", code)


@pytest.mark.weights
def test_curl_sample(address):
    answer = run("bash", "-c", sample("curl").replace("http://127.0.0.1:7860", address))
    assert "event: complete" in answer
    assert '"schema"' in answer


@pytest.mark.weights
def test_drift_sample(address):
    answer = run(sys.executable, "-c", sample("drift").replace("http://127.0.0.1:7860", address))
    state = answer.splitlines()[-1].split()[0]  # the client's own line comes first
    assert state in ("ok", "watch", "alert", "insufficient")


@pytest.mark.weights
def test_volume_sample(address):
    answer = run(sys.executable, "-c", sample("volume").replace("http://127.0.0.1:7860", address))
    assert " axial {'slices':" in answer.splitlines()[-1]


@pytest.mark.weights
def test_report_sample(address):
    answer = run(sys.executable, "-c", sample("report").replace("http://127.0.0.1:7860", address))
    assert r"# Bericht zu einem Bild: 01\_brain\_t1\_axial.png" in answer
    assert "Beschwerde: Kopfschmerz." in answer
    assert (ROOT / "runs" / "report.pdf").read_bytes().startswith(b"%PDF-")


BY_NAME = {"probabilities", "components", "z_scores", "overlap", "labels", "pfirrmann", "checks", "timing_ms", "models"}


def keys(value: object) -> Iterator[str]:
    """Every key of a report's JSON, but not the names of classes, maps, stages and models."""
    if isinstance(value, list):
        for item in value:
            yield from keys(item)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from keys(list(inner.values()) if name in BY_NAME else inner)


def test_schema_names_every_key_of_the_json_and_no_other():
    pipeline, report = FakePipeline(), outlined("glioma", 30)
    scan = pipeline.read(scan_png("glioma"))
    explained = replace(report, spine=discs(1), explanation=pipeline.explain(scan, report))
    turned = replace(explained, orientation=Orientation(90, 0.99, 0.9))
    full = replace(turned, explanation=pipeline.check(scan, report, explained.explanation)).to_dict()
    full["rejection"] = Report("x", Rejection("gate", "not_mri", "No MRI.")).to_dict()["rejection"]
    text = re.search(r"<!-- schema -->\n```\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)[1]
    told = set(re.findall(r"\w+", re.sub(r'"\w+"|\(\w+ only\)', "", text)))
    kinds = "null text label name p z value map share stage ms sha256 grade mm2 least most top left bottom right"
    assert set(keys(full)) <= told
    assert told - set(keys(full)) <= set(kinds.split())


def test_tables_are_the_metrics(metrics):
    assert check_readme(README, "stages", tables(metrics["stages"]))
    assert check_readme(README, "speed", benchmark.render(json.loads((WEIGHTS / "benchmark.json").read_text())))


def test_cards_show_the_same_metrics(metrics):
    for name, stage in metrics["stages"].items():
        assert check_readme(WEIGHTS / name / "README.md", name, tables({name: stage}))


def test_anomaly_table_is_the_metrics_in_readme_and_card(metrics):
    for path in (README, WEIGHTS / "anomaly" / "README.md"):
        assert check_readme(path, "anomaly", anomaly.table(metrics["anomaly"]))


def test_explanations_are_those_of_these_weights_and_shown(metrics):
    if explanations.NAME not in metrics:
        pytest.skip("not measured yet: python -m mri_models evaluate --only explanations")
    found, folder = metrics[explanations.NAME], WEIGHTS / "diagnosis" / "brain"
    assert found["model"] == verify(folder)
    assert check_readme(README, explanations.NAME, explanations.table(found))
    assert json.loads((folder / "config.json").read_text())["mri"]["explanation_study"] == found["failed"]


def test_unseen_collections_are_shown_as_measured_with_the_recipe_as_it_stands(metrics):
    if not (WEIGHTS / "unseen.json").is_file():
        pytest.skip("not measured yet: python -m mri_models unseen --write")
    measured = json.loads((WEIGHTS / "unseen.json").read_text(encoding="utf-8"))
    recipe = load_recipe("unseen")
    assert measured["recipe"] == {"images": recipe.images, "size": recipe.size, "changes": []}
    assert measured["split_hash"] == metrics["split_hash"]
    assert check_readme(README, "unseen", unseen.render(measured))


def test_metrics_were_measured_on_these_weights(metrics):
    assert metrics["split"] == "test"
    assert metrics["models"] == {name: verify(folder) for name, folder in model_folders(WEIGHTS).items()}


def test_drift_was_measured_on_these_weights_and_is_shown():
    measured = json.loads((WEIGHTS / "drift" / "detection.json").read_text(encoding="utf-8"))
    idle = volumetric.NAME  # outlines volumes, so it changes nothing that is watched
    folders = {name: folder for name, folder in model_folders(WEIGHTS).items() if name != idle}
    assert measured["models"] == {name: verify(folder) for name, folder in folders.items()}
    assert check_readme(README, "drift", experiment.render(measured))


def test_weights_stay_below_their_limit():
    assert sum(p.stat().st_size for p in WEIGHTS.rglob("*") if p.is_file()) < 200e6


def test_front_matter_fits_the_requirements():
    version = re.search(r"sdk_version: (\S+)", README.read_text(encoding="utf-8"))[1]
    lowest = re.search(r"gradio>=([\d.]+)", (ROOT / "requirements.txt").read_text())[1]
    assert version.startswith(lowest)


def test_one_command_makes_every_table_again():
    blocks = set(re.findall(r"<!-- results:(\w+) -->", README.read_text(encoding="utf-8")))
    assert blocks == {table for tables in EVERYTHING.values() for table in tables}
    leaky = json.loads((WEIGHTS / "baselines.json").read_text(encoding="utf-8"))["results"]["slices"]
    assert set(leaky) == set(LEAKY)


@pytest.mark.parametrize("fails", [None, 2])
def test_measure_runs_all_its_commands_until_one_fails(monkeypatch, fails):
    known, ran = command._parser(), []

    def run(arguments, **options):
        known.parse_args(arguments[3:])  # after `python -m mri_models`; ends the test where it is no command
        ran.append(arguments)
        return subprocess.CompletedProcess(arguments, returncode=int(len(ran) == fails))

    monkeypatch.setattr(subprocess, "run", run)
    assert command.main(["measure", "--data", "elsewhere"]) == int(fails is not None)
    assert len(ran) == (fails or len(EVERYTHING))
    assert [arguments[-1] == "elsewhere" for arguments in ran] == ["benchmark" not in arguments for arguments in ran]
