"""Which way is up: turns, the rule by which an image is turned, and that what lies is judged as what stands."""

from __future__ import annotations

import hashlib
import json
from html import escape
from pathlib import Path

import numpy as np
import pytest
import torch
from orientation_cases import SPEC, Brightest, compass
from PIL import Image
from places import EXAMPLES, ROOT

from mri_models import Scan, WeightsError
from mri_models.advice import advise
from mri_models.evaluation.discs import put_upright
from mri_models.evaluation.turned import way
from mri_models.lettering import WARNING
from mri_models.orientation import QUARTERS, Compass, as_it_came, mask_as_it_came, together, turned
from mri_models.page.render import verdict
from mri_models.pipeline import Pipeline
from mri_models.preprocess import InputSpec
from mri_models.report import LAY, lay
from mri_models.training import orientation
from mri_models.training.corpus import Sample, read_corpus
from mri_models.training.course import BEST
from mri_models.training.inspected import UPSIDE_DOWN, read_overturned
from mri_models.training.orientation import Turned, Turner, load_orientation_recipe, shares, standing
from mri_models.training.orientation_export import answers, export, least
from mri_models.types import Mask, Orientation, Prediction, Report
from mri_models.volumes.pipeline import VolumePipeline


class Gate:
    """Takes everything for an MRI, or nothing."""

    features_key = "gate"

    def __init__(self, label: str = "mri"):
        self.label = label

    def look(self, scan: Scan) -> Scan:
        return scan

    def judge(self, _: Scan) -> Prediction:
        return Prediction(self.label, 0.99, 0.6, {self.label: 0.99}, 0.1, 0.99, True)


def righted(scan: Scan, by: Compass, gate: Gate) -> tuple[Scan, Orientation | None]:
    return Pipeline({"gate": gate, "body_part": gate}, compass=by).upright(scan)


@pytest.fixture
def upright() -> Scan:
    pixels = np.zeros((60, 80), np.float32)
    pixels[5:20, 30:70] = 1
    return Scan(pixels, spacing_mm=(0.5, 0.25))


def test_a_turned_scan_keeps_its_pixels_and_its_spacing(upright: Scan):
    on_its_side = upright.turned(90)
    assert on_its_side.shape == (80, 60)
    assert on_its_side.spacing_mm == (0.25, 0.5)
    assert on_its_side.pixels[0, -1] == upright.pixels[0, 0]  # clockwise: the upper left corner goes to the right
    assert np.array_equal(on_its_side.turned(270).pixels, upright.pixels)
    assert upright.turned(180).spacing_mm == upright.spacing_mm


@pytest.mark.parametrize("quarters", range(QUARTERS))
def test_what_lies_is_turned_upright(upright: Scan, quarters: int):
    lying = Scan(turned(upright.pixels, quarters))
    stands, found = righted(lying, compass(), Gate())
    assert np.array_equal(stands.pixels, upright.pixels)
    assert (found.turn_deg if found else 0) == 90 * quarters


def test_what_is_unsure_or_no_mri_is_left_as_it_came(upright: Scan):
    lying = upright.turned(90)
    for seen in (righted(lying, compass(1.0), Gate()), righted(lying, compass(), Gate("not_mri"))):
        assert seen == (lying, None)


def test_what_the_gate_saw_of_a_turned_image_is_kept(upright: Scan):
    pipeline, looks = Pipeline({"gate": Gate(), "body_part": Gate()}, compass=compass()), {}
    stands, _ = pipeline.upright(upright.turned(90), looks)
    assert looks == {"gate": stands}
    assert pipeline.upright(upright, empty := {}) == (upright, None)
    assert not empty


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_what_is_found_in_a_turned_image_lies_where_it_came(upright: Scan, degrees: int):
    """Outlines go back to the image as it came; boxes of the image as it came go with it when it is turned."""
    lay, came = Orientation(degrees, 0.99, 0.9), upright.turned(-degrees)
    assert np.array_equal(came.turned(degrees).pixels, upright.pixels)
    assert np.array_equal(as_it_came(upright.pixels, lay), came.pixels)
    mask = Mask((upright.pixels > 0).astype(np.uint8), upright.pixels.copy(), ("disc",), 0.9, 0.5)
    back = mask_as_it_came(mask, lay)
    assert np.array_equal(back.values > 0, came.pixels > 0)
    boxes = put_upright(np.array([back.box, back.box]), came.shape, lay)
    assert boxes.tolist() == [list(mask.box)] * 2


def test_nothing_is_put_back_that_was_not_turned():
    values = np.eye(3, 4, dtype=np.uint8)
    assert as_it_came(values, None) is values
    assert put_upright(np.array([[0, 1, 2, 3]]), (3, 4), None).tolist() == [[0, 1, 2, 3]]


def test_an_orientation_is_a_quarter_of_a_turn():
    with pytest.raises(ValueError, match="turn_deg must be"):
        Orientation(45, 0.9, 0.8)
    assert not Orientation(0, 1.0, 0.8).lies
    assert not Orientation(90, 0.7, 0.8).lies


@pytest.mark.parametrize("degrees", LAY)
def test_it_is_said_in_every_form_of_the_report(degrees: int):
    found = Orientation(degrees, 0.99, 0.9)
    report = Report("x", orientation=found, warnings=lay(found))
    assert report.to_dict()["orientation"] == {"turn_deg": degrees, "confidence": 0.99, "threshold": 0.9}
    english, german = ([s.text for s in advise(report, language=one).findings] for one in ("en", "de"))
    assert english[0] == report.warnings[0]
    assert "gedreht" in german[0]
    assert not any("text" in sentence for sentence in english)  # which is another warning


def test_the_threshold_keeps_upright_images_of_every_source():
    shares = np.tile([0.97, 0.01, 0.01, 0.01], (100, 1))
    suspect, sources = np.ones(100, bool), ["many"] * 98 + ["few"] * 2
    assert least(shares, suspect, sources, 0.01) == 0.5
    shares[99] = [0.1, 0.8, 0.05, 0.05]  # half of one of two sources
    assert 0.8 < least(shares, suspect, sources, 0.01) < 0.801
    assert least(shares, ~suspect, sources, 0.01) == 0.5  # which at first sight stands
    shares[[0, 99]] = shares[[99, 0]]  # a 98th of the other
    assert least(shares, suspect, sources, 0.01) == 0.5
    shares[1] = shares[0]  # two of a hundred images
    assert 0.8 < least(shares, suspect, sources, 0.015) < 0.801
    shares[1] = shares[2]
    seems = np.tile(np.arange(4), (100, 1))
    seems[0, 0] = 1
    found = answers(shares, seems, 0.6)
    assert (found["upright_turned"], found["righted"], found["turned_wrongly"]) == (0.01, 0.99, round(2 / 300, 4))
    assert answers(shares, seems, 0.99)["righted"] == 0


def test_four_ways_say_together_what_one_does_not():
    """Each way is doubtful on its own: the image came turned by 90 degrees, and once it seems to stand."""
    logits = np.roll(np.eye(4), 1, axis=1) * 3.0
    logits[2] = [3, 0, 0, 2.5]
    assert together(logits).argmax() == 1
    assert together(np.stack([logits, np.eye(4)])).argmax(1).tolist() == [1, 0]


@pytest.mark.parametrize(("threshold", "label"), [(0.9, "mri"), (1.0, "mri"), (0.9, "not_mri")])
def test_the_table_judges_each_way_as_serving_does(upright: Scan, threshold: float, label: str):
    """Where what lies is turned, where the compass is unsure, and where the gate does not agree."""
    by, mri = compass(threshold), np.full(4, label == "mri")
    ways = [Scan(turned(upright.pixels, quarters)) for quarters in range(QUARTERS)]
    logits = by.logits([one.pixels for one in ways])
    for quarters, scan in enumerate(ways):
        judged = ways[way(by, logits, quarters, mri)]
        assert np.array_equal(righted(scan, by, Gate(label))[0].pixels, judged.pixels)


def test_the_table_asks_what_serving_would_do():
    """Turned by k quarters and righted by as many, or taken for an image that lies otherwise."""
    everywhere, sure = np.ones(4, bool), np.eye(4) * 5
    assert [way(compass(), sure, k, everywhere) for k in range(4)] == [0, 0, 0, 0]
    assert way(compass(1.0), sure, 2, everywhere) == 2
    askew = np.roll(sure, 1, axis=1)  # every way is taken for one that lies by a quarter more
    assert [way(compass(), askew, k, everywhere) for k in range(4)] == [3, 3, 3, 3]
    assert way(compass(), askew, 1, np.array([True, True, True, False])) == 1  # once it stood, it would be no MRI


def test_phantoms_and_the_unborn_have_no_upright(corpus):
    stood = standing(read_corpus(corpus), "train")
    assert {sample.modality for sample in stood} == {"mri"}
    assert not {"phantom", "fetus"} & {sample.body_part for sample in stood}


def test_parts_are_drawn_as_the_recipe_says_and_sources_by_their_roots():
    about = [("brain", "many")] * 16 + [("brain", "few")] * 4 + [("breast", "x")] * 3 + [("knee", "y")] * 2
    samples = [Sample(Path("x"), None, "p", source, "train", "mri", part, {}, "") for part, source in about]
    drawn = shares(samples, {"brain": 0.6, "knee": 0.2, "spine": 0.1, "other": 0.1})
    parts = {part: sum(drawn[i] for i, place in enumerate(about) if place[0] == part) for part in ("brain", "knee")}
    assert drawn.sum() == pytest.approx(1)
    assert parts["knee"] / parts["brain"] == pytest.approx(1 / 3)
    assert drawn[:16].sum() / drawn[16:20].sum() == pytest.approx(2)


def test_validation_turns_by_the_place_in_the_list(tmp_path):
    Image.fromarray(np.diag(np.arange(64, dtype=np.uint8) * 4)).save(tmp_path / "x.png")
    samples = [Sample(tmp_path / "x.png", None, "p", "s", "val", "mri", "brain", {}, "")] * 5
    found = list(Turned(samples, SPEC, 64, train=False))
    assert [int(item["labels"]) for item in found] == [0, 1, 2, 3, 0]
    first = found[0]["pixel_values"][0].numpy()
    assert all(np.array_equal(found[k]["pixel_values"][0].numpy(), np.rot90(first, k)) for k in range(QUARTERS))


def test_training_turns_what_is_augmented_and_says_by_how_much(tmp_path):
    """Bright above in every augmentation, so bright where the label says once it is turned."""
    pixels = np.full((64, 64), 30, np.uint8)
    pixels[:24] = 250
    Image.fromarray(pixels).save(tmp_path / "x.png")
    spec = InputSpec(64, SPEC.mean, SPEC.std)  # small, but not too small to be coarsened
    images = Turned([Sample(tmp_path / "x.png", None, "p", "s", "train", "mri", "brain", {}, "")], spec, 64, train=True)
    torch.manual_seed(0)
    seen = [images[0] for _ in range(120)]
    assert {int(item["labels"]) for item in seen} == {0, 1, 2, 3}
    told = Brightest()(torch.stack([item["pixel_values"] for item in seen])).argmax(1)
    right = [int(one) == int(item["labels"]) for one, item in zip(told, seen, strict=True)]
    assert np.mean(right) > 0.7  # inverted and cut out now and then


def test_a_run_is_calibrated_and_served(tiny_corpus, tmp_path, monkeypatch):
    """Trained for two steps, then exported, loaded, and noticed when altered."""
    monkeypatch.setattr(orientation, "lite_state", lambda _: Turner().timm_model.state_dict())
    recipe = load_orientation_recipe("orientation", ["size=64", "images=4", "batch=2", "evaluations=1", "longest=48"])
    orientation.train(recipe, tiny_corpus, tmp_path / "runs")
    assert (tmp_path / "runs" / "orientation" / BEST).is_file()
    folder = export(recipe, tiny_corpus, tmp_path / "runs", tmp_path / "weights")
    mri = json.loads((folder / "config.json").read_text())["mri"]
    assert mri["validation"]["upright_turned"] <= 0.005
    assert "## Results on test patients" in (folder / "README.md").read_text()
    served = Compass.load(folder)
    assert (served.threshold, served.temperature) == (mri["threshold"], mri["temperature"])
    network = orientation.load_turner(tmp_path / "runs", "orientation")
    image = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    pixels = torch.from_numpy(np.stack([image] * 3)[None] * 2 - 1)
    with torch.inference_mode():
        assert served.logits([image]) == pytest.approx(network(pixels)["logits"].numpy(), abs=0.02)
    (folder / "model.safetensors").write_bytes(b"altered")
    with pytest.raises(WeightsError, match="SHA-256"):
        Compass.load(folder)


@pytest.mark.weights
@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_lying_head_gets_the_answer_of_the_upright_one(pipeline, degrees: int):
    scan = pipeline.read(EXAMPLES / "01_brain_t1_axial.png")
    upright = pipeline.verdict(scan)
    found = pipeline.verdict(scan.turned(-degrees))
    assert found.orientation.turn_deg == degrees
    assert np.array_equal(found.scan.pixels, scan.pixels)
    assert found.diagnosis == upright.diagnosis
    assert found.anomaly.score == upright.anomaly.score


@pytest.mark.weights
def test_slices_of_a_volume_are_never_turned(pipeline, monkeypatch):
    def refuse(*_: object) -> None:
        raise AssertionError("a slice was looked at for its orientation")

    monkeypatch.setattr(Compass, "__call__", refuse)
    report = VolumePipeline(pipeline)(EXAMPLES / "volumes" / "22_brain_pd_series.zip")
    assert report.slices


def test_the_list_of_what_stands_on_its_head_goes_by_file_and_by_series():
    overturned = read_overturned()
    listed = [("tcia_btp", "01_Post_03"), ("kneebones3dify", "axi128"), ("spider", "52_t1")]
    others = [("kneebones3dify", "sag071"), ("spider", "52_t11"), ("cheng2015", "52_t1")]
    assert [overturned(*one) for one in listed + others] == [True] * 3 + [False] * 3


@pytest.mark.parametrize("degrees", LAY)
def test_the_verdict_shows_the_way_in_which_it_was_turned(degrees: int):
    found = Orientation(degrees, 0.99, 0.9)
    shown = verdict(Report("x", orientation=found, warnings=(*lay(found), WARNING)))
    assert shown.count(escape(lay(found)[0])) == shown.count(escape(WARNING)) == shown.count("mri-turned") == 1
    assert ("is-left" in shown) == (degrees == 270)
    assert "mri-turn" not in verdict(Report("x", warnings=(WARNING,)))


def test_the_served_network_learned_from_the_list_as_it_is():
    mri = json.loads((ROOT / "weights" / "orientation" / "config.json").read_text())["mri"]
    assert mri["upside_down"] == hashlib.sha256(UPSIDE_DOWN.read_bytes()).hexdigest()
