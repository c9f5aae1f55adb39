"""Explanations: values that can be worked out by hand, a tiny network of random weights, what checks and tiles say."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import timm
import torch
from captum.attr import IntegratedGradients
from fakes import FakePipeline, scan_png
from scipy.ndimage import gaussian_filter

from mri_models.__main__ import main
from mri_models.calibration import Calibration
from mri_models.classify import Classifier
from mri_models.errors import WeightsError
from mri_models.explain import METHODS, attribute, checked, network, on_grid, overlay, shrunk
from mri_models.explain.cells import cells, content, rank_correlation, top_overlap
from mri_models.explain.consensus import BLUR, FLOOR
from mri_models.explain.curves import GRID, SHARES, area, measure_curves, order_of, random_orders
from mri_models.explain.integrated import MOST
from mri_models.explain.network import blurred, log_odds
from mri_models.explain.owen import owen_values
from mri_models.explain.randomise import HEAD, randomised
from mri_models.intake import read_scan
from mri_models.page import maps, trust
from mri_models.page.shown import Reader
from mri_models.preprocess import InputSpec, to_tensor
from mri_models.training.corpus import Sample
from mri_models.training.export import unfitted
from mri_models.training.scale import attribution_scale
from mri_models.types import Attribution, Check, Scan

LABELS = ("glioma", "meningioma", "no_tumor")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    torch.manual_seed(0)
    network = timm.create_model("test_efficientnet", num_classes=3)
    network.classifier.weight.data[0].abs_()  # so that there is evidence for a glioma
    calibration = Calibration(1.0, dict.fromkeys(LABELS, 0.6), 1.0, True, dict.fromkeys(METHODS, 0.1))
    spec = InputSpec(64, (0.5,) * 3, (0.5,) * 3)
    return Classifier(network, LABELS, spec, calibration, unfitted(network.num_features), digest="ab")


@pytest.fixture(scope="module")
def scan() -> Scan:
    return FakePipeline().read(scan_png("glioma", 96))


def attribution(values: np.ndarray, method: str = "shap", **details: object) -> Attribution:
    return Attribution(values.astype(np.float32), method, "glioma", 1.0, **details)


def game(worth: np.ndarray, together: float = 0.0):
    """Each cell has a worth; the first and the last are worth `together` more when both are there."""

    def scores(masks: np.ndarray) -> np.ndarray:
        both = masks[:, 0, 0] & masks[:, -1, -1]
        return (masks * worth).sum((1, 2)) + together * both

    return scores


def test_owen_values_of_independent_cells_are_their_worth():
    worth = np.arange(16.0).reshape(4, 4) - 5

    values = owen_values(game(worth), np.ones((4, 4)), 1000, np.random.default_rng(0))

    np.testing.assert_allclose(values, worth, atol=1e-9)


def test_owen_values_share_what_two_cells_are_worth_together():
    values = owen_values(game(np.zeros((2, 2)), together=1.0), np.ones((2, 2)), 1000, np.random.default_rng(0))

    np.testing.assert_allclose(values, [[0.5, 0], [0, 0.5]], atol=1e-9)


@pytest.mark.parametrize("evaluations", [2, 7, 40])
def test_owen_values_add_up_however_early_they_stop(evaluations):
    asked = []
    worth = np.random.default_rng(1).normal(size=(8, 8))

    def counted(masks: np.ndarray) -> np.ndarray:
        asked.append(len(masks))
        return game(worth, together=3.0)(masks)

    values = owen_values(counted, np.abs(worth), evaluations, np.random.default_rng(0))

    assert values.sum() == pytest.approx(worth.sum() + 3)
    assert sum(asked) <= evaluations


def test_rank_correlation_knows_order_ties_and_constants():
    values = np.array([0.0, 0.0, 1.0, 5.0, 9.0])

    assert rank_correlation(values, values**3) == pytest.approx(1)
    assert rank_correlation(values, -values) == pytest.approx(-1)
    assert rank_correlation(values, np.ones(5)) == 0


def test_top_overlap_counts_the_strongest_cells():
    values = np.arange(20.0)

    assert top_overlap(values, values + 3) == 1
    assert top_overlap(values, -values) == 0


def test_cells_keep_the_place_of_a_map_on_a_wide_scan():
    values = np.zeros((40, 80))
    values[:20, 60:] = 1  # the upper right corner of a scan that fills the middle half of the square

    found = cells(attribution(values), 8)

    assert found[2:4, 6:].min() > 0.9
    assert found[[0, 1, 6, 7]].max() == 0
    assert found.sum() == pytest.approx(4, abs=0.6)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_a_map_on_the_scan(classifier, scan, method):
    found = attribute(classifier, scan, "glioma", method)

    assert (found.values.shape, found.method, found.scale) == (scan.shape, method, 0.1)
    assert np.abs(found.values).max() > 0
    assert found.took_ms > 0
    assert (found.completeness_gap is not None) == (method in ("integrated_gradients", "shap"))
    assert [check.name for check in found.checks] == (["completeness"] if found.completeness_gap is not None else [])


def test_log_odds_are_those_of_the_score_shown(classifier, scan):
    image = to_tensor(scan, classifier.spec)
    tempered = copy.copy(classifier)
    tempered.calibration = dataclasses.replace(classifier.calibration, temperature=2.0)
    with torch.inference_mode():
        shares = (classifier.network(image) / 2.0).softmax(1)
        torch.testing.assert_close(log_odds(tempered, image), torch.logit(shares), atol=1e-4, rtol=1e-4)


class Shifted(torch.nn.Module):
    """A network all of whose logits move together with the image's brightness, which no softmax can see."""

    def __init__(self, network: torch.nn.Module):
        super().__init__()
        self.network = network

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.network(batch) + 50 * batch.mean((1, 2, 3))[:, None]


@pytest.mark.parametrize("method", ["integrated_gradients", "shap", "occlusion"])
def test_what_all_classes_share_explains_none(classifier, scan, method, monkeypatch):
    other = copy.copy(classifier)
    other.network = Shifted(classifier.network)
    monkeypatch.setattr(network, "quick", lambda device: False)  # in full precision
    plain, shifted = (attribute(one, scan, "glioma", method).values for one in (classifier, other))
    np.testing.assert_allclose(shifted, plain, atol=0.02 * np.abs(plain).max())


class Steep(torch.nn.Module):
    """Its class turns up within a fiftieth of the way from the blurred image to the image."""

    def __init__(self, start: torch.Tensor, end: torch.Tensor, place: float):
        super().__init__()
        self.start = torch.nn.Parameter(start)
        self.along, self.place = (end - start) / ((end - start) ** 2).sum(), place

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        way = ((batch - self.start) * self.along).sum((1, 2, 3))
        score = 6 * torch.tanh(50 * (way - self.place))
        return torch.stack([score, torch.zeros_like(score)], 1)


@pytest.mark.parametrize("place", [0.1, 0.45, 0.8])
def test_steps_go_where_the_score_bends(classifier, scan, place):
    image = to_tensor(scan, classifier.spec)
    other = copy.copy(classifier)
    other.network, other.labels = Steep(blurred(image), image, place), LABELS[:2]
    found = attribute(other, scan, "glioma", "integrated_gradients")
    even = IntegratedGradients(lambda batch: log_odds(other, batch))
    signed = even.attribute(image, blurred(image), target=0, n_steps=found.steps, method="gausslegendre")
    assert found.steps <= MOST[False]
    assert found.completeness_gap < 0.12
    assert found.completeness_gap < abs(float(signed.sum()) - 12) / 12


def test_the_consensus_keeps_evidence_where_grad_cam_sees_some_and_all_that_speaks_against(classifier, scan):
    found, fine, coarse = (
        attribute(classifier, scan, "glioma", method).values for method in ("consensus", "shap", "grad_cam")
    )
    soft = gaussian_filter(fine, BLUR * max(scan.shape))
    against = soft <= 0

    assert against.any()
    assert (soft > 0).any()
    np.testing.assert_allclose(found[against], soft[against])
    shares = found[~against] / soft[~against]
    least = FLOOR / (1 + FLOOR)
    assert shares.min() >= least - 1e-6
    assert shares.max() <= 1 + 1e-6
    blind = coarse[~against] == 0
    np.testing.assert_allclose(shares[blind], least, rtol=1e-4)


def test_regions_account_for_the_whole_score(classifier, scan, monkeypatch):
    monkeypatch.setattr(network, "quick", lambda device: False)  # in full precision
    assert attribute(classifier, scan, "glioma", "shap").completeness_gap < 0.01


def test_weights_without_a_scale_name_the_way_out(classifier, scan):
    other = Classifier(classifier.network, LABELS, classifier.spec, classifier.calibration, classifier.ood, "ab")
    other.calibration = dataclasses.replace(classifier.calibration, attribution_scale={"grad_cam": 1.0})

    with pytest.raises(WeightsError, match="python -m mri_models scale"):
        attribute(other, scan, "glioma", "layer_cam")


def test_the_scale_is_what_few_places_of_validation_images_reach(classifier, tmp_path):
    path = tmp_path / "scan.png"
    path.write_bytes(scan_png("glioma", 96))
    sample = Sample(path, None, "p", "s", "val", "mri", "brain", {}, "")
    scan = read_scan(path)
    values = attribute(classifier, scan, classifier(scan).label, "layer_cam").values

    scale = attribution_scale(classifier, [sample], ["layer_cam"])["layer_cam"]

    assert scale == pytest.approx(np.percentile(values, 99.5), rel=1e-3)


def test_an_unknown_method_is_wrong_usage(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["analyze", "--method", "guess", "scan.png"])

    assert caught.value.code == 2
    assert "--method must be one of integrated_gradients, grad_cam" in capsys.readouterr().err


def test_randomising_changes_a_copy_and_only_from_the_last_layer_on(classifier):
    head, everything = randomised(classifier, HEAD), randomised(classifier, 1.0)
    first = "conv_stem.weight"
    before, after, all_after = (c.network.state_dict() for c in (classifier, head, everything))

    assert not before["classifier.weight"].equal(after["classifier.weight"])
    assert before[first].equal(after[first])
    assert not before[first].equal(all_after[first])
    assert before[first].flatten().sort().values.equal(all_after[first].flatten().sort().values)


def test_the_strongest_cells_go_first_and_only_cells_with_content(scan):
    values = np.zeros(scan.shape)
    values[40:46, 60:66] = 1

    order = order_of(attribution(values), scan)

    assert set(order) == set(np.flatnonzero(content(scan, GRID)))
    assert divmod(order[0], GRID) in [(7, 10), (7, 11), (6, 10)]
    assert set(random_orders(scan, 1)[0]) == set(order)


def test_curves_run_between_the_same_ends(classifier, scan):
    orders = random_orders(scan, 2)

    curves = measure_curves(classifier, scan, "glioma", orders, insertion=True)

    assert curves.deletion.shape == (2, len(SHARES))
    np.testing.assert_allclose(curves.deletion[:, 0], curves.insertion[:, -1])
    np.testing.assert_allclose(curves.deletion[:, -1], curves.insertion[:, 0])
    assert area(np.ones(len(SHARES))) == pytest.approx(1)


def test_a_map_gets_its_checks(classifier, scan):
    names = [
        check.name for check in checked(classifier, scan, attribute(classifier, scan, "glioma", "grad_cam")).checks
    ]

    assert names == ["deletion", "random_head"]


@pytest.mark.parametrize(
    ("details", "state"),
    [
        ({"checks": (Check("completeness", 0.01, 0.05, True),)}, "waiting"),
        ({"checks": (Check("deletion", 0.2, 0.5, True),), "failed_study": ()}, "passed"),
        ({"checks": (Check("deletion", 0.6, 0.5, False),), "failed_study": ()}, "doubt"),
        ({"checks": (Check("deletion", 0.2, 0.5, True),), "failed_study": ("random_weights",)}, "failed"),
    ],
)
def test_the_badge_says_what_the_checks_say(details, state):
    found = attribution(np.ones((4, 4)), **details)

    assert trust.state(found) == state
    assert trust.BADGES[state] in trust.badge(found)


def test_what_a_method_fails_on_test_patients_stands_beside_its_picture():
    found = attribution(np.ones((4, 4)), failed_study=("random_weights", "location"))

    assert "On test patients this method fails: random weights, pointing at the tumour." in trust.reasons(found)


def test_tiles_stand_in_one_order_with_scale_time_and_agreement():
    pipeline = FakePipeline()
    shown = pipeline.read(scan_png("glioma"))
    report = pipeline.verdict(shown)
    found = [pipeline.explain(shown, report, method) for method in ("shap", "grad_cam")]

    html = maps.panel(shown, found, busy="occlusion")

    assert html.index('data-method="grad_cam"') < html.index('data-method="shap"') < html.index("Working out")
    assert "Full colour at ±1, the same for every image · 0.1 s" in html
    assert html.count("<img") == 3  # the image itself first
    assert 'alt=""' not in html
    assert "rank correlation of 1.00" in html


def test_the_reader_keeps_small_maps_and_takes_them_up_again(tmp_path):
    path = tmp_path / "large.png"
    path.write_bytes(scan_png("glioma", 700))
    pipeline, asked = FakePipeline(), []
    explain = pipeline.explain
    pipeline.explain = lambda scan, report, method: asked.append(method) or explain(scan, report, method)
    reader = Reader(pipeline)
    seen = reader.look(path)

    seen = reader.explain(reader.explain(reader.explain(seen, "shap"), "grad_cam"), "shap")

    assert asked == ["shap", "grad_cam"]
    assert [found.values.shape for found in seen.maps] == [(512, 512)] * 2
    assert (seen.report.explanation.method, seen.report.explanation.values.shape) == ("shap", (700, 700))
    assert seen.missing == ("integrated_gradients", "layer_cam", "consensus", "occlusion")


def test_the_reader_checks_every_map_and_the_shown_one(tmp_path):
    path = tmp_path / "scan.png"
    path.write_bytes(scan_png("glioma"))
    reader = Reader(FakePipeline())
    seen = reader.look(path)

    seen = reader.check(reader.explain(reader.explain(seen, "occlusion"), "grad_cam"))

    assert [trust.state(found) for found in seen.maps] == ["doubt", "passed"]
    assert seen.report.to_dict()["explanation"]["checks"]["deletion"]["passed"] is True


def test_a_smaller_scan_under_a_smaller_map_is_drawn_alike(scan):
    small = shrunk(scan, 48)
    found = on_grid(attribution(np.ones(scan.shape)), small.shape)

    assert overlay(small, found).size == (48, 48)
