"""The study of explanations: which slices, what counts as inside, when a method fails, what the table shows."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from mri_models.evaluation import explanations
from mri_models.evaluation.explanations import failures, inside_share, one_slice_each, over_patients, summarise, table
from mri_models.explain import METHODS
from mri_models.training.corpus import Sample
from mri_models.training.scale import write_config
from mri_models.types import Attribution

PASSES = {"gap": 0.02, "same_all": 0.1, "better": 0.97, "inside": 0.3, "pointing": 0.85}


def measured(**values: float) -> dict[str, dict[str, float]]:
    return {name: {"value": value} for name, value in (PASSES | values).items()}


def sample(folder, patient: str, number: int, side: int) -> Sample:
    mask = np.zeros((80, 80), np.uint8)
    mask[:side, :side] = 255
    path, outline = folder / f"{patient}_{number}.png", folder / f"{patient}_{number}_mask.png"
    Image.fromarray(np.tile(np.arange(80, dtype=np.uint8), (80, 1))).save(path)
    Image.fromarray(mask).save(outline)
    return Sample(path, outline, patient, "s", "test", "mri", "brain", {"brain": 0}, "")


def test_each_patient_gives_the_slice_of_median_outline(tmp_path):
    samples = [sample(tmp_path, "b", i, side) for i, side in enumerate((40, 10, 20))] + [sample(tmp_path, "a", 0, 5)]

    assert [s.path.name for s in one_slice_each(samples)] == ["a_0.png", "b_2.png"]


def test_only_evidence_for_the_class_counts_as_inside():
    values = np.array([[3, -9], [1, -9]], np.float32)
    near = np.array([[True, True], [False, False]])

    assert inside_share(Attribution(values, "shap", "glioma", 1.0), near) == pytest.approx(0.75)
    assert inside_share(Attribution(-np.abs(values), "shap", "glioma", 1.0), near) == 0


@pytest.mark.parametrize(
    ("values", "failed"),
    [
        ({}, []),
        ({"gap": 0.2}, ["completeness"]),
        ({"same_all": 0.7}, ["random_weights"]),
        ({"better": 0.9}, ["deletion"]),
        ({"pointing": 0.5}, ["location"]),
        ({"pointing": 0.5, "inside": 0.7}, []),
    ],
)
def test_a_method_fails_below_the_limits(values, failed):
    assert list(failures(measured(**values))) == failed


def test_gaps_are_medians_and_few_patients_have_no_interval():
    assert over_patients("gap", np.array([0.01, 0.02, 9.0])).value == pytest.approx(0.02)
    assert over_patients("inside", np.array([0.1, 0.2, 0.9])).low is None
    assert over_patients("inside", np.linspace(0, 1, 20)).low > 0


def test_images_without_a_value_are_left_out():
    assert summarise([{"inside": None}, {"inside": 0.5, "gap": None}]) == {
        "inside": {"value": 0.5, "low": None, "high": None}
    }


def test_the_table_has_a_row_a_method_and_names_what_fails():
    rows = {method: {"better": {"value": 0.9, "low": 0.8, "high": 1.0}} for method in (*METHODS, explanations.RANDOM)}
    failed = {method: ["deletion"] for method in METHODS} | {"shap": []}
    found = {"patients": 37, "randomised": 13, "sources": ["a", "b"], "methods": rows, "failed": failed}

    text = table(found)

    assert "| random | – | – |" in text
    assert "| grad_cam | deletion |" in text
    assert "| shap | nothing |" in text
    assert "37 test patients (a, b)" in text


def test_rows_measured_before_with_the_same_weights_are_kept(tmp_path):
    kept = tmp_path / "rows.jsonl"
    lines = [
        {"model": model, "image": "x.png", "methods": {"shap": {"gap": gap}}} for model, gap in (("new", 1), ("old", 2))
    ]
    kept.write_text("\n".join(map(json.dumps, lines)))

    assert explanations._known(kept, "new") == {"x.png": {"shap": {"gap": 1}}}


def test_a_configs_field_is_set_and_the_others_stay(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"b": 1, "mri": {"flip": True}}))

    write_config(tmp_path, explanation_study={"shap": []})

    assert json.loads((tmp_path / "config.json").read_text()) == {
        "b": 1,
        "mri": {"explanation_study": {"shap": []}, "flip": True},
    }
