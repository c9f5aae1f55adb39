"""The command line's files: each input's own, nobody else's overwritten, none of them analysed in its turn."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import FakePipeline, scan_png
from PIL import Image

from mri_models.__main__ import main
from mri_models.results import Results
from mri_models.types import Attribution, Mask, Orientation, Rejection, Report, Scan, VolumeReport


@pytest.fixture(autouse=True)
def _no_networks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mri_models.pipeline.Pipeline.from_pretrained", lambda source: FakePipeline())


def place(folder: Path, *names: str) -> list[str]:
    """Scans of these names; their paths."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(scan_png("glioma", 96))
    return [str(folder / name) for name in names]


def analyze(out: Path, *arguments: str | Path) -> int:
    return main(["analyze", "--json", "--no-explain", "--out", str(out), *map(str, arguments)])


def files(out: Path) -> dict[str, str]:
    """{name of a report: the file that it is about}."""
    return {path.name: json.loads(path.read_text())["file"] for path in sorted(out.glob("*.json"))}


def test_files_of_one_name_in_several_folders_keep_a_result_each(tmp_path: Path):
    place(tmp_path / "in", "a/IM1", "b/IM1", "b/IM1.jpg", "b/IM1-2.png")
    out = tmp_path / "out"
    expected = {"IM1.json": "IM1", "IM1-2.json": "IM1", "IM1-2-2.json": "IM1-2.png", "IM1-3.json": "IM1.jpg"}
    for _ in range(2):  # the same command again finds its own results
        assert analyze(out, tmp_path / "in" / "a", tmp_path / "in" / "b") == 0
        assert files(out) == expected
    assert len(list(out.iterdir())) == 4


def test_all_results_of_one_file_share_its_name(tmp_path: Path):
    inside = np.eye(96, dtype=np.uint8)
    mask = Mask(inside, inside.astype(np.float32), ("tumour",), 0.9, 0.5, None)
    (source,) = place(tmp_path, "x.png")
    results = Results(tmp_path / "out")
    results.folder.mkdir()
    for language in (None, "en"):
        results.write(Report("x.png", Rejection("file", "corrupt", "no"), localization=mask), Path(source), language)
    assert {path.name for path in results.folder.iterdir()} == {
        *("x.json", "x.mask.png"),
        *("x-2.json", "x-2.mask.png", "x-2.pdf"),
    }


def test_a_map_is_of_the_turned_image_and_a_mask_of_the_file(tmp_path: Path):
    """60 x 80 px as it came, upright 80 x 60."""
    came = np.zeros((60, 80), np.float32)
    came[:10, :20] = 1
    lay, scan = Orientation(90, 0.99, 0.9), Scan(came).turned(90)
    mask = Mask((scan.pixels > 0).astype(np.uint8), scan.pixels.copy(), ("tumour",), 0.9, 0.5, (0.5, 0.25))
    found = Attribution(scan.pixels.copy(), "grad_cam", "glioma", 1.0)
    report = Report("x.png", orientation=lay, scan=scan, localization=mask, explanation=found)
    (tmp_path / "x.png").write_bytes(b"")
    Results(tmp_path / "out").folder.mkdir()
    Results(tmp_path / "out").write(report, tmp_path / "x.png")
    with Image.open(tmp_path / "out" / "x.overlay.png") as overlay, Image.open(tmp_path / "out" / "x.mask.png") as mask:
        assert overlay.size == (60, 80)
        assert np.array_equal(np.asarray(mask) == 255, came > 0)


@pytest.mark.parametrize("theirs", ["scan.json", "scan.pdf", "scan.mask.png", "scan.overlay.png", "scan.mask.nii.gz"])
def test_nobody_elses_file_is_overwritten(tmp_path: Path, theirs: str):
    (scan,) = place(tmp_path, "scan.png")
    (tmp_path / theirs).write_text('{"file": "scan.png"}')
    assert analyze(tmp_path, "--pdf", scan) == 0
    assert (tmp_path / theirs).read_text() == '{"file": "scan.png"}'
    assert json.loads((tmp_path / "scan-2.json").read_text())["file"] == "scan.png"
    assert (tmp_path / "scan-2.pdf").is_file()


def test_an_earlier_result_gives_way_to_a_file_of_its_name_only(tmp_path: Path):
    results = Report("x.png"), VolumeReport("x.png"), Report("x.nii.gz"), Report("y\n.png")
    for report in results:
        Results(tmp_path).write(report, Path(report.file))
    assert files(tmp_path) == {"x.json": "x.png", "x-2.json": "x.nii.gz", "y\n.json": "y\n.png"}
    assert "volume" in json.loads((tmp_path / "x.json").read_text())


def test_results_below_the_input_are_no_inputs(tmp_path: Path, capsys):
    place(tmp_path, "a/x.png", "out/earlier.png", "z.png")
    assert analyze(tmp_path / "out", tmp_path) == 0
    assert [json.loads(line)["file"] for line in capsys.readouterr().out.splitlines()] == ["x.png", "z.png"]


@pytest.mark.parametrize("how", [["--json"], []], ids=["files", "batch"])
@pytest.mark.parametrize(("out", "message"), [("in", "another folder"), ("link", "another folder"), ("x", "a folder")])
def test_an_impossible_out_is_said_before_models_load(tmp_path: Path, monkeypatch, capsys, how, out, message):
    place(tmp_path, "in/x.png", "x")
    (tmp_path / "link").symlink_to(tmp_path / "in")
    monkeypatch.setattr("mri_models.pipeline.Pipeline.from_pretrained", lambda source: pytest.fail("loaded"))
    with pytest.raises(SystemExit, match="2"):
        main(["analyze", *how, "--out", str(tmp_path / out), str(tmp_path / "in")])
    assert message in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["x.png"]


def test_info_names_every_model(monkeypatch: pytest.MonkeyPatch, capsys):
    hashes = {"gate": "3f" * 32, "segmentation/tumour": "b7" * 32, "discs": "d1" * 32}
    gate = SimpleNamespace(
        spec=SimpleNamespace(size=224), digest="3f" * 32, calibration=SimpleNamespace(thresholds={"mri": 0.9})
    )
    loaded = SimpleNamespace(hashes=hashes, models={"gate": gate}, anomaly=None)
    monkeypatch.setattr("mri_models.pipeline.Pipeline.from_pretrained", lambda source: loaded)
    assert main(["info"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "gate  224 px  sha256 3f3f3f3f3f3f  mri >= 0.90",
        "discs  sha256 d1d1d1d1d1d1",
        "segmentation/tumour  sha256 b7b7b7b7b7b7",
    ]
