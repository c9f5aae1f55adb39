"""The way of the data with the real networks: JSON contract, refusals, explanations."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from fakes import anomaly_of
from places import EXAMPLES

from mri_models import InputError, Pipeline, Scan, WeightsError
from mri_models.classify import Classifier
from mri_models.errors import FileRejected
from mri_models.explain import METHODS, overlay
from mri_models.localize import TUMOUR
from mri_models.types import DISCLAIMER, Prediction, Rejection, Report

pytestmark = pytest.mark.weights
BRAIN = EXAMPLES / "01_brain_t1_axial.png"
KEYS = [
    *("file", "schema", "status", "rejection", "orientation", "gate", "body_part", "diagnosis", "anomaly"),
    *("localization", "discs", "explanation", "findings", "warnings", "timing_ms", "models", "input_sha256"),
    "disclaimer",
]


def test_report_keeps_the_json_contract(pipeline):
    data = pipeline(BRAIN, explain=False).to_dict()

    assert list(data) == KEYS
    assert json.loads(json.dumps(data)) == data
    assert data["schema"] == "1.0"
    assert data["file"] == BRAIN.name
    assert data["disclaimer"] == DISCLAIMER
    assert set(data["gate"]) >= {"label", "confidence", "threshold", "probabilities", "ood_score", "accepted"}


def test_same_image_gives_the_same_answer_from_path_bytes_and_array(pipeline):
    scan = pipeline.read(BRAIN)

    answers = [pipeline(source, name="x", explain=False) for source in (BRAIN, BRAIN.read_bytes(), scan.pixels.copy())]

    assert len({answer.gate.confidence for answer in answers}) == 1


@pytest.mark.parametrize(
    ("data", "stage"),
    [(b"", "file"), (b"not an image", "file"), (BRAIN.read_bytes()[:900], "file"), (np.zeros((200, 200)), "quality")],
    ids=["empty", "text", "truncated", "blank"],
)
def test_bad_input_is_a_rejection_never_an_exception(pipeline, data, stage):
    report = pipeline(data)

    assert report.status == "rejected"
    assert report.rejection.stage == stage
    assert report.findings == (report.rejection.message,)


def test_read_raises_what_refuse_reports(pipeline):
    with pytest.raises(InputError) as caught:
        pipeline.read(b"")

    assert pipeline.refuse(caught.value, "x").rejection.code == caught.value.code


def test_dicom_header_of_another_modality_is_refused(pipeline):
    scan = pipeline.read(BRAIN)

    report = pipeline.verdict(Scan(scan.pixels, modality="CT"))

    assert (report.rejection.stage, report.rejection.code) == ("gate", "header_modality")


def test_accepted_never_means_less_than_sixty_percent(pipeline):
    for model in pipeline.models.values():
        assert min(model.calibration.thresholds.values()) >= 0.60


@pytest.mark.parametrize("method", METHODS)
def test_explanation_lies_on_the_scan(pipeline, method):
    scan = pipeline.read(BRAIN)
    report = pipeline.verdict(scan)
    if method not in pipeline.methods(report):
        pytest.skip(f"these weights have no colour scale for {method}: python -m mri_models scale")

    attribution = pipeline.explain(scan, report, method)

    assert attribution.values.shape == scan.shape
    assert np.abs(attribution.values).max() > 0
    assert overlay(scan, attribution).size == scan.shape[::-1]


def test_integrated_gradients_are_complete(pipeline):
    scan = pipeline.read(BRAIN)

    attribution = pipeline.explain(scan, pipeline.verdict(scan))

    assert attribution.completeness_gap < 0.1


def test_nothing_is_explained_when_nothing_was_accepted(pipeline):
    refused = pipeline.refuse(FileRejected("empty", "The file is empty."), "x")

    assert pipeline.explained(refused) is None
    with pytest.raises(ValueError, match="no stage accepted"):
        pipeline.explain(pipeline.read(BRAIN), refused)


def test_a_class_that_refuses_the_image_is_not_explained(pipeline):
    gate = Prediction("mri", 0.9, 0.8, {"mri": 0.9, "not_mri": 0.1}, 0.2, 0.98, True)
    ct = Prediction("not_mri", 0.9, 0.8, {"mri": 0.1, "not_mri": 0.9}, 0.2, 0.98, True)
    shoulder = Prediction("other", 0.9, 0.8, {"brain": 0.1, "other": 0.9}, 0.2, 0.98, True)

    assert pipeline.explained(Report("x", Rejection("gate", "not_mri", ""), ct)) is None
    assert pipeline.explained(Report("x", Rejection("body_part", "unsupported_body_part", ""), gate, shoulder)) == (
        "gate",
        "mri",
    )


def test_markdown_carries_findings_and_disclaimer(pipeline):
    report = pipeline(BRAIN, explain=False)

    text = report.to_markdown()

    assert all(finding in text for finding in report.findings)
    assert DISCLAIMER in text


class Unusual:
    """Stands in for the detector: every image is unusual."""

    digest = "ab" * 32

    def __call__(self, scan, seen=None):
        return anomaly_of(scan, 0.93)


def test_a_brain_gets_an_anomaly_in_every_form_of_the_report(pipeline):
    report = Pipeline(pipeline.models, anomaly=Unusual())(BRAIN, explain=False)

    assert report.to_dict()["anomaly"]["category"] == "anomalous"
    assert report.timing_ms["anomaly"] >= 0
    assert report.models["anomaly"] == Unusual.digest
    assert "higher than 92% of held-out normal brains" in report.findings[-1]
    assert "Anomaly score 0.93 (anomalous; borderline from 0.30" in report.to_markdown()


def test_a_brain_without_a_named_pattern_is_compared_with_normals_all_the_same(pipeline):
    models = {name: model for name, model in pipeline.models.items() if name != "diagnosis/brain"}

    report = Pipeline(models, anomaly=Unusual())(BRAIN, explain=False)

    assert report.rejection.code == "no_model"
    assert report.anomaly is not None


@pytest.mark.parametrize("name", ["10_shoulder_mri.png", "15_photo.jpg", "17_blank.png"])
def test_what_is_no_accepted_brain_gets_no_anomaly(pipeline, name):
    report = Pipeline(pipeline.models, anomaly=Unusual())(EXAMPLES / name, explain=False)

    assert report.anomaly is None
    assert report.to_dict()["anomaly"] is None


def test_a_pipeline_without_gate_is_refused():
    with pytest.raises(WeightsError, match="body_part"):
        Pipeline({})


def test_stages_of_one_trunk_share_one_look_and_answer_as_if_alone(pipeline, monkeypatch):
    scan = pipeline.read(BRAIN)
    alone = {name: pipeline.models[name](scan).confidence for name in ("gate", "body_part", "diagnosis/brain")}
    looks = []
    look = Classifier.look
    monkeypatch.setattr(Classifier, "look", lambda model, scan: looks.append(model) or look(model, scan))

    report = pipeline.verdict(scan)

    together = {"gate": report.gate, "body_part": report.body_part, "diagnosis/brain": report.diagnosis}
    assert {name: p.confidence for name, p in together.items()} == pytest.approx(alone)
    assert len(looks) == len({pipeline.models[name].features_key for name in alone})


def test_a_tumour_that_cannot_be_outlined_is_not_named(pipeline, monkeypatch):
    scan = pipeline.read(EXAMPLES / "07_simulated_meningioma.png")
    named = pipeline.verdict(scan)
    assert named.rejection is None
    assert named.localization.found
    empty = replace(named.localization, values=np.zeros_like(named.localization.values))
    monkeypatch.setattr(type(pipeline.outlines[TUMOUR]), "__call__", lambda segmenter, scan: empty)

    report = pipeline.verdict(scan)

    assert report.rejection.code == "networks_disagree"
    assert not report.diagnosis.accepted
    assert report.anomaly is not None
    assert pipeline.explained(report)[0] == "body_part"
    assert any("two networks disagree" in line for line in report.findings)
