"""Outlines: thresholds, the way back to the scan's grid, measures, and when one is asked for."""

import dataclasses

import numpy as np
import pytest
import tiny_outlines
import torch
from fakes import OUTCOMES, FakePipeline

from mri_models.contour import binary, drawn, layer
from mri_models.errors import WeightsError
from mri_models.evaluation.segmentation import by_patient, dice, foreseen_table, measure_outlines
from mri_models.localize import OutlineRule, Segmenter, likeliest, overlaps, peak, share_inside, within_peaks
from mri_models.page.outlined import panel
from mri_models.preprocess import InputSpec
from mri_models.types import Mask, Prediction, Report, Scan
from mri_models.unet import ResUNet

SPEC = InputSpec(64, (0.5,) * 3, (0.5,) * 3)
RULE = OutlineRule(0.4, 0.6, "brain", ("glioma", "pituitary"), 0.6)


def answer(label: str, shares: dict[str, float], *, accepted: bool = True, ood: float = 0.5) -> Prediction:
    return Prediction(label, shares[label], 0.6, shares, ood, 0.99, accepted)


def blob(height: float, side: int = 64, at: tuple[int, int] = (20, 40), radius: int = 6) -> np.ndarray:
    y, x = np.mgrid[:side, :side]
    return np.where(np.hypot(y - at[0], x - at[1]) <= radius, height, 0.02).astype(np.float32)


def segmenter(labels: tuple[str, ...] = ("tumour",)) -> Segmenter:
    network = ResUNet("resnet10t", labels, widths=(16, 16, 8, 8))
    return Segmenter(network, labels, SPEC, RULE, "digest")


@pytest.fixture(scope="module")
def one() -> Segmenter:
    return segmenter()


def test_a_patch_needs_a_peak():
    faint, strong = blob(0.5, at=(50, 12)), blob(0.9)
    kept = within_peaks(np.maximum(faint, strong), 0.4, 0.6)
    assert kept[20, 40]
    assert not kept[50, 12]


def test_a_crumb_beside_a_large_patch_is_dropped():
    both = np.maximum(blob(0.9, radius=12), blob(0.9, at=(50, 12), radius=1))
    assert within_peaks(both, 0.4, 0.6)[50, 12]
    kept = within_peaks(both, 0.4, 0.6, crumb=0.02)
    assert kept[20, 40]
    assert not kept[50, 12]


def test_peak_ignores_a_single_pixel():
    assert peak(blob(0.9)) == pytest.approx(0.9)
    speck = np.zeros((64, 64), np.float32)
    speck[3, 3] = 1
    assert peak(speck) < 0.3


def test_the_outline_lies_where_the_canvas_says(one):
    scan = Scan(np.zeros((96, 192), np.float32), spacing_mm=(0.5, 2.0))
    foreground = blob(0.9, at=(32, 40))  # canvas 64: the scan covers its rows 16 to 48
    mask = one.draw(np.stack([1 - foreground, foreground]), scan)
    rows, columns = np.nonzero(mask.values)
    assert (rows.mean(), columns.mean()) == (pytest.approx(48, abs=1), pytest.approx(121, abs=1))
    assert mask.area_px("tumour") == pytest.approx(np.pi * 6**2 * 9, rel=0.1)
    assert mask.area_mm2("tumour") == pytest.approx(mask.area_px("tumour") * 1.0)


def test_nothing_is_outlined_under_the_peak(one):
    scan = Scan(np.zeros((64, 64), np.float32))
    mask = one.draw(np.stack([1 - blob(0.55), blob(0.55)]), scan)
    assert not mask.found
    assert not mask.values.any()
    assert mask.to_dict()["box"] is None
    assert mask.to_dict()["area_mm2"] is None


def test_labels_take_what_is_likeliest():
    shares = np.stack([blob(0.5, at=(20, 20)), blob(0.9, at=(20, 20), radius=3)])
    values = likeliest(shares, (64, 64))
    assert values[20, 20] == 2
    assert values[20, 25] == 1


def test_a_network_answers_alike_for_an_image_and_its_mirror(one):
    pixels = np.random.default_rng(0).random((64, 64), np.float32)
    straight, mirrored = one.masks([Scan(pixels), Scan(pixels[:, ::-1].copy())])
    np.testing.assert_allclose(straight.probability, mirrored.probability[:, ::-1], atol=1e-5)


@pytest.mark.parametrize(
    ("part", "pattern", "wanted"),
    [
        (answer("brain", {"brain": 0.9}), answer("glioma", {"glioma": 0.4, "pituitary": 0.3, "no_tumor": 0.3}), True),
        (answer("brain", {"brain": 0.9}), answer("no_tumor", {"glioma": 0.2, "no_tumor": 0.8}), False),
        (answer("brain", {"brain": 0.9}), answer("glioma", {"glioma": 0.9}, ood=0.999), False),
        (answer("brain", {"brain": 0.5}, accepted=False), answer("glioma", {"glioma": 0.9}), False),
        (answer("knee", {"knee": 0.9}), None, False),
        (None, None, False),
    ],
)
def test_when_an_outline_is_asked_for(part, pattern, wanted):
    assert RULE.applies(part, pattern) is wanted


def test_a_part_without_patterns_is_always_outlined():
    rule = OutlineRule(0.5, 0.5, "spine", (), 0.0)
    assert rule.applies(answer("spine", {"spine": 0.9}), None)


def test_a_folder_comes_back_as_it_went(tmp_path):
    loaded = Segmenter.load(tiny_outlines.write(tmp_path))
    assert loaded.labels == ("tumour",)
    assert loaded.rule == OutlineRule(0.45, 0.7, "brain", ("glioma",), 0.6)
    with pytest.raises(WeightsError, match="version 99"):
        Segmenter.load(tiny_outlines.write(tmp_path, version=99))


def test_log_odds_are_those_of_anything_but_background():
    both = segmenter(("disc", "vertebra"))
    batch = torch.rand(2, 3, 64, 64)
    background = both.runner(batch)[0].softmax(1)[:, 0].numpy()
    np.testing.assert_allclose(both.log_odds(batch), np.log((1 - background) / background), rtol=1e-3, atol=1e-4)


def test_what_lies_inside():
    values = np.array([[1.0, -5.0], [3.0, 0.0]], np.float32)
    assert share_inside(values, np.array([[True, True], [False, False]])) == pytest.approx(0.25)
    assert share_inside(-np.ones((2, 2), np.float32), np.ones((2, 2), bool)) == 0


def test_a_report_tells_how_far_the_maps_agree():
    pipeline, outcome = FakePipeline(), list(OUTCOMES).index("glioma")
    pixels = np.random.default_rng(0).random((64, 64), np.float32)
    pixels[0, 0] = outcome / 255  # what the fake answers by
    report = pipeline.verdict(Scan(pixels))
    values = np.zeros((64, 64), np.uint8)
    values[:16, :16] = 1
    mask = Mask(values, values.astype(np.float32), ("tumour",), 0.9, 0.5)
    found = overlaps(dataclasses.replace(report, localization=mask))
    assert found["area"] == pytest.approx(1 / 16)
    assert 0 < found["anomaly"] < 1
    assert overlaps(report) == {}


def test_drawing_keeps_the_size_and_the_rest_of_the_image():
    values = np.zeros((40, 60), np.uint8)
    values[10:30, 20:40] = 1
    scan = Scan(np.full((40, 60), 0.5, np.float32))
    mask = Mask(values, values.astype(np.float32), ("tumour",), 0.9, 0.5)
    picture = np.asarray(drawn(scan, mask))
    assert picture.shape == (40, 60, 3)
    assert (picture[0, 0] == 128).all()
    assert tuple(picture[10, 20]) == (255, 176, 0)
    assert layer(mask).size == (60, 40)
    assert set(np.unique(np.asarray(binary(mask)))) == {0, 255}


def test_dice_and_misses():
    truth = np.zeros((4, 4), np.uint8)
    truth[:2] = 1
    half = truth.copy()
    half[1] = 0
    assert dice(half == 1, truth == 1) == pytest.approx(2 * 4 / 12)
    assert dice(np.zeros(3, bool), np.zeros(3, bool)) == 1
    empty = np.zeros((4, 4), np.uint8)
    found = measure_outlines([half, empty, truth], [truth, truth, empty], ["a", "a", "b"], ["tumour"])
    assert found["dice"]["tumour"]["value"] == pytest.approx(1 / 3, abs=1e-4)
    assert found["missed"]["tumour"]["value"] == 0.5
    assert found["outlined"]["value"] == 1
    assert found["empty"] == 1


def test_an_interval_is_over_patients():
    many_of_one = by_patient([1.0] * 50 + [0.0] * 5, ["a"] * 50 + list("bcdef"))
    assert many_of_one.low < 0.1
    assert by_patient([1.0], ["a"]).low is None
    assert by_patient([], []) is None


def test_finer_sizes_have_an_equal_say():
    torch.manual_seed(0)
    network = ResUNet("resnet10t", ("tumour",), widths=(16, 16, 8, 8))
    scan = Scan(np.random.default_rng(0).random((70, 90), np.float32))
    plain, large = (
        Segmenter(network, ("tumour",), InputSpec(size, (0.5,) * 3, (0.5,) * 3), RULE, "") for size in (64, 96)
    )
    both = Segmenter(network, ("tumour",), SPEC, RULE, "", finer=(96,))

    found = both.probabilities([scan])

    assert found.shape == (1, 2, 64, 64)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-5)
    finer = 2 * found - plain.probabilities([scan])  # what the finer look said
    shrunk = torch.nn.functional.interpolate(torch.from_numpy(large.probabilities([scan])), (64, 64), mode="area")
    assert np.corrcoef(finer[0, 1].ravel(), shrunk[0, 1].numpy().ravel())[0, 1] > 0.9


def test_a_mirrored_image_gets_the_mirrored_outline():
    one = segmenter()
    pixels = np.random.default_rng(1).random((64, 64), np.float32)
    straight, mirrored = one.probabilities([Scan(pixels), Scan(pixels[:, ::-1].copy())])
    np.testing.assert_allclose(straight, mirrored[:, :, ::-1], atol=1e-4)


def test_the_expected_dice_is_compared_where_there_is_something_to_outline():
    truth, half, empty = (np.zeros((4, 4), np.uint8) for _ in range(3))
    truth[:, :2], half[:, :1] = 1, 1
    answers, truths = [truth, half, empty, half], [truth, truth, truth, empty]
    found = measure_outlines(answers, truths, list("abcd"), ["tumour"], [0.9, 0.6, None, 0.7])["expected"]
    assert found["images"] == 2  # neither the missed one nor the outline of nothing
    assert found["real"]["value"] == pytest.approx((1 + 2 / 3) / 2, abs=1e-4)
    assert found["expected"]["value"] == pytest.approx(0.75)
    assert found["gap"]["value"] == pytest.approx((0.1 + 2 / 3 - 0.6) / 2, abs=1e-4)
    assert found["correlation"] == pytest.approx(1)
    assert "0.75" in foreseen_table({"here": {"expected": found}, "elsewhere": {}})
    assert not foreseen_table({"elsewhere": {}})


def test_the_page_says_how_well_the_outline_is_expected_to_fit():
    values = np.zeros((30, 30), np.uint8)
    values[5:20, 5:20] = 1
    scan = Scan(values.astype(np.float32))
    mask = Mask(values, scan.pixels.copy(), ("tumour",), 0.9, 0.5, None, 0.834)
    told = panel(scan, Report("x.png", localization=mask))
    assert "How well does it fit?" in told
    assert "0.83" in told
    assert "How well" not in panel(scan, Report("x.png", localization=dataclasses.replace(mask, expected_dice=None)))
