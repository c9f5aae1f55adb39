"""Outline networks from images with masks to a folder that serving loads."""

from __future__ import annotations

import csv
import json
from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from places import ROOT
from safetensors.torch import save_file

from mri_models.__main__ import main
from mri_models.errors import DataError, RecipeError
from mri_models.evaluation.segmentation import dice
from mri_models.localize import OutlineRule, Segmenter
from mri_models.preprocess import InputSpec
from mri_models.training import segment
from mri_models.training.commands import trade
from mri_models.training.course import taught_by
from mri_models.training.outlines import (
    HEALED,
    SUBJECTS,
    Outlined,
    Outlines,
    Subject,
    draw_shares,
    letterbox_mask,
)
from mri_models.training.quick import COMPILED, quicken
from mri_models.training.recipe import FOLDER
from mri_models.training.segment import overlap, parameter_groups
from mri_models.training.segment_export import TEMPERATURES, export, fit_rule
from mri_models.training.segment_start import load_network, load_segment_recipe, start_encoder, start_network
from mri_models.training.soups import compare, read_shares
from mri_models.training.taught import taught
from mri_models.training.volumes import read_volumes
from mri_models.types import Scan
from mri_models.unet import ResUNet

COLUMNS = ("path", "modality", "body_part", "label", "patient", "split", "source", "mask", "note")
TINY = ("encoder='resnet10t'", "encoder_args={}", "start=''", "frozen=0", "widths=[16,16,8,8]", "size=64")
SMALL_RUN = (*TINY, "serve_size=64", "images=16", "batch=4", "evaluations=1", "longest=80")


@pytest.fixture
def tumours(tmp_path):
    """Eight slices with a bright, outlined disc of three kinds, and four without."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:80, :80]
    rows = []
    for i in range(12):
        disc = np.hypot(y - 40, x - 30 - i) < 9
        inside = disc if i < 8 else np.zeros_like(disc)
        pixels = np.clip(
            0.3 * (np.hypot(y - 40, x - 40) < 36) + 0.5 * inside + rng.normal(0.05, 0.02, disc.shape), 0, 1
        )
        for name, values in ((f"{i}.png", pixels), (f"{i}_mask.png", inside)):
            Image.fromarray((values * 255).astype(np.uint8)).save(tmp_path / name)
        label, source = (("glioma", "meningioma", "pituitary")[i % 3], "cheng2015") if i < 8 else ("no_tumor", "ixi")
        mask = f"{i}_mask.png" if i < 8 else ""
        rows.append((f"{i}.png", "mri", "brain", label, f"p{i}", ("train", "val")[i % 4 == 3], source, mask, ""))
    with (tmp_path / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    return tmp_path


@pytest.mark.parametrize(
    "name", sorted(p.stem for p in FOLDER.glob("*.toml") if trade(p.stem).load is load_segment_recipe)
)
def test_every_recipe_loads(name):
    recipe = load_segment_recipe(name)
    assert recipe.name.startswith(f"segmentation/{recipe.subject}")
    assert sum((recipe.shares or SUBJECTS[recipe.subject].shares).values()) == pytest.approx(1)


def test_a_wrong_recipe_is_an_error():
    with pytest.raises(RecipeError, match="unknown"):
        load_segment_recipe("segment_tumour", ["colour=red"])
    with pytest.raises(RecipeError, match="subject must be one"):
        load_segment_recipe("segment_tumour", ["subject=heart"])
    with pytest.raises(RecipeError, match="gliomas"):
        load_segment_recipe("segment_tumour", ["shares={gliomas = 1.0}"])


def test_from_images_to_a_folder_that_serves(tumours, tmp_path):
    recipe = load_segment_recipe("segment_tumour_first", SMALL_RUN)
    runs, weights = tmp_path / "runs", tmp_path / "weights"
    segment.train(recipe, tumours, runs, weights)
    folder = export(recipe, tumours, runs, weights)
    served = Segmenter.load(folder)
    mri = json.loads((folder / "config.json").read_text())["mri"]
    assert mri["validation"]["images"] == 2
    assert mri["validation"]["empty_images"] == 1
    assert served.rule.labels == ("glioma", "meningioma", "pituitary")
    assert served.rule.peak >= served.rule.pixel
    assert "## Results on test patients" in (folder / "README.md").read_text()
    same = load_network(recipe.name, runs)
    image = torch.zeros(1, 3, 64, 64)
    with torch.inference_mode():  # served in half precision
        torch.testing.assert_close(served.runner(image)[0], same(image), atol=0.05, rtol=0.05)
    assert served(Scan(np.zeros((70, 90), np.float32))).values.shape == (70, 90)


def test_averages_are_judged_as_they_would_be_served(tumours, tmp_path):
    runs, weights = tmp_path / "runs", tmp_path / "weights"
    one = load_segment_recipe("segment_tumour_first", [*SMALL_RUN, "finer=[96]"])
    for seed in (0, 1):
        segment.train(replace(one, name=f"segmentation/tumour_{seed}", seed=seed), tumours, runs, weights)
    both = replace(one, soup={"segmentation/tumour_0": 0.5, "segmentation/tumour_1": 0.5})
    judged = list(compare(both, [], tumours, runs))
    assert [list(shares.values()) for shares, _ in judged] == [[1, 0], [0, 1], [0.5, 0.5]]
    segment.train(both, tumours, runs, weights)
    mri = json.loads((export(both, tumours, runs, weights) / "config.json").read_text())["mri"]
    assert judged[-1][1] == mri["validation"]
    [(shares, figures)] = compare(both, [[3, 1]], tumours, runs)
    assert shares == {"segmentation/tumour_0": 3, "segmentation/tumour_1": 1}
    assert figures["images"] == mri["validation"]["images"]


def test_an_average_is_asked_for_with_another_edge(tmp_path, capsys):
    assert main(["average", "segment_tumour", "--set", "edge=freehand", "--runs", str(tmp_path)]) != 0
    assert "edge must be one of threshold, rank_dice" in capsys.readouterr().err


def test_shares_that_fit_no_soup_are_refused(tmp_path):
    recipe = load_segment_recipe("segment_tumour")
    for shares in ([1.0], [0.0] * len(recipe.soup), [-1.0] * len(recipe.soup)):
        with pytest.raises(RecipeError, match="--shares takes"):
            next(compare(recipe, [shares], tmp_path, tmp_path))
    with pytest.raises(RecipeError, match="numbers like"):
        read_shares("half,half")
    with pytest.raises(RecipeError, match="averages no runs"):
        next(compare(load_segment_recipe("segment_acl"), [], tmp_path, tmp_path))


def test_no_run_is_said_plainly(tmp_path):
    with pytest.raises(RecipeError, match="run `python -m mri_models train`"):
        load_network("segmentation/tumour", tmp_path)


def test_another_trunk_is_refused(tmp_path):
    save_file({"timm_model.conv.weight": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(RecipeError, match="another trunk"):
        start_encoder(ResUNet("resnet10t", ["tumour"], widths=(16, 16, 8, 8)), tmp_path)


def test_a_trunk_takes_the_place_of_the_encoder_only(tmp_path):
    torch.manual_seed(0)
    changes = [*SMALL_RUN, "trunk='brain'"]
    recipe = load_segment_recipe("segment_tumour_first", changes)
    (tmp_path / "brain").mkdir()
    other = ResUNet(recipe.encoder, ["tumour"], recipe.encoder_args, recipe.widths)
    state = {f"timm_model.{key}": value for key, value in other.encoder.state_dict().items()}
    save_file(state, tmp_path / "brain" / "model.safetensors")
    network = start_network(recipe, tmp_path, tmp_path)
    torch.testing.assert_close(network.encoder.conv1[0].weight, other.encoder.conv1[0].weight)
    assert not torch.equal(network.head.weight, other.head.weight)


class Bright(torch.nn.Module):
    """Takes what is brighter than `level` for a tumour; `halves` the answer on images that it sees mirrored."""

    def __init__(self, level: float = 0.7, *, halves: bool = False):
        super().__init__()
        self.level, self.halves = level, halves

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        tumour = (batch[:, :1] > 2 * self.level - 1).float()
        if self.halves:
            tumour[..., : tumour.shape[-1] // 2] = 0
        return torch.cat([torch.zeros_like(tumour), 20 * tumour - 10], 1)


@pytest.mark.parametrize(
    ("network", "found"), [(Bright(), 2), (Bright(halves=True), 0), (Bright(2.0), 0)], ids=["sure", "torn", "nothing"]
)
def test_a_teacher_outlines_training_tumours_without_an_outline(tumours, network, found):
    lines = (tumours / "manifest.csv").read_text().splitlines()
    lines = [line.replace(f"{i}_mask.png", "") if i in (0, 1, 3) else line for i, line in enumerate(lines, -1)]
    (tumours / "manifest.csv").write_text("\n".join(lines) + "\n")  # 0 and 1 train, 3 validates
    outlines = taught(tumours, 80, network, 64)
    assert len(outlines) == found
    for one in outlines:
        assert one.split == "train"
        assert one.kind in ("glioma", "meningioma")
        assert 100 < one.mask.sum() < 500  # the disc has 253 pixels


@pytest.mark.weights
def test_the_first_stages_stay_and_the_rest_learns(tmp_path):
    lesson = segment.Lesson(load_segment_recipe("segment_tumour_first"), tmp_path, ROOT / "weights").train()
    encoder = lesson.network.encoder
    assert not encoder.blocks[1].training
    assert encoder.blocks[2].training
    assert not any(p.requires_grad for p in encoder.conv_stem.parameters())
    rates = [group["lr"] for group in parameter_groups(lesson, load_segment_recipe("segment_tumour"))]
    assert rates[0] < rates[1]


def test_overlap_counts_each_label_and_an_empty_pair_as_right():
    truth = torch.tensor([[[1, 1, 0, 2]], [[0, 0, 0, 0]]])
    answer = torch.tensor([[[1, 0, 0, 0]], [[0, 0, 0, 2]]])
    torch.testing.assert_close(overlap(answer, truth, 2), torch.tensor([[2 / 3, 0.0], [1.0, 0.0]]))


def test_a_quickened_network_says_the_same_and_keeps_depthwise_convolutions_in_float32(monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    torch.manual_seed(0)
    network = ResUNet("tf_efficientnet_lite0", ("tumour",), widths=(16, 16, 8, 8)).eval()
    images, seen = torch.rand(1, 3, 64, 64), []
    before = network(images)
    convolution = type(next(m for m in network.modules() if getattr(m, "groups", 1) > 1))
    forward = convolution.forward
    monkeypatch.setattr(
        convolution, "forward", lambda self, x: seen.append((self.groups > 1, x.dtype)) or forward(self, x)
    )

    quicken(network, steps=10)

    assert torch.equal(network(images), before)
    seen.clear()
    with torch.autocast("cpu", torch.bfloat16):
        close = network(images).float()
    assert (close - before).abs().mean() < 0.05 * before.abs().mean()
    assert {kind for depthwise, kind in seen if depthwise} == {torch.float32}
    assert torch.bfloat16 in {kind for depthwise, kind in seen if not depthwise}


def test_a_long_run_is_fused_in_training_alone(monkeypatch):
    fused = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("mri_models.training.quick.shutil.which", lambda _: "/usr/bin/c++")
    monkeypatch.setattr("torch.compile", lambda forward: lambda images: fused.append(1) or forward(images))
    short, long = torch.nn.Conv2d(3, 3, 1), torch.nn.Conv2d(3, 3, 1)
    quicken(short, COMPILED - 1)
    quicken(long, COMPILED)
    images = torch.rand(1, 3, 8, 8)

    short.train()(images), long.eval()(images)
    assert not fused
    long.train()(images)
    assert fused == [1]


def picture(kind: str, source: str, mask: np.ndarray | None = None, patient: str = "p") -> Outlined:
    pixels = np.full((60, 90), 120, np.uint8)
    return Outlined(pixels, np.zeros((60, 90), np.uint8) if mask is None else mask, patient, source, "train", kind)


def test_draws_follow_kinds_and_the_root_of_sources():
    pictures = [picture("a", "x")] * 4 + [picture("a", "y")] + [picture("b", "x")] * 2
    shares = draw_shares(pictures, {"a": 0.75, "b": 0.25})
    assert shares[:5].sum() == pytest.approx(0.75)
    assert shares[:4].sum() == pytest.approx(2 * shares[4])


def test_patients_are_drawn_by_the_root_of_their_images():
    shares = draw_shares([picture("a", "x", patient="many")] * 9 + [picture("a", "x", patient="one")], {"a": 1.0})
    assert shares.sum() == pytest.approx(1.0)
    assert shares[:9].sum() == pytest.approx(3 * shares[9])


def test_images_and_outlines_are_varied_together():
    mask = np.zeros((60, 90), np.uint8)
    mask[20:40, 30:60] = 1
    bright = Outlined(np.where(mask, 250, 40).astype(np.uint8), mask, "p", "s", "train", "a")
    subject = Subject(("thing",), lambda *_: [], {"a": 1.0}, "brain")
    items = Outlines([bright], subject, InputSpec(96, (0.5,) * 3, (0.5,) * 3), hard=0.0, train=True)
    torch.manual_seed(0)
    for _ in range(8):
        item = items[0]
        image, label = item["pixel_values"][0], item["labels"]
        assert label.shape == (96, 96)
        assert image[label == 1].mean() > image[label == 0].mean() + 0.3


def test_the_mask_lies_like_the_letterbox():
    mask = np.ones((30, 90), np.uint8)
    placed = letterbox_mask(mask, 96)
    assert placed[32:64].all()
    assert not placed[:32].any()


def test_volumes_come_in_one_orientation(tmp_path):
    image = np.zeros((4, 5, 6), np.float32)
    image[:, :, 5] = 1  # superior, when the axes run right, anterior, superior
    labels = (image > 0).astype(np.uint8)
    turned = nibabel.Nifti1Image(image, np.eye(4)).as_reoriented([[2, -1], [1, 1], [0, 1]])
    nibabel.save(turned, tmp_path / "a.nii.gz")
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)).as_reoriented([[2, -1], [1, 1], [0, 1]]), tmp_path / "b.nii.gz")
    (tmp_path / "volumes.csv").write_text(
        "image,label,body_part,patient,split,source\na.nii.gz,b.nii.gz,spine,s:1,train,s\n"
    )
    [volume] = read_volumes(tmp_path, "spine")
    assert volume.image.shape == (4, 5, 6)
    assert volume.labels[:, :, 5].all()
    slices, outlines = volume.sagittal()
    assert slices.shape == (4, 6, 5)
    assert (slices[:, 0] == 255).all()
    assert (outlines[:, 0] == 1).all()
    with pytest.raises(DataError, match=r"volumes\.csv"):
        read_volumes(tmp_path / "nowhere", "spine")


@pytest.mark.corpus
def test_the_corpus_never_trains_on_the_other_hospital(corpus):
    found = SUBJECTS["tumour"].read(corpus, 64)
    assert {p.split for p in found if p.source == "tcia_btp"} == {"test"}
    assert all(p.mask.any() == (p.kind != HEALED) for p in found if p.source == "cheng2015")
    assert {p.split for p in found if p.kind == HEALED} == {"train", "val"}
    assert not any(p.mask.any() for p in found if p.kind == "no_tumor")


class Told(Segmenter):
    """Says of every image, by its first pixel, how probable the square in its middle is."""

    def __init__(self, told: list[float]):
        self.told, self.labels = told, ("x",)
        self.rule = OutlineRule(0.0, 0.0, "brain", (), 0.0)

    def probabilities(self, scans):
        found = np.zeros((len(scans), 2, 64, 64), np.float32)
        for one, scan in zip(found, scans, strict=True):
            one[1, 20:40, 20:40] = self.told[round(float(scan.pixels[0, 0]) * 255)]
        found[:, 0] = 1 - found[:, 1]
        return found


def test_thresholds_keep_their_rule_and_say_what_serving_gives():
    told = [0.5 + 0.04 * i for i in range(10)] + [0.1, 0.95]
    square = np.zeros((64, 64), np.uint8)
    square[20:40, 20:40] = 1
    pictures = [
        Outlined(np.full((64, 64), i, np.uint8), square * (i < 10), str(i), "s", "val", "k") for i in range(len(told))
    ]
    rule, answers = fit_rule(Told(told), pictures, 0.2)
    assert (rule.pixel, rule.peak) == (0.3, 0.54)  # not between two scores, where more than a fifth would be missed
    assert answers == {"dice": 0.9, "images": 10, "missed": 0.1, "empty_images": 2, "outlined": 0.5}
    rule, answers = fit_rule(Told([score + 6e-5 for score in told]), pictures, 0.2)
    assert (rule.peak, answers["missed"]) == (0.54, 0.1)  # a threshold that is rounded misses no more


def test_the_expected_dice_is_put_right_by_what_validation_outlines_had():
    """The surer the network, the better its outlines here, but never as good as it expects."""
    told = [0.3 + 0.02 * i for i in range(30)]
    pictures = []
    for i in range(30):
        mask = np.zeros((64, 64), np.uint8)
        mask[20:40, 20 : 20 + 5 + i // 2] = 1
        pictures.append(Outlined(np.full((64, 64), i, np.uint8), mask, str(i), "s", "val", "k"))
    rule, answers = fit_rule(Told(told), pictures, 0.0, "rank_dice")
    served = Told(told).with_rule(rule)
    masks = served.masks([Scan(p.pixels.astype(np.float32) / 255) for p in pictures])
    real = [dice(m.values > 0, p.mask > 0) for m, p in zip(masks, pictures, strict=True)]
    expected = [mask.expected_dice for mask in masks]
    assert np.mean(expected) == pytest.approx(np.mean(real), abs=1e-3)
    assert answers["expected_dice_correlation"] == pytest.approx(np.corrcoef(expected, real)[0, 1], abs=1e-3)
    assert answers["expected_dice_correlation"] > 0.9


def test_a_rule_by_rank_is_served_as_it_was_fitted(tumours, tmp_path):
    recipe = load_segment_recipe("segment_tumour_first", [*SMALL_RUN, "edge=rank_dice", "images=160"])
    runs, weights = tmp_path / "runs", tmp_path / "weights"
    segment.train(recipe, tumours, runs, weights)
    folder = export(recipe, tumours, runs, weights)
    mri = json.loads((folder / "config.json").read_text())["mri"]
    served = Segmenter.load(folder)
    assert mri["rank_dice"]["temperature"] in TEMPERATURES
    assert served.rule.temperature == mri["rank_dice"]["temperature"]
    assert served.rule.trust == (mri["rank_dice"]["slope"], mri["rank_dice"]["offset"])
    assert "RankDice" in (folder / "README.md").read_text()
    pictures = [p for p in SUBJECTS["tumour"].read(tumours, 80) if p.split == "val" and p.mask.any()]
    masks = served.masks([Scan(p.pixels.astype(np.float32) / 255) for p in pictures])
    assert all(0 <= mask.to_dict()["expected_dice"] <= 1 for mask in masks if mask.found)


def test_only_a_single_structure_is_drawn_by_rank():
    with pytest.raises(RecipeError, match="edge must be"):
        load_segment_recipe("segment_spine", ["edge=rank_dice"])
    with pytest.raises(RecipeError, match="edge must be"):
        load_segment_recipe("segment_tumour", ["edge=sharp"])


def test_cards_count_what_taught():
    seen = [picture("a", "x"), picture("b", "y"), replace(picture("b", "z"), split="val")]
    assert taught_by(seen) == {"images": 2, "sources": ["x", "y"]}
