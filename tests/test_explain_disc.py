"""Why a disc has its grade: the map adds up to the served grade, stays inside its crop, and the pipeline serves it."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from places import EXAMPLES

from mri_models.discnet import DiscNet
from mri_models.discs import DiscGrader, GradeRule
from mri_models.errors import WeightsError
from mri_models.explain.disc import expected_grade, explain_disc
from mri_models.levels import Place, to_crop
from mri_models.page.shown import Reader
from mri_models.types import Scan, SpineGrading
from mri_models.types.discs import GRADES

SIZE, WIDE = (48, 64), 2.0
BOXES = [(250 - 38 * i, 90, 262 - 38 * i, 122) for i in range(5)]  # L5/S1 first
RULE = GradeRule(
    1.5, 0.6, 0.8, "median", ((1.0, 0.0),) * 3, 0.7, 1.0, dict.fromkeys(("low", "moderate", "severe"), 0.6)
)


@pytest.fixture(scope="module")
def grader() -> DiscGrader:
    torch.manual_seed(0)
    network = DiscNet("resnet10t", {"channels": [8, 8, 16, 16], "stem_width": 8}, 2)
    return DiscGrader(network, SIZE, WIDE, RULE, "ab", scale=0.01)


@pytest.fixture(scope="module")
def scan() -> Scan:
    return Scan(np.random.default_rng(0).random((300, 200), np.float32))


@pytest.fixture(scope="module")
def spine(grader: DiscGrader, scan: Scan) -> SpineGrading:
    return grader(scan, BOXES)


def test_the_score_that_is_explained_is_the_served_one(grader: DiscGrader, scan: Scan, spine: SpineGrading):
    crops = grader.crops(scan, [Place(disc.centre, disc.tilt, disc.spacing) for disc in spine.discs])
    for index, disc in enumerate(spine.discs):
        served = sum(g * p for g, p in zip(GRADES, disc.pfirrmann, strict=True))
        with torch.no_grad():
            score = float(expected_grade(grader, crops, index)(crops[index : index + 1]))
        assert score == pytest.approx(served, abs=1e-4)


def test_the_map_adds_up_and_stays_inside_the_worst_disc_s_crop(grader: DiscGrader, scan: Scan, spine: SpineGrading):
    found = explain_disc(grader, scan, spine)
    worst = spine.worst
    assert (found.method, found.target) == ("integrated_gradients", f"degeneration at {worst.level}")
    assert found.values.shape == scan.shape
    assert found.completeness_gap < 0.05
    assert found.checks[0].passed
    rows, columns = np.nonzero(found.values)
    affine = to_crop(Place(worst.centre, worst.tilt, worst.spacing), SIZE, WIDE)
    x, y = affine @ np.stack([columns, rows, np.ones_like(rows)])
    assert x.min() > -1.5
    assert x.max() < SIZE[1] + 0.5
    assert y.min() > -1.5
    assert y.max() < SIZE[0] + 0.5


def test_another_disc_can_be_asked_for(grader: DiscGrader, scan: Scan, spine: SpineGrading):
    other = next(disc for disc in spine.discs if disc is not spine.worst)
    assert explain_disc(grader, scan, spine, other).target.endswith(other.level)


def test_without_a_scale_it_says_what_to_do(grader: DiscGrader, scan: Scan, spine: SpineGrading):
    bare = DiscGrader(grader.network, SIZE, WIDE, RULE, "ab")
    with pytest.raises(WeightsError, match="mri_models scale"):
        explain_disc(bare, scan, spine)


@pytest.mark.weights
def test_a_spine_is_explained_by_its_worst_disc_whatever_method_is_chosen(pipeline):
    reader = Reader(pipeline)
    seen = reader.look(EXAMPLES / "08_simulated_spine.png")
    assert seen.methods == ("integrated_gradients",)
    seen = reader.check(reader.explain(seen, "shap"))
    found = seen.report.explanation
    assert (found.method, found.target) == ("integrated_gradients", f"degeneration at {seen.report.spine.worst.level}")
    assert seen.missing == ()


@pytest.mark.weights
def test_a_spine_whose_discs_nobody_counted_is_explained_as_before(pipeline):
    report = pipeline(EXAMPLES / "08_simulated_spine.png", explain=False)
    assert pipeline.explained(dataclasses.replace(report, spine=None))[0] == "body_part"
