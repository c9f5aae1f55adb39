"""3D outlines: axes, grids, patches, crumbs, and the recipe's strictness. Networks here have random weights."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from mri_models.errors import QualityRejected, RecipeError, WeightsError
from mri_models.evaluation.volumetric import as_volume, measure_volumes, thinned, volume_table
from mri_models.training.average import SkipBroken
from mri_models.training.patches import GridVolume, Patches, Whole, cut, on_grid, thick
from mri_models.training.segment3d import Lesson, load_segment3d_recipe
from mri_models.training.volumes import LabelledVolume
from mri_models.unet3d import FoldedUNet, fold, read_unet3d, unfold
from mri_models.volumes.grid import place
from mri_models.volumetric import CONFIG_VERSION, MAX_SLICES, PatchSegmenter, VolumeRule, resize, without_crumbs

LABELS = ("bone", "disc")
SHAPE = {
    "labels": list(LABELS),
    "fold": [1, 2, 2],
    "kernels": [[1, 3, 3], [3, 3, 3], [3, 3, 3]],
    "strides": [[1, 1, 1], [2, 2, 2], [1, 2, 2]],
    "widths": [8, 8, 8],
}
RULE = VolumeRule((1.0, 1.0, 1.0), (8, 16, 16), 0.5)


class Bright(torch.nn.Module):
    """Calls voxels above 0.75 disc, above 0.35 bone: the answer is known for any image."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(40.0))

    def forward(self, voxels: torch.Tensor) -> torch.Tensor:
        bone = self.scale * (voxels - 0.35)
        return torch.cat([torch.zeros_like(voxels), bone, bone + self.scale * (voxels - 0.75)], 1)


def segmenter(rule: VolumeRule = RULE) -> PatchSegmenter:
    return PatchSegmenter(Bright(), LABELS, rule, "test", "0" * 64)


def phantom(shape: tuple[int, int, int] = (20, 24, 28)) -> np.ndarray:
    """(X, Y, Z) to the right, anterior, superior: a block of bone with a disc in its upper, right, front corner."""
    values = np.zeros(shape, np.float32)
    values[4:16, 4:20, 4:24] = 0.5
    values[10:16, 12:20, 16:24] = 1.0
    return values


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    network = FoldedUNet(**SHAPE)
    save_file({k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}, tmp_path / "w")
    (tmp_path / "w").rename(tmp_path / "model.safetensors")
    digest = hashlib.sha256((tmp_path / "model.safetensors").read_bytes()).hexdigest()
    mri = {"version": CONFIG_VERSION, "name": "test", "spacing_mm": [1, 1, 1], "patch": [8, 16, 16], "overlap": 0.25}
    mri |= {"temperature": 1.5, "least_ml": 0.1, "sha256": digest}
    (tmp_path / "config.json").write_text(json.dumps(network.shape | {"mri": mri}))
    return tmp_path


def test_fold_is_undone_by_unfold_and_keeps_neighbours_together():
    voxels = torch.arange(2 * 4 * 4 * 6.0).reshape(1, 2, 4, 4, 6)

    points = fold(voxels, (1, 2, 2))

    assert points.shape == (1, 8, 4, 2, 3)
    assert points[0, :4, 0, 0, 0].tolist() == [0, 1, 6, 7]
    assert torch.equal(unfold(points, (1, 2, 2)), voxels)


def test_the_network_answers_at_full_resolution():
    network = FoldedUNet(**SHAPE).eval()

    assert network.multiple == (2, 8, 8)
    assert network(torch.zeros(1, 1, 4, 8, 16)).shape == (1, 3, 4, 8, 16)


@pytest.mark.parametrize("slice_axis", [0, 1, 2])
def test_labels_lie_on_the_input_voxels_whatever_the_plane(slice_axis: int):
    values = phantom()
    volume = place(values, np.diag([1.0, 1.0, 1.0, 1.0]), slice_axis=slice_axis)

    mask = segmenter()(volume)

    assert np.array_equal(volume.to_input(mask.values), (values > 0.35).astype(np.uint8) + (values > 0.75))
    assert mask.ml["disc"] == pytest.approx(6 * 8 * 8 / 1000)


def test_the_network_sees_every_plane_the_same_way_up():
    seen = []

    class Watching(Bright):
        def forward(self, voxels: torch.Tensor) -> torch.Tensor:
            seen.append(voxels[0, 0].float().clone())
            return super().forward(voxels)

    rule = VolumeRule((1.0, 1.0, 1.0), (20, 28, 24), 0.0)  # right to left, head to foot, front to back
    for axis in range(3):
        volume = place(phantom(), np.diag([1.0, 1.0, 1.0, 1.0]), slice_axis=axis)
        PatchSegmenter(Watching(), LABELS, rule, "test", "")(volume)

    expected = torch.from_numpy(phantom().transpose(0, 2, 1)[::-1, ::-1, ::-1].copy())
    assert all(torch.allclose(one, expected, atol=0.01) for one in seen)


class AllDisc:
    """Stands for the network of sagittal slices: calls every pixel disc, on a canvas of 32 px."""

    labels = LABELS

    def __init__(self):
        self.looks = 0

    def probabilities(self, scans: list) -> np.ndarray:
        self.looks += len(scans)
        return np.tile(np.array([0, 0, 1], np.float32).reshape(1, 3, 1, 1), (len(scans), 1, 32, 32))


def with_slicer(slicer: AllDisc, share: float = 0.6) -> PatchSegmenter:
    return PatchSegmenter(Bright(), LABELS, dataclasses.replace(RULE, slices=share), "test", "", slicer)


def test_the_network_for_slices_counts_by_its_share():
    volume = place(phantom(), np.eye(4), slice_axis=0)

    most, least = with_slicer(AllDisc())(volume), with_slicer(AllDisc(), 0.3)(volume)

    assert (most.values == 1 + LABELS.index("disc")).all()
    assert np.array_equal(least.values, segmenter()(volume).values)
    assert least.probability.min() >= 0.5


def test_the_network_for_slices_is_asked_about_few_sagittal_ones_alone():
    slicer = AllDisc()
    for axis in (1, 2):
        with_slicer(slicer)(place(phantom(), np.eye(4), slice_axis=axis))
    with_slicer(slicer)(place(phantom((MAX_SLICES + 1, 24, 28)), np.eye(4), slice_axis=0))
    assert slicer.looks == 0
    with_slicer(slicer)(place(phantom(), np.eye(4), slice_axis=0))
    assert slicer.looks == 20


def test_a_network_for_slices_with_other_labels_has_no_say():
    stranger = AllDisc()
    stranger.labels = ("disc",)
    assert with_slicer(stranger).slicer is None


def test_other_spacings_come_back_on_their_own_grid_with_the_same_millilitres():
    values = np.kron(phantom(), np.ones((1, 2, 2), np.float32))
    volume = place(values, np.diag([1.0, 0.5, 0.5, 1.0]), slice_axis=0)

    mask = segmenter()(volume)

    assert mask.values.shape == volume.shape
    assert mask.ml["bone"] + mask.ml["disc"] == pytest.approx(12 * 16 * 20 / 1000, rel=0.05)
    assert mask.probability.dtype == np.float32
    assert mask.probability.min() > 1 / 3 - 1e-3  # of the answer given, so never below that of three equal classes


def test_more_than_a_trunk_is_refused_before_anything_of_that_size_is_made(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mri_models.volumetric.resize", lambda *_: pytest.fail("resized first"))
    volume = place(np.random.default_rng(0).random((8, 40, 40), np.float32), np.diag([30.0, 30, 30, 1]), slice_axis=0)

    with pytest.raises(QualityRejected, match="more than a trunk"):
        segmenter()(volume)


def test_a_folder_is_read_and_an_altered_one_refused(folder: Path):
    read = PatchSegmenter.load(folder)

    assert (read.labels, read.rule.temperature, read.rule.least_ml) == (LABELS, 1.5, 0.1)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"widths": [8, 8, 16]}))
    with pytest.raises(WeightsError, match="can't be loaded as a volume network"):
        PatchSegmenter.load(folder)


def test_another_config_version_is_named(folder: Path):
    config = json.loads((folder / "config.json").read_text())
    config["mri"]["version"] = 99
    (folder / "config.json").write_text(json.dumps(config))

    with pytest.raises(WeightsError, match="config version 99"):
        PatchSegmenter.load(folder)


def test_the_hub_s_own_reader_gives_the_same_network(folder: Path):
    theirs = FoldedUNet.from_pretrained(folder)

    ours = read_unet3d(json.loads((folder / "config.json").read_text()), folder / "model.safetensors")
    voxels = torch.rand(1, 1, 4, 16, 16)
    assert torch.allclose(theirs.eval()(voxels), ours(voxels), atol=1e-5)


def test_resize_keeps_edges_in_place_and_fine_stripes_from_folding():
    stripes = torch.tensor([0.0, 1.0] * 8).reshape(1, 1, 16).expand(2, 2, 16).contiguous()

    small = resize(stripes, (2, 2, 6))

    assert resize(torch.ones(2, 3, 4), (4, 3, 2)).shape == (4, 3, 2)
    assert (small[0, 0, 1:-1] - 0.5).abs().max() < 0.2


def test_crumbs_go_but_the_largest_part_stays():
    values = np.zeros((4, 8, 8), np.uint8)
    values[0, 0, 0], values[1:3, 4:6, 4:6], values[3, 7, 0] = 1, 1, 2

    kept = without_crumbs(values, voxel_ml=0.1, least_ml=0.5)

    assert (kept == 1).sum() == 8
    assert (kept == 2).sum() == 1


def labelled() -> LabelledVolume:
    image = phantom()
    return LabelledVolume(
        image, (image > 0.35).astype(np.uint8) + (image > 0.75), (1.0, 1.0, 1.0), "p", "somewhere", "test"
    )


def test_training_and_serving_turn_a_volume_alike():
    volume = labelled()

    ready = on_grid(volume, (1.0, 1.0, 1.0), 2)

    assert np.allclose(ready.voxels, as_volume(volume).voxels, atol=1e-6)
    assert np.array_equal(ready.labels, as_volume(volume).grid.to_volume(volume.labels))
    assert all((ready.labels.numpy()[tuple(found.T)] == k).all() for k, found in enumerate(ready.places, 1))


class Still(np.random.Generator):
    """Draws that change nothing."""

    def __init__(self):
        super().__init__(np.random.PCG64(0))

    def normal(self, loc=0.0, scale=1.0, size=None):
        return np.zeros(size if size is not None else np.shape(scale)) + loc

    def choice(self, options, *_args, **_kwargs):
        return options[-1]


def test_a_patch_without_variation_is_the_volume_itself():
    ready = on_grid(labelled(), (1.0, 1.0, 1.0), 2)

    image, labels = cut(ready, np.array([7.5, 11.5, 9.5]), (8, 12, 8), Still())

    assert torch.allclose(image, ready.voxels[4:12, 6:18, 6:14], atol=1e-4)
    assert torch.equal(labels, ready.labels[4:12, 6:18, 6:14].long())


def test_patches_keep_image_and_labels_together_and_are_mostly_about_something():
    torch.manual_seed(0)
    ready = on_grid(labelled(), (1.0, 1.0, 1.0), 2)
    items = [Patches([ready], (8, 8, 8))[0] for _ in range(12)]

    assert all(item["pixel_values"].shape == (1, 8, 8, 8) and item["labels"].max() <= 2 for item in items)
    assert np.mean([bool(item["labels"].any()) for item in items]) > 0.7
    assert all(item["pixel_values"].min() >= 0 and item["pixel_values"].max() <= 1 for item in items)


def test_slabs_thinner_than_a_patch_lie_inside_it():
    thin = GridVolume(torch.ones(5, 16, 16), torch.ones(5, 16, 16, dtype=torch.uint8), (np.zeros((0, 3), int),), "p")

    found = Patches([thin], (8, 8, 8))[0]["labels"]

    assert found.shape == (8, 8, 8)
    assert found.any()


def test_whole_volumes_are_padded_with_background_to_one_shape():
    volumes = [on_grid(labelled(), mm, 2) for mm in ((1.0, 1.0, 1.0), (2.0, 2.0, 2.0))]

    shapes = {tuple(Whole(volumes, (8, 16, 16))[i]["labels"].shape) for i in range(2)}

    assert shapes == {(24, 32, 32)}


def test_thick_slices_leave_an_even_image_and_know_only_every_fourth_slice():
    rng = np.random.default_rng(0)
    each_its_own = torch.eye(12)[:, :, None]

    assert torch.allclose(thick(torch.full((12, 2, 2), 0.3), 4, rng), torch.tensor(0.3), atol=1e-6)
    assert torch.linalg.matrix_rank(thick(each_its_own, 4, rng)[:, :, 0]) == 3


def test_the_averaged_weights_follow_the_network():
    recipe = load_segment3d_recipe("segment_spine3d", ["widths=[8, 8, 8, 8]"])
    lesson = Lesson(recipe)
    before = next(lesson.average.parameters()).clone()
    with torch.no_grad():
        next(lesson.network.parameters()).add_(1)

    lesson.follow(0.75)

    assert torch.allclose(next(lesson.average.parameters()) - before, torch.tensor(0.25), atol=1e-6)


def test_a_step_with_a_broken_gradient_changes_nothing():
    layer = torch.nn.Linear(2, 1)
    before = layer.weight.detach().clone()
    optimizer = torch.optim.AdamW(layer.parameters())
    layer.weight.grad, layer.bias.grad = torch.tensor([[1.0, torch.nan]]), torch.ones(1)

    SkipBroken().on_pre_optimizer_step(None, None, None, model=layer)
    optimizer.step()

    assert torch.equal(layer.weight, before)


def test_patches_that_can_t_be_halved_are_refused():
    with pytest.raises(RecipeError, match=r"patch must be multiples of \(8, 16, 16\)"):
        load_segment3d_recipe("segment_spine3d", ["patch=[16, 100, 160]"])


def test_evaluation_is_by_patient_and_a_perfect_answer_scores_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mri_models.evaluation.volumetric.read_volumes", lambda *_: [labelled()])

    found = measure_volumes(segmenter(), Path(), "test")

    assert found["somewhere"]["dice"]["disc"]["value"] == 1
    assert found["somewhere"]["volume_error"]["bone"]["value"] == 0
    assert "| somewhere | 1 | 1 | bone | 1.000 | 0.000 |" in volume_table(found)


def test_a_limited_evaluation_asks_fewer_volumes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mri_models.evaluation.volumetric.read_volumes", lambda *_: [labelled()] * 3)

    assert measure_volumes(segmenter(), Path(), "test", 2)["somewhere"]["volumes"] == 2
    assert measure_volumes(segmenter(), Path(), "test")["somewhere"]["volumes"] == 3


def test_thinning_keeps_the_middle_slice_and_states_the_wider_spacing():
    few = thinned(labelled(), 4)

    assert (len(few.image), few.spacing) == (5, (4.0, 1.0, 1.0))
    assert np.array_equal(few.image[2], labelled().image[10])
