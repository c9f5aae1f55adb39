"""The values between the stages: checked once, frozen, plain in JSON, and fit to travel between processes."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest

from mri_models.report import complete, disagreement, refusal
from mri_models.types import DISCLAIMER, Mask, Prediction, Rejection, Report, Scan

PIXELS = np.full((70, 80), 0.5, np.float32)


def prediction(label: str = "glioma", confidence: float = 0.9, ood: float = 0.2) -> Prediction:
    accepted = confidence >= 0.8 and ood <= 0.99
    return Prediction(label, confidence, 0.8, {label: confidence, "rest": 1 - confidence}, ood, 0.99, accepted)


@pytest.mark.parametrize(
    "pixels",
    [PIXELS[None], PIXELS.astype(np.float64), PIXELS * np.nan, PIXELS * 3, PIXELS[:0]],
    ids=["3d", "double", "nan", "range", "empty"],
)
def test_scan_checks_its_pixels(pixels):
    with pytest.raises(ValueError, match="pixels must be"):
        Scan(pixels)


def test_scan_can_not_be_written_to():
    scan = Scan(PIXELS.copy())
    with pytest.raises(ValueError, match="read-only"):
        scan.pixels[0, 0] = 1


def test_report_survives_pickling():
    report = Report("x", gate=prediction("mri"), findings=("a",))
    assert pickle.loads(pickle.dumps(report)).to_dict() == report.to_dict()


def test_rejection_knows_its_stages():
    with pytest.raises(ValueError, match="stage must be one of"):
        Rejection("nowhere", "x", "y")


def test_refused_report_is_plain_json_with_disclaimer():
    data = Report("x", Rejection("gate", "not_mri", "No MRI.")).to_dict()
    assert json.loads(json.dumps(data)) == data
    assert (data["status"], data["disclaimer"]) == ("rejected", DISCLAIMER)


@pytest.mark.parametrize(
    ("stage", "found", "modality", "code"),
    [
        ("gate", prediction("mri"), "CT", "header_modality"),
        ("gate", prediction("not_mri"), None, "not_mri"),
        ("gate", prediction("not_mri", 0.55), None, "uncertain"),
        ("gate", prediction("not_mri", ood=1.0), None, "not_mri"),
        ("gate", prediction("not_mri", 0.55, ood=1.0), None, "uncertain"),
        ("gate", prediction("mri", 0.7), None, "uncertain"),
        ("gate", prediction("mri", 0.99, ood=1.0), "MR", "unfamiliar"),
        ("gate", prediction("mri", 0.99), "MR", None),
        ("body_part", prediction("other"), None, "unsupported_body_part"),
        ("body_part", prediction("other", 0.7), None, "uncertain"),
        ("body_part", prediction("other", 0.9, ood=1.0), None, "unsupported_body_part"),
        ("body_part", prediction("knee"), None, None),
        ("diagnosis", None, None, "no_model"),
        ("diagnosis", prediction("glioma", 0.7), None, "uncertain"),
        ("diagnosis", prediction("glioma", 0.9, ood=1.0), None, "unfamiliar"),
        ("diagnosis", prediction("glioma"), None, None),
    ],
)
def test_every_rule_of_refusal(stage, found, modality, code):
    part = prediction("knee") if stage == "diagnosis" else None
    reason = refusal(stage, found, Scan(PIXELS.copy(), modality=modality), part)
    assert (reason and reason.code) == code


def outline(pixels: int, label: str = "tumour") -> Mask:
    values = np.zeros((20, 20), np.uint8)
    values.flat[:pixels] = 1
    return Mask(values, values.astype(np.float32), (label,), 0.9 if pixels else 0.12, 0.3, None)


@pytest.mark.parametrize(
    ("pattern", "mask", "disagree"),
    [
        (prediction("glioma"), outline(0), True),
        (prediction("pituitary"), outline(0), True),
        (prediction("glioma"), outline(30), False),
        (prediction("glioma"), None, False),  # weights without a network that outlines
        (prediction("glioma", 0.7), outline(0), False),  # refused before
        (prediction("no_tumor"), outline(0), False),
        (prediction("no_acl_tear_seen"), outline(0, "acl_tear"), False),
        (None, outline(0), False),
    ],
)
def test_a_tumour_pattern_needs_an_outline(pattern, mask, disagree):
    reason = disagreement(pattern, mask)
    assert (reason is not None) == disagree
    if reason:
        assert (reason.stage, reason.code) == ("diagnosis", "networks_disagree")
        assert "peak 0.12, asked 0.30" in reason.message


def test_a_model_below_its_bar_never_answers():
    weak = Prediction("severe", 0.99, 1.01, {"severe": 0.99, "low": 0.01}, 0.2, 0.99, accepted=False)
    reason = refusal("diagnosis", weak, Scan(PIXELS.copy()), prediction("spine"))
    assert reason.code == "no_model"
    assert "spine model has not passed its bar" in reason.message


def test_findings_follow_the_stages():
    report = complete(Report("x", gate=prediction("mri"), body_part=prediction("brain"), diagnosis=prediction()))
    assert [line.split()[0] for line in report.findings] == ["The", "It", "It"]
    assert "glioma pattern" in report.findings[2]


def test_no_finding_claims_a_diagnosis_or_certainty():
    for label in ("glioma", "no_tumor", "other_abnormality", "low", "severe"):
        report = complete(Report("x", gate=prediction("mri", 0.9999), diagnosis=prediction(label, 0.9999)))
        text = " ".join(report.findings).lower()
        assert "diagnos" not in text
        assert "detected" not in text
        assert "1.00" not in text
