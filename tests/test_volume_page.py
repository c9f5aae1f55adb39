"""The Volume tab without a browser: endpoint, viewer, the copy that travels in the page, plot and HTML."""

from __future__ import annotations

import base64
import gzip
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import nibabel
import numpy as np
import pytest
from fakes import FakePipeline, served
from gradio_client import Client, handle_file
from nibabel.orientations import aff2axcodes
from places import ROOT
from volume_cases import brain, brain_nifti, named, nifti, series, zipped

from mri_models.page import volume_plot, volume_render, volume_tab, volume_view
from mri_models.types import VolumeMask, VolumeReport
from mri_models.volumes.intake import read_volume
from mri_models.volumes.pipeline import Progress, VolumePipeline

STATIC = ROOT / "mri_models" / "page" / "static"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def client(url: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


def report_of(*outcomes: str) -> VolumeReport:
    return VolumePipeline(FakePipeline())(brain_nifti(outcomes), name="<b>scan.nii.gz")


def written(folder: Path, files: list[tuple[str, bytes]]) -> list[object]:
    paths = [folder / Path(name).name for name, _ in files]
    for path, (_, data) in zip(paths, files, strict=True):
        path.write_bytes(data)
    return [handle_file(path) for path in paths]


def test_the_endpoint_takes_files_or_an_archive(client: Client, tmp_path: Path):
    files = named(series(brain(["glioma"] * 4)))
    many = client.predict(written(tmp_path, files), api_name="/analyze_volume")
    packed = client.predict(written(tmp_path, [("scan.zip", zipped(files))]), api_name="/analyze_volume")
    assert (many["file"], packed["file"]) == ("4 files", "scan.zip")
    assert many["volume"] == packed["volume"]
    assert (many["status"], many["diagnosis"]["label"]) == ("predicted", "glioma")
    assert set(many) == set(VolumeReport("x").to_dict())


def test_the_endpoint_refuses_without_an_error(client: Client, tmp_path: Path):
    bad = client.predict(written(tmp_path, [("scan.zip", b"PK\x03\x04")]), api_name="/analyze_volume")
    assert (bad["status"], bad["rejection"]["code"]) == ("rejected", "broken_archive")
    assert client.predict([], api_name="/analyze_volume")["rejection"]["code"] == "no_file"


def test_the_viewer_is_the_published_build_and_ours_to_serve(url: str):
    stated = re.search(r"SHA-256 `(\w{64})`", (STATIC / "README.md").read_text())[1]
    answer = httpx.get(f"{url}/viewer/niivue.js")
    assert hashlib.sha256(answer.content).hexdigest() == stated
    assert answer.headers["content-type"].startswith("text/javascript")
    assert int(answer.headers["content-length"]) < 1_000_000
    assert "Niivue" in (STATIC / "LICENSE-niivue").read_text()


def test_the_copy_in_the_page_is_the_volume():
    report = report_of(*["glioma"] * 3)
    html = volume_view.view(report)
    image = nibabel.Nifti1Image.from_bytes(
        gzip.decompress(base64.b64decode(re.search('data-volume="([^"]+)"', html)[1]))
    )
    np.testing.assert_array_equal(
        np.asarray(image.dataobj).transpose(2, 1, 0), (report.volume.voxels * 255).round().astype(np.uint8)
    )
    assert aff2axcodes(image.affine) == ("L", "P", "I")
    assert 'data-axes="IPL"' in html


def test_large_volumes_are_thinned_for_the_page():
    shape = (160, 512, 512)
    steps = volume_view.stride(shape)
    assert np.prod([-(-side // step) for side, step in zip(shape, steps, strict=True)]) <= volume_view.MOST
    assert steps[0] == 1
    assert volume_view.stride((30, 256, 256)) == (1, 1, 1)


def test_overlays_have_a_switch_for_each_label_that_is_there():
    volume = read_volume(nifti(np.ascontiguousarray(brain(["glioma"] * 3).transpose(2, 1, 0))))
    values = np.zeros(volume.shape, np.uint8)
    values[1, 20:40, 20:40], values[1, 50:60, 20:40] = 1, 3
    mask = VolumeMask(values, values.astype(np.float32) / 3, ("disc", "vertebra", "canal"), volume.spacing_mm, "x")
    report = VolumeReport("a.nii", volume=volume, mask=mask)
    html = volume_view.view(report)
    assert re.findall(r'data-label="(\d)"', html) == ["1", "3"]
    assert "data-mask=" in html
    assert "a.mask.nii.gz" in volume_render.downloads(report)


def test_plot_and_table_show_every_slice():
    report = report_of("glioma", "glioma", "doubt", "glioma", "photo", "glioma")
    html = volume_plot.plot(report) + volume_plot.table(report)
    assert html.count('class="vol-hit"') == 6
    assert html.count("<tr>") == 7
    assert html.count('class="is-out"') == html.count('class="is-in"') // 4  # one of five slices is refused at the end
    assert "Slice 5: not an MRI" in html
    assert "accepted from" in html


def test_verdicts_escape_names_and_carry_the_disclaimer():
    html = volume_render.verdict(report_of(*["glioma"] * 4))
    assert "<b>scan" not in html
    assert "Not a medical device" in html
    assert "Mean class score" in html
    refused = volume_render.verdict(VolumePipeline(FakePipeline())(b"<i>hello"))
    assert "Refused: not a readable volume" in refused
    assert volume_render.measures(VolumePipeline(FakePipeline())(b"hello")) == ""


def test_progress_is_a_sentence_and_a_bar():
    html = volume_render.progress(Progress(6, 30, "Looking at slices"))
    assert "Looking at slices: 7 of 30" in html
    assert 'max="30" value="6"' in html


def test_a_lent_reader_gives_steps_then_the_report():
    lent: list[str] = []

    def lend(function):
        lent.append(function.__name__)
        return function

    reader = volume_tab.VolumeReader(VolumePipeline(FakePipeline()), lend)
    *steps, report = reader.look([brain_nifti(["glioma"] * 3)])
    assert lent == ["look"]
    assert len(steps) == 4
    assert report.status == "predicted"
