"""The anomaly score: network, measurements, rule, a tiny run from manifest to a detector, the page's panel."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import tiny_outlines
import torch
from fakes import anomaly_of
from PIL import Image

from mri_models.anomaly import AnomalyDetector
from mri_models.autoencoder import Autoencoder, similarity
from mri_models.classify import Classifier
from mri_models.errors import DataError, RecipeError, WeightsError
from mri_models.evaluation.anomaly import compared, measure_anomaly, table
from mri_models.evaluation.run import evaluate
from mri_models.evaluation.tables import check_readme
from mri_models.localize import TUMOUR, Segmenter
from mri_models.normals import COMPONENTS, Rule, brightest, head_of, nearest
from mri_models.page.unusual import heat, panel
from mri_models.parts import Specialists
from mri_models.training import anomaly_export
from mri_models.training.anomaly import AnomalyRecipe, Lesson, load_anomaly_recipe, read_curve, train
from mri_models.training.anomaly_fit import Combination, Measured, combine, thresholds
from mri_models.training.brains import normal_brains
from mri_models.training.corpus import IGNORE, TASKS, read_corpus
from mri_models.training.recipe import FOLDER
from mri_models.types import Report, Scan

# Two of five classes are in the made-up corpus; scikit-learn wonders about answers with the other three
pytestmark = pytest.mark.filterwarnings("ignore:y_pred contains classes")
SHAPE = {"size": 32, "channels": [4, 8], "latent": 4}
NORMAL, LESION = TASKS["brain"].index("no_tumor"), TASKS["brain"].index("other_abnormality")
BRAIN_RECIPE = """
name = "diagnosis/brain"
network = "resnet10t"
head = "brain"
mix = { brain = 1.0 }
size = 64
serve_size = 64
images = 8
batch = 8
evaluations = 1
"""


def discs(folder: Path) -> Path:
    """40 made-up brains of two sources: discs, every second one with a bright spot, called other_lesion."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:72, :72] - 36
    rows = []
    for i in range(40):
        pixels = np.where(np.hypot(y, x) < 28, 0.4, 0.02) + rng.normal(0, 0.03, y.shape)
        pixels += 0.6 * (np.hypot(y - 6, x + 8) < 7) * (i % 2)
        Image.fromarray((np.clip(pixels, 0, 1) * 255).astype(np.uint8)).save(folder / f"{i}.png")
        label, split = ("no_tumor", "other_lesion")[i % 2], ("train", "val", "train", "val", "test")[i // 2 % 5]
        rows.append((f"{i}.png", "mri", "brain", label, f"p{i}", split, f"s{i // 4 % 2}", "", ""))
    with (folder / "manifest.csv").open("w", newline="") as stream:
        columns = ("path", "modality", "body_part", "label", "patient", "split", "source", "mask", "note")
        csv.writer(stream).writerows([columns, *rows])
    return folder


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(corpus, runs, weights) of a tiny brain network and a tiny autoencoder, trained and exported."""
    from mri_models.training import export, fit
    from mri_models.training.recipe import load_recipe

    root = tmp_path_factory.mktemp("anomaly")
    corpus, runs, weights = discs(root / "corpus"), root / "runs", root / "weights"
    (root / "brain.toml").write_text(BRAIN_RECIPE)
    brain = load_recipe(str(root / "brain.toml"))
    fit.train(brain, corpus, runs)
    export.export(brain, corpus, runs, weights)
    for name in ("anomaly", "rival"):
        recipe = AnomalyRecipe("autoencoder", name, **SHAPE, epochs=2, batch=5, noise=0.2 * (name == "rival"))
        train(recipe, corpus, runs)
    tiny_outlines.write(weights / TUMOUR)
    encoder = str(root / "brain.toml")
    recipe = AnomalyRecipe("autoencoder", "anomaly", **SHAPE, rival="rival", encoder=encoder, tumour_size=64)
    anomaly_export.export(recipe, corpus, runs, weights)
    return corpus, runs, weights


def networks(weights: Path) -> tuple[Classifier, Segmenter]:
    return Classifier.load(weights / "diagnosis/brain"), Segmenter.load(weights / TUMOUR)


@pytest.fixture
def detector(world) -> AnomalyDetector:
    weights = world[2]
    return AnomalyDetector.load(weights / "anomaly", *networks(weights))


def rule(**changes: object) -> Rule:
    ones, normals = np.ones(len(COMPONENTS)), np.linspace(0, 0.5, 11)
    values = {"means": 0 * ones, "spreads": ones, "weights": ones, "intercept": -1.0, "borderline": 0.3}
    values |= {"threshold": 0.6, "confidence": {}, "normals": normals, "error_scale": 0.2}
    return Rule(**values | changes)


def measured(rng: np.random.Generator, patients: int = 80) -> Measured:
    """Two classes apart in "pixel" and "outline" only."""
    labels = np.where(np.arange(patients) % 2, LESION, NORMAL)
    values = rng.normal(size=(patients, len(COMPONENTS)))
    for name in ("pixel", "outline"):
        values[labels == LESION, COMPONENTS.index(name)] += 3
    names = np.array([f"p{i}" for i in range(patients)])
    return Measured(values, labels, np.full(patients, "s"), names, np.ones(patients, bool))


def test_autoencoder_keeps_shape_and_range_and_its_code_is_small():
    network = Autoencoder(**SHAPE)
    images = torch.rand(2, 1, 32, 32)
    drawn = network(images)
    assert drawn.shape == images.shape
    assert 0 <= drawn.min() <= drawn.max() <= 1
    assert network.encoder(images).shape == (2, 4, 8, 8)


def test_a_size_that_cannot_be_halved_is_refused():
    with pytest.raises(ValueError, match="multiple of 4"):
        Autoencoder(size=30, channels=(4, 8))


def test_similarity_is_one_for_twins_and_less_for_strangers():
    one, other = torch.rand(2, 1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    assert similarity(one, one).min() == pytest.approx(1, abs=1e-4)
    assert similarity(one, other).mean() < 0.3


def test_head_holds_dark_ventricles_and_the_baseline_sees_a_bright_patch():
    y, x = np.mgrid[:64, :64] - 32
    radius = np.hypot(y, x)
    image = np.where((radius < 25) & (radius > 6), 0.5, 0).astype(np.float32)
    image += np.random.default_rng(0).uniform(0, 0.01, image.shape).astype(np.float32)
    head = head_of(image)
    assert head[32, 32]
    assert not head[2, 2]
    spot = image + 0.4 * (np.hypot(y - 14, x) < 5).astype(np.float32)
    assert brightest(spot, head) > brightest(image, head) + 0.05


def test_nearest_is_the_euclidean_distance():
    rows, bank = np.array([[0.0, 0], [3, 4]]), np.array([[0.0, 0], [3, 0]])
    assert nearest(rows, bank) == pytest.approx([0, 4])


def test_categories_begin_at_their_thresholds():
    found = [rule().category(score) for score in (0.29, 0.3, 0.59, 0.6)]
    assert found == ["normal", "borderline", "borderline", "anomalous"]


def test_percentile_counts_lower_normals_and_one_broken_part_does_not_decide():
    learned = rule(weights=np.full(len(COMPONENTS), 0.1))
    broken = np.zeros(len(COMPONENTS))
    broken[0] = 1e9
    assert learned.percentile(0.25) == pytest.approx(5 / 11, abs=0.1)
    assert learned.score(broken) < 0.5
    assert sum(learned.histogram) == 11


def test_thresholds_leave_five_percent_of_each_kind_on_the_wrong_side():
    found = measured(np.random.default_rng(0), 2000)
    scores = np.random.default_rng(1).normal(found.abnormal * 1.5, 1)
    low, high = thresholds(found, scores)
    assert np.mean(scores[found.abnormal] < low) == pytest.approx(0.05, abs=0.01)
    assert np.mean(scores[~found.abnormal] > high) == pytest.approx(0.05, abs=0.01)


def test_combination_uses_what_divides_and_never_subtracts():
    found = measured(np.random.default_rng(0))
    both = combine(found, COMPONENTS)
    blind = combine(found, [name for name in COMPONENTS if name != "outline"])
    weights = dict(zip(COMPONENTS, both.weights, strict=True))
    assert min(both.weights) >= 0
    assert min(weights["pixel"], weights["outline"]) > max(weights["latent"], weights["pooled"])
    assert blind.weights[COMPONENTS.index("outline")] == 0
    assert both.auroc > 0.95


def test_fewer_components_are_served_only_when_clearly_better():
    all_of_them, fewer, much_better = (Combination(None, 0, None, auroc) for auroc in (0.950, 0.954, 0.956))
    assert anomaly_export.served({"all": all_of_them, "without_outlines": fewer}) == "all"
    assert anomaly_export.served({"all": all_of_them, "without_outlines": much_better}) == "without_outlines"


def test_sources_and_classes_weigh_alike():
    found = measured(np.random.default_rng(0), 10)
    sources = np.array(["big"] * 8 + ["small"] * 2)
    balance = Measured(found.values, found.labels, sources, found.patients, found.plain).balance
    assert balance[found.abnormal].sum() == pytest.approx(0.5)
    assert balance[-1] > balance[0]


def test_only_training_corrupts_the_input():
    lesson = Lesson(AnomalyRecipe("autoencoder", "x", **SHAPE, noise=0.5))
    images = torch.full((1, 1, 32, 32), 0.5)
    assert (lesson.corrupted(images) - images).abs().max() > 0.05
    assert torch.equal(lesson.eval()(images)["errors"], lesson(images)["errors"])


@pytest.mark.parametrize("path", sorted(FOLDER.glob("anomaly*.toml")), ids=lambda path: path.stem)
def test_autoencoder_recipes_are_strict(path):
    assert load_anomaly_recipe(path.stem).kind == "autoencoder"
    with pytest.raises(RecipeError, match="speed"):
        load_anomaly_recipe(path.stem, ["speed=3"])


def test_a_corpus_without_normal_brains_is_said_plainly(world):
    lesions = [s for s in read_corpus(world[0]) if s.targets["brain"] == LESION]
    with pytest.raises(DataError, match="no_tumor"):
        normal_brains(lesions, "train")


def test_a_run_keeps_its_curve_and_exports_the_better_autoencoder(world):
    _, runs, weights = world
    config = json.loads((weights / "anomaly/config.json").read_text())
    aurocs = config["mri"]["autoencoder_validation_auroc"]
    assert len(read_curve(runs, "anomaly").loss) == 2
    assert config["mri"]["autoencoder"] == max(aurocs, key=aurocs.get)
    assert (weights / "anomaly/variant.safetensors").is_file()
    assert Autoencoder.from_pretrained(weights / "anomaly").size == 32


def test_detector_says_all_that_the_json_promises(world, detector):
    pixels = np.asarray(Image.open(world[0] / "0.png"), np.float32) / 255
    found = detector(Scan(pixels))
    data = found.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert set(data["components"]) == set(data["z_scores"]) == set(COMPONENTS)
    assert 0 <= data["score"] <= 1
    assert found.category == detector.rule.category(found.score)
    assert found.error_map.shape == (32, 32)


def test_what_the_brain_network_has_seen_is_not_looked_at_again(world, detector, monkeypatch):
    scan = Scan(np.asarray(Image.open(world[0] / "0.png"), np.float32) / 255)
    alone, seen = detector(scan), detector.observer.encoder.look(scan).maps
    monkeypatch.setattr(Classifier, "maps", None)
    assert detector(scan, seen).score == pytest.approx(alone.score, rel=1e-3)  # a pass of two images rounds otherwise


@pytest.mark.parametrize("changed", [0, 1], ids=["brain", "tumour"])
def test_another_network_makes_the_memory_stale(world, changed):
    used = networks(world[2])
    used[changed].digest = "0" * 64
    with pytest.raises(WeightsError, match="train anomaly") as caught:
        AnomalyDetector.load(world[2] / "anomaly", *used)
    assert caught.value.code == "stale_anomaly"


def test_a_memory_that_is_gone_is_a_weights_error(world, tmp_path):
    weights = world[2]
    folder = shutil.copytree(weights / "anomaly", tmp_path / "anomaly")
    (folder / "memory.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"has no memory\.safetensors"):
        AnomalyDetector.load(folder, *networks(weights))


def test_evaluation_has_a_row_for_every_part_and_no_column_without_both_kinds(world, detector):
    found = measure_anomaly(detector, read_corpus(world[0]), "val", None)
    assert found["images"] == {"normal": 8, "abnormal": 8}
    assert len(found["auroc"]) == 2 + len(COMPONENTS) + 2
    assert found["auroc"]["score: all components"]["all"]["low"] is not None
    assert found["auroc"]["intensity"]["tcia_btp"] is None
    assert "| intensity | " in table(found)


def test_measuring_it_alone_keeps_the_other_results(world, detector, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    card = tmp_path / "weights" / "anomaly" / "README.md"
    card.parent.mkdir(parents=True)
    card.write_text("<!-- results:anomaly --><!-- /results:anomaly -->")
    readme = "".join(f"<!-- results:{name} --><!-- /results:{name} -->" for name in ("stages", "anomaly"))
    (tmp_path / "README.md").write_text(readme)
    metrics = tmp_path / "weights" / "metrics.json"
    metrics.write_text('{"models": {"gate": "ab"}, "stages": {}}')
    hashes = {"anomaly": detector.digest}
    bare = {"models": {}, "outlines": {}, "volume_outlines": {}, "specialists": Specialists(), "compass": None}
    bare["upright"] = lambda scan: (scan, None)
    pipeline = SimpleNamespace(anomaly=detector, hashes=hashes, **bare)

    evaluate(pipeline, world[0], tmp_path / "figures", only="anomaly")

    found = json.loads(metrics.read_text())
    assert found["models"] == {"gate": "ab", "anomaly": detector.digest}
    assert check_readme(card, "anomaly", table(found["anomaly"]))


def test_nothing_to_measure_is_said_plainly(world, tmp_path):
    with pytest.raises(WeightsError, match="no model 'anomaly'"):
        evaluate(SimpleNamespace(anomaly=None, models={}, hashes={}), world[0], tmp_path, only="anomaly")


def test_tumour_slices_are_compared_with_the_unlabelled_rest_of_their_source():
    found = measured(np.random.default_rng(0), 4)
    sources, labels = (
        np.array(["tcia_btp", "tcia_btp", "nickparvar2021", "nickparvar2021"]),
        np.array([0, IGNORE, 0, 3]),
    )
    four = Measured(found.values, labels, sources, found.patients, found.plain)
    assert compared(four, "tcia_btp").tolist() == [True, True, False, False]
    assert compared(four, "nickparvar2021").tolist() == [False, False, False, True]
    assert four.abnormal.tolist() == [True, False, True, False]


def test_panel_names_category_thresholds_and_pictures():
    found = anomaly_of(Scan(np.random.default_rng(0).random((90, 70), np.float32)), 0.93)
    html = panel(Report("x.png", anomaly=found))
    assert 'data-category="anomalous"' in html
    assert html.count("<img ") == html.count('alt="') == 3
    assert "borderline from 0.30, unusual from 0.60" in html
    assert "higher than 92% of held-out normal brains" in html


def test_panel_says_why_there_is_no_score():
    assert "only brain MRI" in panel(Report("x.png"))


def test_error_colours_have_a_fixed_scale():
    error = np.array([[0, 0.1, 0.2, 5]], np.float32)
    colours = np.asarray(heat(error, 0.2))[0]
    assert colours[0].tolist() == [0, 0, 4]
    assert colours[2].tolist() == colours[3].tolist() == [252, 255, 164]
