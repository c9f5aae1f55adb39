"""Statistics, simulated drifts, monitors, profile, levels and limits on images and numbers made here."""

from __future__ import annotations

import json

import numpy as np
import pytest
from fakes import FakePipeline, scan_png
from streams import MODELS, gaussian, profile, simulated

from mri_models.drift import experiment, measures
from mri_models.drift.levels import CALM, State
from mri_models.drift.monitors import ENOUGH, judge, overall
from mri_models.drift.observe import FEATURES, PASSED, Observation, Window, observe
from mri_models.drift.profile import Profile, load_profile
from mri_models.drift.replay import COMPOSITION, TITLES, Simulated, load_simulated, play
from mri_models.drift.simulate import DRIFTS, SEVERITIES, simulate
from mri_models.drift.statistics import STATISTICS, statistics
from mri_models.errors import WeightsError
from mri_models.hub import _WANTED, filter_repo_objects, model_folders
from mri_models.types import Rejection, Report

BRAIN = FakePipeline().read(scan_png("glioma")).pixels
# What each drift is bound to move, and in which direction.
MOVES = {
    "gaussian_noise": ("noise", 1),
    "rician_noise": ("haze", 1),
    "blur": ("sharpness", -1),
    "motion": ("comb", 1),
    "ghosting": ("comb", 1),
    "brightness": ("mean", 1),
    "contrast": ("spread", -1),
    "gamma": ("mean", -1),
    "bias_field": ("shading", 1),
    "resolution": ("detail", -1),
    "scanner": ("mean", -1),
    "jpeg": ("blockiness", 1),
    "structures": ("clipped", 1),
}


def levels(window: Window, against: Profile | None = None) -> dict[str, str]:
    return {reading.monitor: reading.level for reading in judge(window, against or profile())}


def test_an_observation_holds_scalars_and_three_words_only():
    pipeline = FakePipeline()
    scan = pipeline.read(scan_png("healthy"))
    report = pipeline.verdict(scan, "jane_doe.png")
    seen = observe(scan, report)
    assert seen.words == (PASSED, "brain", "no_tumor")
    assert seen["gate_confidence"] == report.gate.confidence
    assert seen["pixel_error"] == report.anomaly.components["pixel"]
    assert seen["refused"] == seen["anomalous"] == 0
    assert "jane" not in json.dumps(seen.to_dict())


def test_a_refused_file_still_counts_as_refused():
    report = Report("x", Rejection("file", "corrupt", "Broken."))
    seen = observe(None, report)
    assert (seen["refused"], seen.words[0]) == (1, "file")
    assert np.isnan(seen["noise"])


def test_an_observation_survives_json():
    seen = gaussian(1).observations()[0]
    again = Observation.from_dict(json.loads(json.dumps(seen.to_dict())))
    assert again.values == pytest.approx(seen.values, rel=1e-4)
    assert again.words == seen.words


@pytest.mark.parametrize("pixels", [np.zeros((64, 300)), np.ones((64, 64)), np.eye(90), np.random.rand(700, 70)])
def test_statistics_are_finite_whatever_the_image(pixels: np.ndarray):
    found = statistics(pixels.astype(np.float32))
    assert len(found) == len(STATISTICS)
    assert np.isfinite(found).all()


@pytest.mark.parametrize("name", DRIFTS)
def test_severity_grows_and_moves_its_statistic(name: str):
    images = [simulate(BRAIN, name, severity, np.random.default_rng(0)) for severity in SEVERITIES]
    changes = [float(np.abs(image - BRAIN).mean()) for image in images]
    statistic, direction = MOVES[name]
    before, after = (statistics(image)[STATISTICS.index(statistic)] for image in (BRAIN, images[2]))
    assert all(image.shape == BRAIN.shape and image.min() >= 0 and image.max() <= 1 for image in images)
    assert changes == sorted(changes)
    assert changes[0] > 0
    assert (after - before) * direction > 0


def test_an_impossible_severity_is_named():
    with pytest.raises(ValueError, match="one of"):
        simulate(BRAIN, "blur", 6, np.random.default_rng(0))


def test_undrifted_windows_are_calm():
    assert [overall(judge(gaussian(50, seed=s), profile())) for s in range(10)].count("alert") <= 1


@pytest.mark.parametrize(
    ("shifts", "monitor"),
    [
        ({"noise": 1.5}, "noise"),
        ({"pattern_confidence": -1.5}, "pattern_confidence"),
        ({"pixel_error": 2.0}, "error_mean"),
        ({"embedding": 1.0}, "embedding"),
        ({"embedding": 1.0}, "frechet"),
    ],
)
def test_a_shift_alarms_its_monitor_and_no_other_group(shifts: dict[str, float], monitor: str):
    found = levels(gaussian(50, seed=5, **shifts))
    assert found[monitor] == "alert"
    assert found["part"] != "alert"


def test_shares_and_words_alarm():
    window = gaussian(50, seed=6)
    window.values[:, FEATURES.index("refused")] = 1
    window.words[:, 1] = "knee"
    found = levels(window)
    assert (found["refused"], found["part"], found["noise"]) == ("alert", "alert", "ok")


def test_more_spread_errors_alarm_the_variance_not_the_mean():
    window = gaussian(100, seed=7)
    window.values[:, FEATURES.index("pixel_error")] *= 4
    found = levels(window)
    assert (found["error_variance"], found["error_mean"]) == ("alert", "ok")


def test_too_few_images_say_so():
    assert set(levels(gaussian(ENOUGH - 1, noise=9)).values()) == {"insufficient"}
    assert overall([]) == "insufficient"


def test_a_monitor_without_values_says_so_while_others_judge():
    window = gaussian(50)
    window.values[10:, FEATURES.index("pattern_confidence")] = np.nan
    found = levels(window)
    assert (found["pattern_confidence"], found["noise"]) == ("insufficient", "ok")


def test_holm_by_hand():
    assert measures.holm(np.array([0.01, 0.04, 0.03])) == pytest.approx([0.03, 0.06, 0.06])


def test_effects_by_hand():
    low, high = np.zeros(10), np.ones(10)
    assert measures.kolmogorov_smirnov(low, high) == 1
    assert measures.proportion_shift(low, high) == pytest.approx(np.pi)
    assert measures.category_shift(np.array(["a", "b"]), np.array(["a", "a"])) == 0.5
    assert measures.stability_index(np.arange(100.0), np.arange(100.0)) == pytest.approx(0)
    rows = np.random.default_rng(0).normal(size=(4000, 3))
    assert measures.frechet_distance(rows, rows + 2) == pytest.approx(2 * np.sqrt(3), rel=1e-3)


def test_the_ks_test_is_scipys():
    from scipy.stats import ks_2samp

    first, second = np.random.default_rng(0).normal(size=300), np.random.default_rng(1).normal(0.3, size=60)
    found = measures.MEASURES["distribution"]
    effect = found.effect(first, second)
    exact = ks_2samp(first, second)
    assert effect == pytest.approx(exact.statistic)
    assert found.test(first, second, effect, 0) == pytest.approx(exact.pvalue, abs=0.02)


def test_a_level_rises_at_once_and_falls_when_it_stays_calm():
    state = State().after("ok", "1").after("alert", "2")
    assert (state.level, state.since) == ("alert", "2")
    for look in range(CALM - 1):
        state = state.after("ok", str(3 + look))
    assert state.after("alert", "9").since == "2"
    assert state.after("ok", "9") == State("ok", "9", 0)


def test_a_profile_survives_the_disk_and_holds_no_patient(tmp_path):
    profile().save(tmp_path)
    again = load_profile(tmp_path)
    window = gaussian(50, seed=8, noise=1)
    assert [r.level for r in judge(window, again)] == [r.level for r in judge(window, profile())]
    assert not {"patient", "path", "file"} & set(json.loads((tmp_path / "profile.json").read_text()))


@pytest.mark.parametrize(("damage", "code"), [(None, "no_profile"), ("profile.json", "bad_profile")])
def test_a_missing_or_broken_profile_is_named(tmp_path, damage: str | None, code: str):
    if damage:
        profile().save(tmp_path)
        (tmp_path / damage).write_text("{")
    with pytest.raises(WeightsError) as caught:
        load_profile(tmp_path)
    assert caught.value.code == code
    assert "drift reference" in caught.value.message


def test_a_profile_of_other_weights_is_stale():
    assert profile().stale(MODELS) == []
    assert profile().stale(MODELS | {"gate": "00"}) == ["gate"]
    assert profile().stale(MODELS | {"orientation": "00"}) == ["orientation"]  # which judged nothing of it


def test_the_profile_is_no_model_but_the_hub_brings_it(tmp_path):
    profile().save(tmp_path / "drift")
    with pytest.raises(WeightsError, match="no model folder"):
        model_folders(tmp_path)
    names = [f"drift/{path.name}" for path in (tmp_path / "drift").iterdir()]
    assert sorted(filter_repo_objects(names, allow_patterns=_WANTED)) == sorted(names)


def test_played_streams_turn_into_alerts_and_stay_calm_before(tmp_path):
    simulated().save(tmp_path, MODELS)
    looks = list(play(load_simulated(tmp_path, MODELS), profile(), "blur", 3))
    assert [looks[0].images, looks[-1].images] == [0, 60]
    assert overall(looks[0].readings) != "alert"
    assert overall(looks[-1].readings) == "alert"


def test_streams_of_other_weights_are_not_played(tmp_path):
    simulated().save(tmp_path, MODELS)
    with pytest.raises(WeightsError, match="drift simulate"):
        load_simulated(tmp_path, MODELS | {"gate": "00"})


def test_what_is_stored_equals_what_it_was(tmp_path):
    """Many images have one size; a rounded one would be another, and the reference would differ from itself."""
    window = simulated().window
    window.values[::2, FEATURES.index("log_size")] = np.log(256 * 256)
    again = Window.of([Observation.from_dict(json.loads(json.dumps(o.to_dict()))) for o in window.observations()])
    np.testing.assert_array_equal(again.values, window.values)
    Simulated(window, simulated().cells, {}).save(tmp_path, MODELS)
    np.testing.assert_array_equal(load_simulated(tmp_path, MODELS).window.values, window.values)


def test_a_composition_drift_draws_from_its_group_only():
    rng = np.random.default_rng(0)
    assert set(simulated().draw("source", 5, 200, rng)) <= set(range(10))
    assert len(set(simulated().draw("source", 1, 200, rng))) > 50


def test_the_table_says_which_aim_is_missed():
    shares = {d: {str(s): {str(n): 1.0 for n in experiment.SIZES} for s in SEVERITIES} for d in TITLES}
    shares["gamma"]["3"]["50"] = 0.9
    calm = {"50": {"share": 0.012, "windows": 1000, "low": 0.006, "high": 0.021}}
    images = {"undrifted": 284, "patients": 150, "drifted": 40}
    result = {"windows": 60, "false_alarms": calm, "control": {"50": 0.01}, "detection": shares, "images": images}
    text = experiment.render(result)
    assert "1.2% of 1,000 windows" in text
    assert "missed by Gamma." in text
    assert text.count("\n| ") == 2 + len(DRIFTS) + len(COMPOSITION)
