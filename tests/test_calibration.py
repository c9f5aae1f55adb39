"""Temperature, distance and threshold recover what synthetic data were made with."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import softmax

from mri_models.evaluation.calibration import NEVER, accept_threshold, fit_mahalanobis, fit_temperature, risk_coverage
from mri_models.evaluation.collect import Outputs
from mri_models.ood import MahalanobisScore
from mri_models.training.export import label_thresholds
from mri_models.training.recipe import load_recipe
from mri_models.types import Prediction


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_temperature_is_the_one_the_logits_were_scaled_by(generator, true):
    logits = generator.normal(size=(8000, 4)) * 2
    labels = np.array([generator.choice(4, p=p) for p in softmax(logits, axis=1)])

    assert fit_temperature(logits * true, labels) == pytest.approx(true, rel=0.07)


def test_temperature_follows_the_weights_and_stays_in_bounds(generator):
    right, wrong = np.tile([[4.0, 0.0]], (100, 1)), np.tile([[4.0, 0.0]], (100, 1))
    logits, labels = np.concatenate([right, wrong]), np.repeat([0, 1], 100)

    assert fit_temperature(logits, labels, np.repeat([1.0, 0.0], 100)) == pytest.approx(0.25, abs=0.01)
    assert fit_temperature(logits, labels, np.repeat([0.0, 1.0], 100)) == pytest.approx(10, abs=0.05)


def features(generator: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Three classes in 40 dimensions that vary in the first six only."""
    labels = generator.integers(3, size=n)
    rows = 0.05 * generator.normal(size=(n, 40)) + 5
    rows[:, :6] += generator.normal(size=(n, 6)) + 4 * np.eye(6)[labels]
    return rows.astype(np.float32), labels


@pytest.fixture
def fitted(generator) -> MahalanobisScore:
    rows, labels = features(generator, 600)
    return fit_mahalanobis(rows, labels, features(generator, 300)[0], dims=8)


def test_unseen_images_of_the_same_kind_spread_evenly(generator, fitted):
    score = fitted.percentile(fitted.score(features(generator, 500)[0]))

    assert np.quantile(score, [0.25, 0.5, 0.75]) == pytest.approx([0.25, 0.5, 0.75], abs=0.09)


@pytest.mark.parametrize("axis", [0, 30])  # inside the main axes, and where training hardly varied
def test_strangers_lie_beyond_every_validation_image(generator, fitted, axis):
    rows, _ = features(generator, 50)
    rows[:, axis] -= 20

    assert (fitted.percentile(fitted.score(rows)) == 1).all()


def test_distance_is_mahalanobis_inside_the_axes_and_plain_outside(generator):
    rows, labels = features(generator, 5000)
    rows[:, 6:] = 0
    rows[:, 6] = generator.normal(size=5000) / 100  # the seventh axis is the only one left out
    fitted = fit_mahalanobis(rows, labels, rows, dims=6, normalised=False)
    means = np.stack([rows[labels == i].mean(axis=0) for i in range(3)])[:, :6]
    precision = np.linalg.inv(np.cov((rows[:, :6] - means[labels]).T))
    delta = rows[:, None, :6] - means
    inside = np.einsum("ncd,de,nce->nc", delta, precision, delta).min(axis=1) / 6
    outside = (rows[:, 6] - rows[:, 6].mean()) ** 2
    outside /= outside.mean()

    assert fitted.score(rows) ** 2 == pytest.approx(inside + outside, rel=0.1, abs=0.05)


def test_score_survives_single_precision(generator, fitted):
    rows, _ = features(generator, 100)
    stored = MahalanobisScore.from_arrays({**fitted.to_arrays(), "classifier.weight": rows})

    assert stored.score(rows) == pytest.approx(fitted.score(rows), rel=1e-3)
    assert bool(stored.normalised)


@pytest.mark.parametrize("quantiles", [[1.0, 0.5], [0.0, np.nan], [1.0]])
def test_quantiles_that_do_not_ascend_are_refused(fitted, quantiles):
    with pytest.raises(ValueError, match="ascending"):
        MahalanobisScore.from_arrays({**fitted.to_arrays(), "quantiles": np.array(quantiles)})


def test_quantiles_at_infinity_call_everything_familiar(fitted):
    far = MahalanobisScore.from_arrays({**fitted.to_arrays(), "quantiles": np.full(2, np.inf)})

    assert far.percentile(np.array([0.0, 1e9])).tolist() == [0, 0]


def test_features_of_another_network_are_refused(fitted):
    with pytest.raises(ValueError, match=r"must be \(N, 40\), got \(2, 41\)"):
        fitted.score(np.zeros((2, 41)))


def test_too_many_axes_are_refused(generator):
    rows, labels = features(generator, 100)
    with pytest.raises(ValueError, match="fewer dims"):
        fit_mahalanobis(rows, labels, rows, dims=40)


def test_scoring_imports_numpy_only():
    heavy = "{'sklearn', 'scipy', 'matplotlib', 'mri_models.evaluation'} & set(sys.modules)"
    code = f"import sys, mri_models.ood; sys.exit(bool({heavy}))"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_threshold_is_the_smallest_that_reaches_the_target():
    confidence = np.linspace(0.999, 0.7, 1000)
    correct = np.ones(1000, bool)
    correct[500::4] = False  # from the 500th on every fourth is wrong: 3 % of all at about 568

    threshold = accept_threshold(confidence, correct)

    accepted = confidence >= threshold
    assert correct[accepted].mean() >= 0.97
    assert correct[confidence >= threshold - 0.005].mean() < 0.97
    assert accepted.sum() == pytest.approx(568, abs=5)


def test_threshold_never_falls_below_the_floor():
    confidence = np.linspace(0.2, 0.95, 400)

    assert accept_threshold(confidence, np.ones(400, bool)) == 0.60


def test_threshold_of_a_model_that_cannot_reach_the_target_accepts_nothing():
    confidence = np.linspace(0.6, 1, 400)

    assert accept_threshold(confidence, np.arange(400) % 4 > 0) == NEVER > 1


def test_a_few_lucky_answers_set_no_threshold():
    confidence = np.linspace(0.6, 1, 400)
    correct = (np.arange(400) % 4 > 0) | (confidence > 0.985)  # only the last 15 are all right

    assert accept_threshold(confidence, correct) == NEVER
    assert accept_threshold(confidence, correct, least=10) < 1


def test_weights_move_the_threshold():
    confidence = np.repeat(np.linspace(0.99, 0.61, 200), 2)
    correct = np.tile([True, False], 200)  # pairs of equal confidence, one right and one wrong
    trust_right = np.tile([1.0, 0.01], 200)

    assert accept_threshold(confidence, correct) == NEVER
    assert accept_threshold(confidence, correct, trust_right) == 0.60


def test_risk_coverage_by_hand():
    curve = risk_coverage(np.array([0.9, 0.7, 0.8, 0.7]), np.array([True, False, True, True]))

    assert curve.thresholds.tolist() == [0.9, 0.8, 0.7]  # both images of 0.7 enter together
    assert curve.coverage.tolist() == [0.25, 0.5, 1.0]
    assert curve.risk.tolist() == [0, 0, 0.25]
    assert curve.effective.tolist() == [1, 2, 4]
    assert curve.area == pytest.approx(0.125)


class Told:
    """A classifier whose logits are its answers: column 0 the confidence in "a", column 1 how unfamiliar."""

    labels = ("a", "b")

    def decide(self, logits: np.ndarray, features: np.ndarray) -> list[Prediction]:
        return [
            Prediction("ab"[int(p < 0.5)], max(p, 1 - p), 0.6, {"a": p, "b": 1 - p}, far, 0.99, True)
            for p, far in logits.tolist()
        ]


@pytest.mark.parametrize("by_label", [False, True])
def test_an_intruder_that_is_refused_as_unfamiliar_raises_no_threshold(by_label):
    right = [(p, 0.5) for p in np.linspace(0.61, 0.99, 200)]
    intruders = [(0.95, 0.999)] * 40  # sure, wrong, and unlike anything seen
    recipe = replace(load_recipe("gate"), threshold_by_label=by_label, accept_accuracy=0.97)

    def thresholds(rows: list[tuple[float, float]], wrong: int) -> dict[str, float]:
        labels = np.array([0] * (len(rows) - wrong) + [1] * wrong)
        outputs = Outputs(np.array(rows), np.zeros((len(rows), 1)), labels, ())
        return label_thresholds(Told(), outputs, np.ones(len(rows)), recipe)

    assert thresholds([*right, *intruders], 40) == thresholds(right, 0)
    familiar = [(p, 0.5) for p, _ in intruders]
    assert thresholds([*right, *familiar], 40)["a"] > 0.95 > thresholds(right, 0)["a"]
