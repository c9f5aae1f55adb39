"""The comparison is fair: no patient on both sides, choices inside the training folds, features and sums as stated."""

from __future__ import annotations

import csv
import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from places import ROOT

from mri_models.errors import DataError, RecipeError
from mri_models.evaluation.tables import check_readme
from mri_models.training.baselines import classical, features, preparations, report
from mri_models.training.baselines import run as running
from mri_models.training.baselines.cases import CLASSES, assign, deal, folds, folds_hash, inner, read_cases
from mri_models.training.baselines.fit import PixelFeed, fit, scores
from mri_models.training.baselines.networks import PlainCnn, build
from mri_models.training.baselines.pictures import SIDE, denoise, head_only, kept_array, varied
from mri_models.training.baselines.recipe import Classical, Mean, Network, load_baseline, names
from mri_models.training.baselines.run import Study, read_result, run_baseline
from mri_models.training.corpus import read_corpus

COLUMNS = ("path", "modality", "body_part", "label", "patient", "split", "source", "mask", "note")
QUICK = Network("quick", "quick", "plain", size=32, minutes=0, images=64, batch=16, every=32)
LINEAR = Classical("linear", "linear", "handmade", "logistic", components=8, grid={"C": [0.01, 0.1]}, inner_folds=2)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """72 made-up brains of 36 patients, two slices each: every class is a stripe pattern; six test patients beside."""
    folder = tmp_path_factory.mktemp("corpus")
    rng = np.random.default_rng(0)
    y = np.mgrid[:70, :70][0]
    rows = []
    for i in range(84):
        patient = i // 2
        label = CLASSES[patient % 4]
        pixels = np.clip((y // (2 + 3 * (patient % 4)) % 2) * 0.6 + rng.normal(0.2, 0.05, y.shape), 0, 1)
        Image.fromarray((pixels * 255).astype(np.uint8)).save(folder / f"{i:02}.png")
        split = "test" if patient >= 36 else ("train", "val")[patient % 5 == 0]
        note = "sim_3" if i == 0 else ""
        rows.append((f"{i:02}.png", "mri", "brain", label, f"p{patient}", split, f"s{patient % 2}", "", note))
    with (folder / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    return folder


@pytest.fixture(scope="module")
def cases(data):
    return read_cases(data)


@pytest.fixture
def study(cases, tmp_path):
    return Study(cases, "patients", 3, tmp_path / "runs")


def test_test_patients_and_look_alikes_are_left_out(cases):
    assert len(cases) == 71
    assert {sample.split for sample in cases.samples} == {"train", "val"}
    assert "00.png" not in cases.names


def test_no_patient_is_on_both_sides_and_every_image_is_judged_once(cases):
    divided = folds(assign(cases, "patients", 3), 3)
    for fold in divided:
        assert not set(cases.patients[fold.train]) & set(cases.patients[fold.judged])
    assert sorted(np.concatenate([fold.judged for fold in divided])) == list(range(len(cases)))


def test_inner_folds_hold_training_patients_only_and_split_none(cases):
    fold = folds(assign(cases, "patients", 3), 3)[0]
    number = inner(cases, fold.train, "patients", 3)
    own = cases.patients[fold.train]
    assert number.shape == fold.train.shape
    assert all(len(set(number[own == patient])) == 1 for patient in set(own))
    assert set(number) == {0, 1, 2}


def test_slices_dealt_at_random_do_share_patients(cases):
    fold = folds(assign(cases, "slices", 3), 3)[0]
    assert set(cases.patients[fold.train]) & set(cases.patients[fold.judged])


def test_folds_depend_on_names_not_on_the_order_of_rows():
    groups, strata = ["a", "a", "b", "c", "d", "e", "e"], ["x", "x", "x", "y", "y", "y", "y"]
    order = [4, 2, 6, 0, 3, 1, 5]
    dealt = deal(groups, strata, 2)
    assert deal([groups[i] for i in order], [strata[i] for i in order], 2).tolist() == dealt[order].tolist()


def test_each_stratum_spreads_evenly():
    groups = [f"p{i}" for i in range(30)]
    dealt = deal(groups, ["rare" if i < 5 else "common" for i in range(30)], 5)
    assert sorted(dealt[:5]) == [0, 1, 2, 3, 4]
    assert np.bincount(dealt).tolist() == [6] * 5


def test_the_hash_notices_a_moved_image(cases):
    assigned = assign(cases, "patients", 3)
    moved = assigned.copy()
    moved[0] = (moved[0] + 1) % 3
    assert folds_hash(cases, assigned) == folds_hash(cases, assigned.copy())
    assert folds_hash(cases, assigned) != folds_hash(cases, moved)


def test_intensity_of_a_half_black_image():
    image = np.zeros((128, 128), np.float32)
    image[:64] = 0.5
    found = features.intensity(image)
    assert found[:2] == pytest.approx([0.5, 0])  # mean and spread of what is not black
    assert found[4] == 0  # one grey level: no entropy
    assert found[-1] == 0.5  # half of it is black


def test_glcm_of_stripes_and_of_an_even_image():
    even = features.glcm(np.full((128, 128), 0.5, np.float32)).reshape(5, 3, 4)
    assert np.allclose(even[0], 0)  # contrast
    assert np.allclose(even[2], 1)  # homogeneity
    stripes = np.tile(np.float32([0, 1]), (128, 64))
    found = features.glcm(stripes).reshape(5, 3, 4)
    assert found[0, 0, 0] == pytest.approx((features.LEVELS - 1) ** 2)  # next to each other: black and white
    assert found[0, 1, 0] == pytest.approx(0)  # two apart: the same again
    assert found[0, 0, 2] == pytest.approx(0)  # along the stripes


def test_lbp_of_an_even_image_is_one_pattern_in_each_tile():
    found = features.lbp(np.full((128, 128), 0.5, np.float32)).reshape(2, 16, 10)
    assert np.allclose(found.sum(2), 1)
    middle = found[:, [5, 6, 9, 10], 8]  # tiles away from the border, behind which there is black
    assert np.allclose(middle, 1)  # all eight neighbours are at least as bright


def test_hog_of_a_vertical_edge_points_sideways():
    image = np.zeros((128, 128), np.float32)
    image[:, 71:] = 1
    found = features.gradients(image).reshape(8, 8, 9)
    assert found[:, 4].sum(0).argmax() == 0  # a gradient along x
    assert found[:, 0].sum() == 0


def test_handmade_features_are_finite_even_of_nothing():
    assert features.handmade(np.zeros((128, 128), np.float32)).shape == (989,)
    assert np.isfinite(features.handmade(np.zeros((128, 128), np.float32))).all()


def test_head_is_cropped_to_its_box_and_specks_are_not():
    image = np.zeros((100, 100), np.float32)
    image[20:80, 30:70] = 0.7
    image[2:5, 2:5] = 1
    assert head_only(image).shape == (60, 40)
    assert head_only(np.zeros((9, 9), np.float32)).shape == (9, 9)


def test_denoising_lessens_grain_and_keeps_the_mean():
    grainy = np.clip(0.5 + np.random.default_rng(0).normal(0, 0.03, (64, 64)), 0, 1).astype(np.float32)
    for how in ("median", "nlm"):
        assert denoise(grainy, how).std() < 0.7 * grainy.std()
        assert denoise(grainy, how).mean() == pytest.approx(0.5, abs=0.01)
    with pytest.raises(ValueError, match="wavelet"):
        denoise(grainy, "wavelet")


def test_variants_differ_but_a_seed_gives_the_same():
    canvas = np.zeros((SIDE, SIDE), np.uint8)
    canvas[64:192, 96:160] = 200
    first, again, other = (varied(canvas, 64, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert 0.05 < (first > 0.4).mean() < 0.25  # the block covers an eighth


def test_an_interrupted_cache_is_made_again(tmp_path):
    def fail(kept):
        kept[0] = 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept_array(tmp_path / "a.npy", (2,), np.float32, fail)
    assert kept_array(tmp_path / "a.npy", (2,), np.float32, lambda kept: kept.fill(3)).tolist() == [3, 3]
    assert kept_array(tmp_path / "a.npy", (2,), np.float32, fail).tolist() == [3, 3]


@pytest.mark.parametrize("name", names())
def test_every_recipe_loads_under_its_own_name(name):
    recipe = load_baseline(name)
    assert recipe.name == name
    if isinstance(recipe, Mean):
        assert set(recipe.members) <= set(names())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('kind = "classical"\nlearning_speed = 3', "learning_speed"),
        ('kind = "oracle"', "oracle"),
        ('kind = "classical"\nname="a"\ntitle="a"\nfeatures="handmade"\nestimator="tea"\ngrid={C=[1.0]}', "tea"),
        ('kind = "classical"\nname="a"\ntitle="a"\nfeatures="handmade"\nestimator="svm"', "either grid"),
        ('kind = "network"\nname="a"\ntitle="a"\nnetwork="plain"\nminutes=0', "minutes, images"),
        ('kind = "network"\nname="a"\ntitle="a"\nnetwork="plain"\nvalidated=false', "plateau"),
    ],
)
def test_recipes_are_strict(tmp_path, text, said):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(RecipeError, match=said):
        load_baseline(str(tmp_path / "a.toml"))


@pytest.mark.parametrize("search", ["grid", "space"])
def test_search_finds_the_value_that_works(search):
    rng = np.random.default_rng(0)
    truth = np.tile([0, 1, 2], 30)
    table = rng.normal(0, 0.5, (90, 3)) + np.eye(3)[truth] * 3
    choices = {"grid": {"gamma": [0.1, 1000]}} if search == "grid" else {"space": {"gamma": [0.01, 1000]}, "trials": 8}
    recipe = Classical("a", "a", "handmade", "svm", inner_folds=2, **choices)
    model, story = classical.tune(recipe, table, truth, np.arange(90) // 45)
    assert story["values"]["gamma"] < 10  # a kernel narrower than the distance of neighbours knows nothing
    assert story["tried"] == (2 if search == "grid" else 8)
    assert (model.scores(table).argmax(1) == truth).mean() > 0.9


@pytest.mark.parametrize("name", ["logistic", "svm", "forest", "xgboost"])
def test_every_estimator_learns_and_gives_shares(name):
    truth = np.repeat([0, 1, 2, 3], 12)
    table = np.eye(4)[truth] * 3 + np.random.default_rng(0).normal(0, 0.3, (48, 4))
    fixed = {"n_estimators": 10} if name in ("forest", "xgboost") else {}
    grid = {"max_depth": [3]} if fixed else {"C": [1.0]}
    recipe = Classical("a", "a", "handmade", name, grid=grid, fixed=fixed, inner_folds=1)
    model, _ = classical.tune(recipe, table, truth, np.tile([0, 1], 24))
    found = model.scores(table)
    assert found.sum(1) == pytest.approx(1, abs=1e-5)
    assert (found.argmax(1) == truth).all()


def test_held_out_inner_parts_never_prepare_the_features():
    table = np.concatenate([np.zeros((4, 1)), np.ones((4, 1)), np.full((8, 1), 1000.0)])
    divided = np.repeat([1, 0], 8)  # the first part judged is the one with the large values
    [part] = classical.parts(Classical("a", "a", "handmade", "svm", inner_folds=1), table, np.tile([0, 1], 8), divided)
    assert part.train.mean() == pytest.approx(0)  # standardised by its own mean, 0.5
    assert part.held.mean() > 1000


def test_plain_cnn_has_the_blocks_asked_for():
    kinds = [type(layer).__name__ for layer in PlainCnn(4).blocks]
    assert kinds == ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d"] * 4
    assert PlainCnn(4).eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 4)


def test_a_network_learns_within_its_budget_and_keeps_its_best():
    rng = np.random.default_rng(0)
    labels = np.arange(32) % 4
    pictures = (rng.random((32, SIDE, SIDE)) * 40).astype(np.uint8) + (labels * 50).astype(np.uint8)[:, None, None]
    recipe = dataclasses.replace(QUICK, images=320, lr=3e-3, every=80)
    network, feed = build(recipe), PixelFeed(pictures, recipe.size)
    story = fit(recipe, network, feed, labels, np.ones(32), [np.arange(24), np.arange(24, 32)])
    found = scores(network, feed, np.arange(24, 32))
    truth = labels[24:]
    loss = -np.log(found[np.arange(8), truth]).mean()
    assert story["images_seen"] == 320
    assert loss == pytest.approx(min(entry["loss"] for entry in story["validations"]), abs=1e-3)


def test_results_are_taken_up_again_unless_recipe_or_folds_changed(study, monkeypatch):
    calls = []
    actual = running.one_fold
    monkeypatch.setattr(running, "one_fold", lambda *given: calls.append(given) or actual(*given))
    run_baseline(study, LINEAR, [0])
    run_baseline(study, LINEAR)
    assert [fold.number for _, _, fold in calls] == [0, 1, 2]
    run_baseline(study, LINEAR)
    assert len(calls) == 3
    assert read_result(study, dataclasses.replace(LINEAR, components=4), 0) is None
    assert read_result(dataclasses.replace(study, count=4), LINEAR, 0) is None


def test_a_network_and_a_mean_run_through(study, monkeypatch):
    monkeypatch.setattr(running, "load_baseline", {"quick": QUICK, "linear": LINEAR}.__getitem__)
    both = Mean("both", "both", ["quick", "linear"])
    with pytest.raises(DataError, match="linear"):
        run_baseline(study, both)
    run_baseline(study, QUICK, [1])
    run_baseline(study, LINEAR, [1])
    run_baseline(study, both, [1])
    parts = [np.array(read_result(study, recipe, 1)["scores"]) for recipe in (QUICK, LINEAR, both)]
    assert np.allclose((parts[0] + parts[1]) / 2, parts[2], atol=2e-5)


def test_measured_says_which_folds_are_missing(study):
    run_baseline(study, LINEAR, [0, 2])
    found = report.measured(study, [read_result(study, LINEAR, fold) for fold in range(3)])
    assert found["missing_folds"] == [1]
    assert found["images"] == int((study.assigned != 1).sum())
    assert found["balanced_accuracy"]["value"] > 0.9
    assert "(folds 1 missing)" in report._row(found | {"title": "linear"})[0]


def test_an_incomplete_baseline_is_compared_on_its_own_folds(study, monkeypatch):
    monkeypatch.setattr(report, "load_baseline", lambda name: LINEAR)
    run_baseline(study, LINEAR)
    whole = report.measured(study, [read_result(study, LINEAR, fold) for fold in range(3)])
    found = {"whole": whole, "part": whole | {"missing_folds": [0, 2]}}
    same = report.same_folds(study, found)
    only = report.measured(study, [None, read_result(study, LINEAR, 1), None])
    assert same == {"part": {"rival": "whole", "balanced_accuracy": only["balanced_accuracy"]}}


def test_the_paired_difference_of_equal_scores_is_nothing(study):
    found = np.eye(4)[study.cases.labels]
    worse = np.roll(found, 1, axis=1)
    assert preparations.difference(study, found, found) == {"value": 0, "low": 0, "high": 0}
    assert preparations.difference(study, worse, found)["value"] == -1


def test_preparations_are_compared_on_the_same_folds(study, monkeypatch):
    monkeypatch.setattr(preparations, "BASELINES", ("linear",))
    monkeypatch.setattr(preparations, "VARIANTS", preparations.VARIANTS[::3])  # as served, and a median filter
    monkeypatch.setattr(preparations, "load_baseline", lambda name: LINEAR)
    run_baseline(study, LINEAR)
    assert preparations.collect(study) == {}  # nothing to compare with yet
    preparations.run(study)
    found = preparations.collect(study)["linear"]["variants"]
    assert set(found) == {"served", "median"}
    assert found["served"]["difference"] == {"value": 0, "low": 0, "high": 0}
    assert "median filter" in preparations.render(preparations.collect(study))


def test_folds_below_two_are_wrong_usage():
    command = (sys.executable, "-m", "mri_models", "baselines", "--folds", "1")
    assert subprocess.run(command, cwd=ROOT, capture_output=True, timeout=120).returncode == 2


def test_serving_never_imports_the_baselines():
    code = (
        "import sys, app, mri_models.pipeline; print([m for m in sys.modules if m.startswith('mri_models.training')])"
    )
    run = subprocess.run(
        (sys.executable, "-c", code), cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert run.stdout.splitlines()[-1] == "[]"


def test_tables_are_the_json():
    result = json.loads((ROOT / "weights" / "baselines.json").read_text(encoding="utf-8"))
    assert check_readme(ROOT / "README.md", report.NAME, report.render(result))
    if preparations.NAME in result:
        assert check_readme(ROOT / "README.md", preparations.NAME, preparations.render(result[preparations.NAME]))


def test_every_baseline_stands_in_the_table_or_is_said_to_be_missing_and_adds_up():
    result = json.loads((ROOT / "weights" / "baselines.json").read_text(encoding="utf-8"))
    assert set(result["results"]["patients"]) | set(result["not_run"].values()) == set(names())
    for m in result["results"]["patients"].values():
        mean = np.mean([m["recall"][name]["value"] for name in CLASSES])
        assert m["balanced_accuracy"]["value"] == pytest.approx(mean, abs=2e-4)
        assert sum(map(sum, m["confusion"])) == m["images"]


@pytest.mark.corpus
def test_committed_numbers_are_of_these_folds(corpus):
    result = json.loads((ROOT / "weights" / "baselines.json").read_text(encoding="utf-8"))
    cases = read_cases(corpus)
    assert len(set(cases.patients)) == result["cases"]["patients"]
    for split, digest in result["folds_hash"].items():
        assert folds_hash(cases, assign(cases, split, result["folds"])) == digest
    assert not set(cases.patients) & {s.patient for s in read_corpus(corpus) if s.split == "test"}
