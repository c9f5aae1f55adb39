"""A volume's way with stand-ins for the networks: pooling, refusals, outlines, JSON, masks, the command line."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from fakes import FakePipeline
from volume_cases import brain, brain_nifti, discs, named, nifti, series, zipped

from mri_models import __main__ as command
from mri_models.errors import QualityRejected
from mri_models.localize import TUMOUR
from mri_models.pace import Pace
from mri_models.page.volume_render import measures
from mri_models.types import DISCLAIMER, Mask, Report, Scan, Volume, VolumeMask, VolumeReport
from mri_models.volumes.choose import informative
from mri_models.volumes.files import inputs, stem, within
from mri_models.volumes.intake import read_volume
from mri_models.volumes.nifti import mask_nifti
from mri_models.volumes.pipeline import VolumePipeline, name_of
from mri_models.volumes.pool import numbers


class Bright:
    """A 2D segmenter that outlines what is bright."""

    digest = "b7" * 32

    def __call__(self, scan: Scan) -> Mask:
        values = (scan.pixels > 0.75).astype(np.uint8)
        return Mask(values, scan.pixels.copy(), ("tumour",), 0.9, 0.5, scan.spacing_mm)


class Layers:
    """A 3D segmenter: the upper half is vertebra, the lower disc."""

    name, digest = "segmentation/spine_3d", "d1" * 32

    def __call__(self, volume: Volume) -> VolumeMask:
        values = np.where(volume.voxels > 0.2, 1, 0).astype(np.uint8)
        values[:, volume.shape[1] // 2 :] *= 2
        sure = np.full(volume.shape, 0.8, np.float32)
        return VolumeMask(values, sure, ("vertebra", "disc", "canal"), volume.spacing_mm, self.name)


class Spine(FakePipeline):
    """Knows every image as a spine."""

    def verdict(self, scan: Scan, name: str = "image", **options: Any) -> Report:
        report = super().verdict(scan, name, **options)
        part = dataclasses.replace(report.body_part, label="spine", probabilities={"spine": 0.98, "knee": 0.02})
        return dataclasses.replace(report, body_part=part, anomaly=None)


class Graded(Spine):
    """Grades five discs on every slice."""

    def verdict(self, scan: Scan, name: str = "image", **options: Any) -> Report:
        report = super().verdict(scan, name, **options)
        return dataclasses.replace(report, spine=discs(5))


def analyse(*outcomes: str, **options: object) -> VolumeReport:
    return VolumePipeline(FakePipeline(), **options)(brain_nifti(outcomes), name="scan.nii.gz")


def keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for inner in value.values() for key in keys(inner)}
    return {key for inner in value for key in keys(inner)} if isinstance(value, list) else set()


def test_the_mean_of_accepted_slices_is_the_answer():
    report = analyse(*["glioma"] * 6, "doubt", "photo")
    pooled = report.pooled["diagnosis"]
    assert (report.status, report.diagnosis.label) == ("predicted", "glioma")
    assert report.diagnosis.confidence == pytest.approx(0.93)
    assert (pooled.reached, pooled.accepted) == (7, 6)
    assert pooled.spread["glioma"] == pytest.approx(0)
    assert report.pooled["gate"].accepted == 7
    assert [v.number for v in report.slices if v.rejection] == [7, 8]


def test_spread_and_telling_slices():
    report = analyse("glioma", "glioma", "glioma", "healthy", "glioma", "glioma")
    scores = [v.diagnosis.probabilities["glioma"] for v in report.slices]
    assert report.diagnosis.confidence == pytest.approx(np.mean(scores))
    assert report.pooled["diagnosis"].spread["glioma"] == pytest.approx(np.std(scores))
    assert set(report.pooled["diagnosis"].telling) <= {1, 2, 3, 5, 6}
    assert report.status == "rejected"  # mean below what a glioma is accepted from
    assert report.rejection.code == "uncertain"


@pytest.mark.parametrize(
    ("outcomes", "stage", "code"),
    [
        (["photo"] * 5 + ["glioma"] * 2, "gate", "not_mri"),
        (["shoulder"] * 5 + ["glioma"] * 2, "body_part", "unsupported_body_part"),
        (["unfamiliar"] * 6, "body_part", "unfamiliar"),
        (["glioma"] * 4 + ["knee"] * 4 + ["shoulder"] * 2, "body_part", "slices_disagree"),
        (["knee"] * 6, "diagnosis", "no_model"),
        (["doubt"] * 8 + ["glioma"], "diagnosis", "uncertain"),
        (["healthy"] * 10 + ["glioma"] * 2, "diagnosis", "slices_disagree"),
        (["glioma"] * 4 + ["healthy"] * 4, "diagnosis", "slices_disagree"),
        (["glioma"] * 5 + ["healthy"] * 4, "diagnosis", "uncertain"),
    ],
)
def test_every_rule_of_refusal(outcomes: list[str], stage: str, code: str):
    report = analyse(*outcomes)
    assert (report.rejection.stage, report.rejection.code) == (stage, code)
    assert not getattr(report, stage) or not getattr(report, stage).accepted
    assert report.findings[-1] or report.rejection.message in report.findings


def test_one_tumour_slice_among_many_is_no_contradiction():
    report = analyse(*["healthy"] * 9, "glioma", *["healthy"] * 9)
    assert (report.status, report.diagnosis.label) == ("predicted", "no_tumor")


def test_disagreement_names_the_slices():
    report = analyse(*["healthy"] * 6, "glioma", "glioma", "glioma", *["healthy"] * 6)
    assert "slices 7 to 9 do" in report.rejection.message
    assert numbers([4, 1, 2, 9, 10]) == "slices 1, 2, 4, 9 and 10"
    assert numbers([8, 4, 9, 10]) == "slices 4 and 8 to 10"


def test_blank_slices_do_not_count_and_a_blank_volume_is_refused():
    values = brain(["glioma"] * 6)
    values[:2] = 7
    volume = nifti(np.ascontiguousarray(values[::-1, ::-1, ::-1].transpose(2, 1, 0)))
    report = VolumePipeline(FakePipeline())(volume)
    assert [v.rejection.stage for v in report.slices if v.rejection] == ["quality", "quality"]
    assert report.pooled["gate"].reached == 4
    noise = np.random.default_rng(1).integers(0, 255, (80, 80, 8)).astype(np.uint8)
    refused = VolumePipeline(FakePipeline())(nifti(noise))
    assert (refused.rejection.stage, refused.rejection.code) == ("quality", "noise")


def test_long_volumes_are_sampled_where_there_is_anatomy():
    voxels = np.zeros((200, 70, 70), np.float32)
    voxels[40:160, 10:60, 10:60] = 0.5
    voxels[0, 0, 0] = 1
    volume = read_volume(
        nifti(np.ascontiguousarray(voxels[::-1, ::-1, ::-1].transpose(2, 1, 0)), np.diag([1, 1, 2, 1.0]))
    )
    chosen = informative(volume)
    assert (len(chosen), chosen[0], chosen[-1]) == (32, 40, 159)
    assert max(np.diff(chosen)) - min(np.diff(chosen)) <= 1
    report = VolumePipeline(FakePipeline(), most=5)(brain_nifti(["glioma"] * 9))
    assert len(report.slices) == 5
    assert "5 of them, evenly spaced, were analysed" in report.findings[0]


def test_progress_counts_every_slice():
    steps = []
    VolumePipeline(FakePipeline())(brain_nifti(["glioma"] * 4), progress=steps.append)
    assert [(s.done, s.total) for s in steps] == [(0, 1), (0, 4), (1, 4), (2, 4), (3, 4)]


def test_json_is_plain_and_keeps_the_contract():
    data = analyse(*["glioma"] * 4, tumour=Bright()).to_dict()
    assert json.loads(json.dumps(data)) == data
    assert set(Report("x").to_dict()) <= set(data)
    assert "path" not in keys(data)
    assert (data["schema"], data["disclaimer"]) == ("1.0", DISCLAIMER)
    assert data["volume"]["shape"] == [4, 96, 96]
    assert data["coverage"] == {"slices": 4, "analysed": 4, "accepted": 4, "share_accepted": 1.0}
    assert data["diagnosis"]["telling_slices"] == [1, 2, 3]
    assert data["slices"][0]["source_index"] == 3  # stored foot to head
    assert data["anomaly"]["category"] == "anomalous"
    assert data["models"][TUMOUR] == Bright.digest


def test_the_middlemost_slice_with_all_discs_is_graded():
    report = VolumePipeline(Graded())(brain_nifti(["glioma"] * 5), name="spine.nii.gz")
    assert report.spine_slice == 3
    data = report.to_dict()
    assert (data["discs_slice"], len(data["discs"]), data["discs"][0]["range"]) == (3, 5, [2, 2])
    assert "Disc by disc, slice 3" in measures(report)


def test_a_brain_has_no_discs():
    data = analyse("glioma").to_dict()
    assert (data["discs"], data["discs_slice"]) == (None, None)


def test_bad_files_give_a_report_not_an_exception():
    report = VolumePipeline(FakePipeline())(b"hello", name="notes.nii")
    assert (report.status, report.rejection.code, report.file) == ("rejected", "unsupported", "notes.nii")
    assert json.dumps(report.to_dict())
    assert report.findings == (report.rejection.message,)


def test_no_finding_claims_a_diagnosis():
    for outcomes in (["glioma"] * 4, ["healthy"] * 4, ["healthy"] * 6 + ["glioma"] * 2):
        text = " ".join(analyse(*outcomes, tumour=Bright()).findings).lower()
        assert "diagnos" not in text
        assert "detected" not in text


# outlines


def test_a_tumour_is_outlined_slice_by_slice_with_its_volume():
    report = analyse(*["glioma"] * 5, tumour=Bright())
    expected = int((report.volume.voxels > 0.75).sum())
    assert report.mask.voxels == {"tumour": expected}
    assert report.mask.ml["tumour"] == pytest.approx(expected * 2 * 2 * 5 / 1000)
    found = report.to_dict()["localization"]
    tumour = found["labels"]["tumour"]
    assert (found["label"], found["found"], tumour["slices"]) == ("tumour", True, [1, 5])
    assert 0.75 < tumour["confidence"] <= 1
    assert "ml" in report.findings[-1]


def test_healthy_brains_and_other_parts_are_not_outlined():
    assert analyse(*["healthy"] * 5, tumour=Bright(), spine=Layers()).mask is None
    assert analyse(*["knee"] * 5, tumour=Bright(), spine=Layers()).mask is None


def test_a_spine_is_outlined_in_three_dimensions_even_where_no_pattern_is_named():
    report = VolumePipeline(Spine(), spine=Layers())(series(brain(["knee"] * 5)))
    assert report.mask.labels == ("vertebra", "disc", "canal")
    assert report.mask.voxels["canal"] == 0
    assert report.to_dict()["localization"]["labels"]["canal"]["confidence"] is None


def test_an_outline_network_that_refuses_is_quoted():
    class Picky(Layers):
        def __call__(self, volume: Volume) -> VolumeMask:
            raise QualityRejected("not_a_trunk", "The volume covers more than a trunk.")

    report = VolumePipeline(Spine(), spine=Picky())(series(brain(["knee"] * 5)))
    assert (report.mask, report.findings[-1]) == (None, "The volume covers more than a trunk.")


def test_an_outline_network_that_breaks_or_is_late_costs_the_outline_alone(caplog):
    class Broken(Layers):
        def __call__(self, volume: Volume) -> VolumeMask:
            raise RuntimeError("out of memory")

    report = VolumePipeline(Spine(), spine=Broken())(series(brain(["knee"] * 5)))
    assert (report.mask, report.body_part.label) == (None, "spine")
    assert "localization" in report.findings[-1]
    assert "out of memory" not in str(report.to_dict())
    assert "out of memory" in caplog.text

    class Late(Bright):
        def __call__(self, scan: Scan) -> Mask:
            raise AssertionError("the time was over before")

    volume = read_volume(series(brain(["glioma"] * 5)))
    walk = VolumePipeline(FakePipeline(), tumour=Late()).analyze(volume)
    for progress in walk:
        if progress.what == "Outlining":
            break
    with Pace(-1).kept(), pytest.raises(StopIteration) as end:
        next(walk)
    assert (end.value.value.mask, end.value.value.diagnosis.label) == (None, "glioma")
    assert "so it was stopped" in end.value.value.findings[-1]


def test_the_mask_file_lies_on_the_input():
    values = np.ascontiguousarray(brain(["glioma"] * 5).transpose(1, 0, 2))  # (P, I, L) by the affine below
    affine = np.array([[0, 0, -2.0, 90], [-2, 0, 0, 80], [0, -5, 0, 70], [0, 0, 0, 1]])
    report = VolumePipeline(FakePipeline(), tumour=Bright())(nifti(values, affine))
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(mask_nifti(report.mask, report.volume)))
    assert image.shape == values.shape
    np.testing.assert_allclose(image.affine, affine, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(image.dataobj) > 0, values > 0.75 * 255)


def test_volume_masks_check_themselves():
    values, sure = np.full((2, 3, 4), 2, np.uint8), np.ones((2, 3, 4), np.float32)
    with pytest.raises(ValueError, match="0 to 1"):
        VolumeMask(values, sure, ("disc",), (1, 1, 1), "x")
    with pytest.raises(ValueError, match="probability must be"):
        VolumeMask(values, sure[0], ("disc", "canal"), (1, 1, 1), "x")


# files and the command line


def test_folders_of_one_series_are_volumes_and_others_stay_files(tmp_path: Path):
    for name, data in named(series(brain(["glioma"] * 4))):
        path = tmp_path / "mr" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    singles = tmp_path / "singles"
    singles.mkdir()
    for i in range(4):
        (singles / f"{i}.dcm").write_bytes(series(brain(["glioma"]), SeriesInstanceUID=f"1.2.{i}")[0])
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    (tmp_path / "b.nii.gz").write_bytes(brain_nifti(["glioma"] * 3))
    (tmp_path / "c.zip").write_bytes(zipped(named(series(brain(["glioma"] * 3)))))
    found = {path.relative_to(tmp_path).as_posix(): volume for path, volume in inputs([tmp_path])}
    assert found == {
        "a.png": False,
        "b.nii.gz": True,
        "c.zip": True,
        "mr/scan": True,
        **{f"singles/{i}.dcm": False for i in range(4)},
    }
    for stray in ("notes.txt", "cut.dcm"):
        (tmp_path / "mr" / "scan" / stray).write_bytes(b"hello" if stray.endswith("txt") else bytes(128) + b"DICM\xff")
    other = tmp_path / "mr" / "scan" / "dwi"
    other.mkdir()
    (other / "b.nii.gz").write_bytes(brain_nifti(["glioma"] * 3))
    found = [(path.relative_to(tmp_path).as_posix(), volume) for path, volume in inputs([tmp_path / "mr"])]
    assert found == [("mr/scan", True), ("mr/scan/dwi/b.nii.gz", True), ("mr/scan/notes.txt", False)]
    assert [stem(Path(name)) for name in ("x.nii.gz", "x.nii", "x.zip", "series.1")] == ["x", "x", "x", "series"]


def test_a_walk_never_goes_in_circles_and_names_what_it_can_t_open(tmp_path: Path, monkeypatch):
    inner = tmp_path / "a" / "locked"
    inner.mkdir(parents=True)
    (tmp_path / "a" / "x.png").write_bytes(b"\x89PNG")
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "a")
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "long").symlink_to("n" * 300)
    opened = Path.iterdir

    def iterdir(folder: Path):
        if folder.name == "locked":
            raise PermissionError("no")
        return opened(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)  # chmod does not stop root
    found = [path.relative_to(tmp_path).as_posix() for path, _ in inputs([tmp_path])]
    assert found == ["a/locked", "a/x.png", "again/locked", "again/x.png"]
    assert list(inputs([Path("n" * 300)])) == [(Path("n" * 300), False)]
    assert within(tmp_path) == [tmp_path / "a" / "x.png"]


def test_a_volume_is_called_by_its_own_name_whatever_it_points_to(tmp_path: Path):
    (tmp_path / "0f3a").write_bytes(b"x")
    (tmp_path / "head.nii.gz").symlink_to(tmp_path / "0f3a")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert name_of(tmp_path / "head.nii.gz") == "head.nii.gz"
    assert name_of(tmp_path / "loop") == "loop"
    assert name_of(tmp_path / "a" / "..") == tmp_path.name


def test_the_command_line_writes_json_and_mask(tmp_path: Path, monkeypatch, capsys):
    pipeline = FakePipeline()
    pipeline.outlines = {TUMOUR: Bright()}
    monkeypatch.setattr("mri_models.pipeline.Pipeline.from_pretrained", lambda source: pipeline)
    (tmp_path / "scan.nii.gz").write_bytes(brain_nifti(["glioma"] * 4))
    (tmp_path / "bad.zip").write_bytes(b"PK\x03\x04 cut")
    out = tmp_path / "out"
    status = command.main(
        ["analyze", "--json", "--out", str(out), str(tmp_path / "scan.nii.gz"), str(tmp_path / "bad.zip")]
    )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert status == 0
    assert [(line["file"], line["status"]) for line in lines] == [("scan.nii.gz", "predicted"), ("bad.zip", "rejected")]
    assert next(iter(lines[0])) == "file"
    assert lines[1]["rejection"]["code"] == "broken_archive"
    assert {path.name for path in out.iterdir()} == {"scan.json", "scan.mask.nii.gz", "bad.json"}
    assert json.loads((out / "scan.json").read_text()) == lines[0]
