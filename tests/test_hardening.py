"""What an attacker would send: bombs, two things in one, lying headers, names in wrong places; a slice of fuzzing."""

from __future__ import annotations

import io
import struct
import traceback
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable

import fuzz_intake
import numpy as np
import pytest
from fuzz_seeds import COLOUR, DEEP, seeds
from hypothesis import given, settings
from hypothesis import strategies as st
from jpeg_lossless import jpeg_lossless
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.pixels import pixel_array
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLossless, JPEGLosslessSV1, RLELossless
from test_intake import RAMP, code_of, dicom, encoded
from volume_cases import head, named, series, zipped

from mri_models import jpeg_lossless as lossless
from mri_models.compressed import MAX_INFLATED, MAX_SCANS, inflated, unpack_lossless, unpack_rle
from mri_models.errors import FileRejected, Overdue
from mri_models.intake import read_scan
from mri_models.pace import Pace
from mri_models.volumes.intake import read_volume

WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


def deflated(body: bytes) -> bytes:
    """A deflated DICOM file of any data set."""
    file = dicom(RAMP, DeflatedExplicitVRLittleEndian)
    start = 144 + struct.unpack_from("<I", file, 140)[0]
    packer = zlib.compressobj(9, wbits=-15)
    return file[:start] + packer.compress(body) + packer.flush()


def rle(pixels: np.ndarray, **elements: object) -> bytes:
    dataset, file = dcmread(io.BytesIO(dicom(pixels, **elements))), io.BytesIO()
    dataset.compress(RLELossless)
    dataset.save_as(file)
    return file.getvalue()


# compressed DICOM


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 12), st.integers(1, 12), st.integers(2, 16), st.integers(1, 7), st.integers(0, 3), st.integers(0, 99)
)
def test_jpeg_lossless_returns_every_value(rows, columns, precision, predictor, restart, seed):
    values = np.random.default_rng(seed).integers(0, 1 << precision, (rows, columns)).astype(np.uint16)
    codestream = jpeg_lossless(values, precision, predictor, restart)
    np.testing.assert_array_equal(lossless.decode(lossless.parse(codestream)), values)


@pytest.mark.parametrize("syntax", [JPEGLossless, JPEGLosslessSV1])
@pytest.mark.parametrize("values", [DEEP, RAMP, (DEEP - 2000).astype(np.int16)], ids=str)
def test_a_pacs_export_reads_like_the_plain_file(syntax: str, values: np.ndarray):
    frame = jpeg_lossless(values.view(f"u{values.itemsize}"))
    packed = dicom(values, syntax, PixelData=encapsulate([frame]), **WINDOW)
    np.testing.assert_array_equal(read_scan(packed).pixels, read_scan(dicom(values, **WINDOW)).pixels)


def test_the_sign_of_twelve_coded_bits_is_kept():
    values = (DEEP // 2).astype(np.int16) - 1000
    frame = jpeg_lossless(values.view(np.uint16) & 4095, 12)
    packed = dicom(values, JPEGLossless, PixelData=encapsulate([frame]), BitsStored=12, HighBit=11, **WINDOW)
    np.testing.assert_array_equal(read_scan(packed).pixels, read_scan(dicom(values, **WINDOW)).pixels)


def test_a_series_in_jpeg_lossless_is_a_volume():
    values = head(4, 24, 20)
    packed = [dcmread(io.BytesIO(data)) for data in series(values)]
    files = []
    for dataset, pixels in zip(packed, values, strict=True):
        dataset.PixelData, file = encapsulate([jpeg_lossless(pixels.view(np.uint16))]), io.BytesIO()
        dataset["PixelData"].is_undefined_length = True
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1
        dataset.save_as(file)
        files.append(file.getvalue())
    np.testing.assert_array_equal(read_volume(files).voxels, read_volume(series(values)).voxels)


@pytest.mark.parametrize("pixels", [RAMP, DEEP, COLOUR, DEEP.astype(np.int16)], ids=str)
def test_rle_is_unpacked_as_pydicom_does(pixels: np.ndarray):
    data = rle(pixels)
    dataset = dcmread(io.BytesIO(data))
    unpack_rle(dataset)
    np.testing.assert_array_equal(pixel_array(dataset), pixel_array(io.BytesIO(data)))


def test_rle_of_32_bits_a_colour_is_refused():
    dataset = dcmread(io.BytesIO(rle(COLOUR)))
    dataset.BitsAllocated = 32
    with pytest.raises(ValueError, match=r"^3 samples of 4 bytes"):
        unpack_rle(dataset)


def test_deflated_dicom_reads_like_the_plain_file():
    packed = dicom(DEEP, DeflatedExplicitVRLittleEndian, **WINDOW)
    np.testing.assert_array_equal(read_scan(packed).pixels, read_scan(dicom(DEEP, **WINDOW)).pixels)


# bombs


def peak_of(read: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        read()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_restart_intervals_are_cheap_and_few(monkeypatch: pytest.MonkeyPatch):
    spread, calls = lossless._spread, []
    monkeypatch.setattr(lossless, "_spread", lambda *table: calls.append(table) or spread(*table))
    values = np.arange(4097, dtype=np.uint16)[:, None]
    for rows, restart in ((4096, 1), (4097, 2)):
        read = lossless.decode(lossless.parse(jpeg_lossless(values[:rows], restart=restart)))
        np.testing.assert_array_equal(read, values[:rows])
    assert len(calls) == 2  # of 64 kB, once a frame
    with pytest.raises(ValueError, match="too many restart intervals"):
        lossless.parse(jpeg_lossless(values, restart=1))


def test_many_frames_of_a_file_keep_the_pace():
    frame = jpeg_lossless(DEEP)
    packed = dicom(DEEP, JPEGLossless, PixelData=encapsulate([frame] * 3), NumberOfFrames=3)
    steps: list[None] = []
    with Pace(60, lambda: steps.append(None)).kept():
        unpack_lossless(dcmread(io.BytesIO(packed)))
    assert len(steps) == 3
    with Pace(-1).kept(), pytest.raises(Overdue):
        unpack_lossless(dcmread(io.BytesIO(packed)))


def test_a_deflated_bomb_is_not_inflated():
    bomb = deflated(bytes(4 * MAX_INFLATED))
    assert len(bomb) < 300_000
    found = []
    assert peak_of(lambda: found.append(code_of(bomb))) < 3 * MAX_INFLATED
    assert found == ["compression_bomb"]


def test_a_deflated_file_is_not_inflated_twice():
    inner = struct.pack("<HH2sH", 2, 0x10, b"UI", 22) + DeflatedExplicitVRLittleEndian.encode()
    with pytest.raises(ValueError, match="holds another"):
        inflated(deflated(inner + bytes(99)))


def test_many_deflated_files_are_counted_together(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("mri_models.volumes.limits.MAX_INFLATED", 3_000_000)
    archive = zipped(named([deflated(bytes(1_000_000))] * 4))
    with pytest.raises(FileRejected) as caught:
        read_volume(archive)
    assert caught.value.code == "too_large"


def test_rle_runs_stop_at_the_stated_size():
    segment = bytes([129, 7]) * 400_000  # 51 million pixels
    frame = struct.pack("<16I", 1, 64, *[0] * 14) + segment
    bomb = dicom(RAMP, RLELossless, PixelData=encapsulate([frame]))
    assert peak_of(lambda: read_scan(bomb)) < 20e6


def test_a_jpeg_of_very_many_scans_is_refused_at_once():
    data = encoded(Image.fromarray(RAMP), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    assert code_of(data[:-2] + data[last:-2] * MAX_SCANS + b"\xff\xd9") == "compression_bomb"
    assert read_scan(data).shape == RAMP.shape


def test_lossless_frames_lie_about_nothing():
    frame = jpeg_lossless(DEEP)
    at = frame.index(b"\xff\xc3") + 5
    lies = {
        "size": frame[:at] + struct.pack(">HH", 60_000, 60_000) + frame[at + 4 :],
        "rows": frame[:at] + struct.pack(">HH", 81, 96) + frame[at + 4 :],
        "bits": frame[: at - 1] + b"\x11" + frame[at:],
        "process": frame.replace(b"\xff\xc3", b"\xff\xcb"),
        "short": frame[: len(frame) // 2],
        "no table": frame.replace(b"\xff\xc4", b"\xff\xe4"),
    }
    files = {lie: dicom(DEEP, JPEGLossless, PixelData=encapsulate([data])) for lie, data in lies.items()}
    assert {lie: code_of(data) for lie, data in files.items()} == dict.fromkeys(lies, "corrupt")
    huge = dicom(DEEP, JPEGLossless, Rows=4000, Columns=4000, PixelData=encapsulate([lies["size"]]))
    assert code_of(huge) == "too_many_pixels"


# two things in one


def test_an_image_that_is_an_archive_too_is_refused():
    archive = zipped([("run.js", b"alert(1)")])
    for kind in ("PNG", "JPEG", "GIF"):
        assert code_of(encoded(Image.fromarray(RAMP), kind) + archive) == "polyglot"


@pytest.mark.parametrize("start", [b"MZ\x90\0", b"\x7fELF", b"<html>", b"%PDF-1.7", b"#!/bin/sh", b" <SCRIPT>"])
def test_a_dicom_file_that_is_a_program_or_page_too_is_refused(start: bytes):
    data = start.ljust(128, b"\0") + dicom(RAMP)[128:]
    assert code_of(data) == "polyglot"
    with pytest.raises(FileRejected, match="two things in one"):
        read_volume(data)


def test_a_tiff_preamble_of_microscopes_and_a_phones_trailer_pass():
    assert read_scan(b"II*\0".ljust(128, b"\0") + dicom(RAMP)[128:]).format == "dicom"
    assert read_scan(encoded(Image.fromarray(RAMP), "JPEG") + b"\0\0\0\x18ftypmp42").format == "jpeg"


# pictures of odd kinds


@pytest.mark.parametrize("kind", ["JPEG", "TIFF", "WEBP", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_applied(kind: str, orientation: int):
    turns = [np.array, np.fliplr, lambda a: np.rot90(a, 2), np.flipud]
    turns += [np.transpose, lambda a: np.rot90(a, -1), lambda a: np.rot90(a, 2).T, np.rot90]
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read_scan(encoded(Image.fromarray(RAMP), kind, exif=exif)).pixels
    assert np.abs(found - turns[orientation - 1](RAMP) / 255).mean() < 0.02


@pytest.mark.parametrize(
    ("mode", "kind"),
    [("LAB", "TIFF"), ("CMYK", "TIFF"), ("F", "TIFF"), ("I", "TIFF")],
)
def test_rare_modes_read_in_the_right_polarity(mode: str, kind: str):
    grey = Image.fromarray(RAMP)
    image = {
        "LAB": lambda: Image.merge("LAB", [grey, *[Image.new("L", grey.size)] * 2]),
        "CMYK": lambda: grey.convert("RGB").convert("CMYK"),
    }.get(mode, lambda: grey.convert(mode))()
    scan = read_scan(encoded(image, kind))
    assert np.corrcoef(scan.pixels.ravel(), RAMP.ravel())[0, 1] > 0.99


# nothing about a person leaves


@pytest.mark.parametrize("read", [read_scan, read_volume])
def test_neither_names_of_files_nor_what_a_decoder_quotes_is_told(read, tmp_path, capfd):
    broken = tmp_path / "Doe_Jane.dcm"
    broken.write_bytes(dicom(RAMP, RescaleSlope="1").replace(b"RAMP", b"")[:-900].replace(b"1.2.3", b"Doe^J"))
    for path in (broken, tmp_path / "Doe_John.png", tmp_path / "Doe_Folder"):
        with pytest.raises(FileRejected) as caught:
            read(path)
        assert "Doe" not in "".join(traceback.format_exception(caught.value)).replace(__file__, "")
    assert "Doe" not in "".join(capfd.readouterr())


# what fuzzing found


def test_a_jpeg2000_box_without_length_is_refused():
    """pydicom 3.0.2 never came back from it."""
    frame = encoded(Image.fromarray(RAMP), "JPEG2000")
    at = frame.index(b"jp2h") - 4
    broken = frame[:at] + bytes(4) + frame[at + 4 :]
    assert code_of(dicom(RAMP, JPEG2000Lossless, PixelData=encapsulate([broken]))) == "corrupt"


@pytest.mark.parametrize("name", ["", ".", "./"])
def test_an_archive_with_a_file_without_a_name_raises_no_index_error(name: str):
    data = zipped(named([b"x"])).replace(b"scan/IM0000", b"." * 11)
    for nameless in (data, zipped([(zipfile.ZipInfo("."), b"x")]), _renamed(name)):
        with pytest.raises(FileRejected):
            read_volume(nameless)


def _renamed(name: str) -> bytes:
    """An archive whose table of contents gives its one file this name."""
    info = zipfile.ZipInfo("x")
    info.filename = name
    return zipped([(info, b"content")])


# fuzzing: a slice of what tests/fuzz_intake.py does at length


@pytest.mark.filterwarnings("ignore")
def test_every_seed_is_read():
    found = {seed.name: fuzz_intake.outcome_of(seed, seed.data) for seed in seeds()}
    assert set(found.values()) <= {"read", "blurred", "two_level"}, found  # the ramp has no edge
    assert len(found) >= 16


@pytest.mark.filterwarnings("ignore")
def test_four_hundred_damaged_files_of_every_kind():
    results = list(fuzz_intake.fuzz(seed=0, numbers=range(400)))
    assert [result for result in results if result.outcome.startswith("!")] == []
    assert max(result.seconds for result in results) < fuzz_intake.SLOW
    assert len({result.outcome for result in results}) > 10  # damage reaches deep


def test_what_must_not_happen_is_seen(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fuzz_intake, "read_scan", lambda data: 1 / 0)
    summary = fuzz_intake.Summary()
    summary.add(1, next(fuzz_intake.fuzz(seed=0, numbers=[0])))
    assert summary.bad[0].outcome.startswith("! ZeroDivisionError")


def test_an_input_follows_from_its_number_alone():
    first, second = (fuzz_intake.input_of(seeds(), 5, 77) for _ in range(2))
    assert first[1] == second[1] != fuzz_intake.input_of(seeds(), 6, 77)[1]
