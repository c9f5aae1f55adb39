"""Tables show what the JSON holds, and the README's section is replaced and nothing else."""

from __future__ import annotations

import pytest

from mri_models.evaluation.tables import check_readme, render, update_readme

METRICS = {
    "classes": ["mri", "not_mri"],
    "images": 1200,
    "patients": 310,
    "balanced_accuracy": {"value": 0.9531, "low": 0.9312, "high": 0.9688},
    "patient_balanced_accuracy": {"value": 0.96, "low": 0.94, "high": 0.98},
    "auroc": {"value": 0.999, "low": 0.99, "high": 1.0},
    "ece": {"value": 0.0123, "low": 0.01, "high": 0.02},
    "ece_by_chance": {"value": 0.008, "low": None, "high": None},
    "coverage": {"value": 0.9, "low": 0.88, "high": 0.92},
    "accuracy_accepted": {"value": 0.98, "low": 0.97, "high": 0.99},
    "recall": {"mri": {"value": 0.95, "low": 0.9, "high": 1.0}, "not_mri": {"value": 0.5, "low": 0.4, "high": 0.6}},
    "confusion": [[570, 30], [300, 300]],
}
SINGLE = METRICS | {
    "balanced_accuracy": None,
    "patient_balanced_accuracy": None,
    "auroc": None,
    "patients": 1,
    "recall": {"mri": {"value": 0.75, "low": None, "high": None}},
}


def test_value_and_interval_stand_in_their_row():
    text = render({"gate": {"overall": METRICS, "sources": {"ixi": SINGLE}}})
    rows = {line.split(" | ")[0].strip("| "): line for line in text.splitlines() if line.startswith("|")}

    assert text.startswith("### gate\n")
    assert rows["**all**"].startswith("| **all** | 1200 | 310 | 0.953 [0.93, 0.97] | ")
    assert rows["ixi"].startswith("| ixi | 1200 | 1 | mri 0.750 | – | – | 0.012 [0.01, 0.02] | 0.008 | ")
    assert rows["not_mri"] == "| not_mri | 0.500 [0.40, 0.60] | 300 | 300 |"


def test_a_stage_without_the_corpus_own_mistakes_is_a_sentence_beside_it():
    stage = {"overall": METRICS, "sources": {"ixi": SINGLE}}
    right = stage | {"put_right": {"images": 3, "overall": METRICS | {"auroc": {"value": 1, "low": 0.9, "high": 1}}}}
    added = render({"gate": right}).replace(render({"gate": stage}).split("\n\n")[0], "")
    assert "put right" not in render({"gate": stage})
    assert "Of these images 3 are not what the corpus says they are" in added
    assert "AUROC 1.000 [0.90, 1.00]" in added


def test_every_row_has_the_columns_of_its_header():
    text = render({"gate": {"overall": METRICS, "sources": {"ixi": SINGLE}}})
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]

    assert [len({row.count("|") for row in table}) for table in tables] == [1, 1, 1]


def test_readme_section_is_replaced_and_then_agrees(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(
        "# Ours\n<!-- results:gate -->\nold\n<!-- /results:gate -->\n\n<!-- results:b --><!-- /results:b -->\n"
    )
    assert not check_readme(readme, "gate", "new")

    update_readme(readme, "gate", "new\n")

    assert check_readme(readme, "gate", "new")
    assert not check_readme(readme, "gate", "newer")
    expected = "# Ours\n<!-- results:gate -->\nnew\n<!-- /results:gate -->\n\n<!-- results:b --><!-- /results:b -->\n"
    assert readme.read_text() == expected


@pytest.mark.parametrize(
    "text", ["nothing", "<!-- results:gate --> never closed", "<!-- /results:gate --><!-- results:gate -->"]
)
def test_readme_without_markers_is_left_alone_and_named(tmp_path, text):
    readme = tmp_path / "README.md"
    readme.write_text(text)

    with pytest.raises(ValueError, match=r"README.md has no <!-- results:gate -->"):
        update_readme(readme, "gate", "new")
    assert readme.read_text() == text
