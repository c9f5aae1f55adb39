"""Whatever comes in, only a valid Scan or FileRejected with its own code comes out."""

from __future__ import annotations

import gzip
import io
import os
import struct
import tracemalloc
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
)

from mri_models.dicom import read_dicom
from mri_models.errors import FileRejected
from mri_models.intake import MAX_BYTES, read_scan
from mri_models.pixels import stretch
from mri_models.types import Scan

RAMP = np.linspace(0, 255, 80 * 96).reshape(80, 96).astype(np.uint8)
fuzz = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
# As in serving: decoders' warnings pass, so that the fuzzed bytes go all the way.
like_serving = pytest.mark.filterwarnings("ignore")


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def dicom(pixels: np.ndarray, syntax: str = ExplicitVRLittleEndian, preamble: bool = True, **elements: object) -> bytes:
    """A small MR file; `elements` add to or replace what it says."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = MRImageStorage, "1.2.3", "MR"
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "4711"
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.SamplesPerPixel = 1 if pixels.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if pixels.ndim == 2 else "RGB"
    dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    for name, value in elements.items():
        setattr(dataset, name, value)
    dataset["PixelData"].VR = "OB" if pixels.itemsize == 1 else "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    if preamble:
        return file.getvalue()
    data = file.getvalue()
    return data[144 + struct.unpack("<I", data[140:144])[0] :]  # past the preamble and the whole of group 2


def png_header(width: int, height: int, data: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def code_of(source: object) -> str:
    with pytest.raises(FileRejected) as caught:
        read_scan(source)
    assert caught.value.message.endswith(".")
    assert caught.value.stage == "file"
    return caught.value.code


# pictures


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_lossless_pictures_keep_every_grey_level(kind: str) -> None:
    scan = read_scan(encoded(Image.fromarray(RAMP), kind))
    assert scan.format == kind.lower()
    np.testing.assert_allclose(scan.pixels, RAMP / 255, atol=1e-6)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_lossy_pictures_are_close(kind: str) -> None:
    scan = read_scan(encoded(Image.fromarray(RAMP), kind, quality=95))
    assert scan.format == kind.lower()
    assert np.abs(scan.pixels - RAMP / 255).mean() < 0.01


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P"])
def test_grey_pictures_in_colour_modes_read_as_grey(mode: str) -> None:
    scan = read_scan(encoded(Image.fromarray(RAMP).convert(mode)))
    assert scan.colourfulness == 0
    np.testing.assert_allclose(scan.pixels, RAMP / 255, atol=1e-6)


def test_two_level_png_is_black_and_white() -> None:
    scan = read_scan(encoded(Image.fromarray(RAMP > 127).convert("1")))
    assert set(np.unique(scan.pixels)) == {0.0, 1.0}


def test_cmyk_jpeg_reads_in_the_right_polarity() -> None:
    scan = read_scan(encoded(Image.fromarray(RAMP).convert("RGB").convert("CMYK"), "JPEG", quality=95))
    assert np.abs(scan.pixels - RAMP / 255).mean() < 0.02


def test_colour_becomes_luma_and_colourfulness() -> None:
    scan = read_scan(encoded(Image.new("RGB", (70, 70), (255, 0, 51))))
    np.testing.assert_allclose(scan.pixels, 0.299 + 0.114 * 0.2, atol=1e-6)
    assert scan.colourfulness == pytest.approx(1.0)


def test_transparency_lies_on_black() -> None:
    rgba = np.dstack([RAMP, RAMP, RAMP, np.where(RAMP > 100, 0, 255).astype(np.uint8)])
    scan = read_scan(encoded(Image.fromarray(rgba)))
    assert scan.pixels[RAMP > 100].max() == 0
    np.testing.assert_allclose(scan.pixels[RAMP <= 100], RAMP[RAMP <= 100] / 255, atol=1e-6)


def test_twelve_bits_in_sixteen_fill_the_range() -> None:
    deep = RAMP.astype(np.uint16) * 16
    scan = read_scan(encoded(Image.fromarray(deep)))
    assert (scan.pixels.min(), scan.pixels.max()) == (0, 1)
    assert np.corrcoef(scan.pixels.ravel(), deep.ravel())[0, 1] > 0.999


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])  # Pillow writes the same values under both
@pytest.mark.parametrize("turned", [1, 6])
def test_a_tiff_that_counts_from_white_is_inverted(dtype: type, turned: int) -> None:
    image = Image.fromarray(RAMP.astype(dtype))
    black, white = (encoded(image, "TIFF", tiffinfo={262: first, 274: turned}) for first in (1, 0))
    np.testing.assert_allclose(read_scan(white).pixels, 1 - read_scan(black).pixels, atol=1e-6)


def test_exif_rotation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise
    upright = read_scan(encoded(Image.fromarray(RAMP), "PNG", exif=exif))
    np.testing.assert_allclose(upright.pixels, np.rot90(RAMP, -1) / 255, atol=1e-6)


def test_pillow_images_read_like_their_files() -> None:
    image = Image.fromarray(RAMP)
    np.testing.assert_array_equal(read_scan(image).pixels, read_scan(encoded(image)).pixels)
    assert read_scan(image).format == "image"


def test_pixels_are_read_only_and_contiguous() -> None:
    pixels = read_scan(encoded(Image.fromarray(RAMP))).pixels
    assert pixels.flags.c_contiguous
    assert not pixels.flags.writeable


# DICOM


def test_dicom_keeps_spacing_and_modality_and_nothing_else() -> None:
    scan = read_scan(dicom(RAMP, PixelSpacing=[0.5, 0.75], WindowCenter=128, WindowWidth=256))
    np.testing.assert_allclose(scan.pixels, RAMP / 255, atol=1e-6)
    assert (scan.spacing_mm, scan.modality, scan.format) == ((0.5, 0.75), "MR", "dicom")
    kept = {name: getattr(scan, name) for name in Scan.__slots__ if name != "pixels"}
    assert "Doe" not in str(kept)
    assert "4711" not in str(kept)


def test_dicom_without_preamble_is_recognised() -> None:
    np.testing.assert_array_equal(read_scan(dicom(RAMP, preamble=False)).pixels, read_scan(dicom(RAMP)).pixels)


def test_monochrome1_is_inverted() -> None:
    window = {"WindowCenter": 128, "WindowWidth": 256}
    scan = read_scan(dicom(RAMP, PhotometricInterpretation="MONOCHROME1", **window))
    np.testing.assert_allclose(scan.pixels, 1 - RAMP / 255, atol=1e-6)


def test_window_applies_after_rescale() -> None:
    signed = RAMP.astype(np.int16) - 100
    scan = read_scan(dicom(signed, RescaleSlope=2, RescaleIntercept=200, WindowCenter=[255, 1], WindowWidth=[100, 1]))
    expected = np.clip((2.0 * RAMP - 205) / 99, 0, 1)  # LINEAR: from 254.5 - 49.5 to 254.5 + 49.5
    np.testing.assert_allclose(scan.pixels, expected, atol=1e-5)


def test_sigmoid_window() -> None:
    scan = read_scan(dicom(RAMP, WindowCenter=100, WindowWidth=80, VOILUTFunction="SIGMOID"))
    np.testing.assert_allclose(scan.pixels, 1 / (1 + np.exp(-4 * (RAMP - 100.0) / 80)), atol=1e-5)


@pytest.mark.parametrize(
    "window", [{}, {"WindowCenter": 0, "WindowWidth": 0}, {"WindowCenter": 9999, "WindowWidth": 2}]
)
def test_no_usable_window_means_percentiles(window: dict[str, int]) -> None:
    deep = RAMP.astype(np.uint16) * 4
    np.testing.assert_array_equal(read_scan(dicom(deep, **window)).pixels, stretch(deep))


def test_lookup_table_replaces_the_window() -> None:
    table = Dataset()
    table.LUTDescriptor, table.LUTData = [256, 0, 16], [65535 - 257 * level for level in range(256)]
    table["LUTDescriptor"].VR = table["LUTData"].VR = "US"
    scan = read_scan(dicom(RAMP, VOILUTSequence=[table]))
    np.testing.assert_allclose(scan.pixels, 1 - RAMP / 255, atol=1e-6)


def test_rgb_dicom_states_its_colour() -> None:
    scan = read_scan(dicom(np.dstack([RAMP, RAMP // 2, RAMP * 0])))
    assert scan.colourfulness == pytest.approx(RAMP.mean() / 255, abs=1e-3)


@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_twelve_bits_of_colour_fill_the_range(dtype: type) -> None:
    deep = (np.dstack([RAMP] * 3) * 4095.0 / 255).astype(dtype)
    scan = read_scan(dicom(deep, BitsStored=12, HighBit=11))
    np.testing.assert_allclose(scan.pixels, RAMP / 255, atol=5e-4)


def test_a_large_colour_dicom_is_converted_in_bands() -> None:
    data = dicom(np.zeros((2048, 2048, 3), np.uint8))
    tracemalloc.start()
    try:
        read_dicom(data)
        assert tracemalloc.get_traced_memory()[1] < 7 * len(data)
    finally:
        tracemalloc.stop()


def test_jpeg2000_dicom_is_decoded() -> None:
    frame = encoded(Image.fromarray(RAMP), "JPEG2000")
    data = dicom(RAMP, JPEG2000Lossless, PixelData=encapsulate([frame]), WindowCenter=128, WindowWidth=256)
    np.testing.assert_allclose(read_scan(data).pixels, RAMP / 255, atol=1e-6)


@pytest.mark.parametrize("spacing", [None, [0, 1], [-1, 1]])
def test_useless_spacing_is_none(spacing: list[float] | None) -> None:
    assert read_scan(dicom(RAMP, PixelSpacing=spacing)).spacing_mm is None


def test_dicom_refusals_say_why() -> None:
    codestream = encoded(Image.fromarray(np.tile(RAMP, (4, 4))), "JPEG2000")
    refused = {
        "multi_frame": dicom(RAMP, NumberOfFrames=2, PixelData=RAMP.tobytes() * 2),
        "corrupt": dicom(RAMP, Rows=4000, Columns=4000),
        "too_many_pixels": dicom(RAMP, Rows=60_000, Columns=60_000),
        "no_pixels": dicom(RAMP)[: dicom(RAMP).index(b"\xe0\x7f\x10\x00")],
        "unsupported_compression": dicom(RAMP, JPEGLSLossless, PixelData=encapsulate([b"\xff\xd8" * 4])),
    }
    assert {code: code_of(data) for code, data in refused.items()} == {code: code for code in refused}
    assert code_of(dicom(RAMP, JPEG2000Lossless, PixelData=encapsulate([codestream]))) == "corrupt"
    assert code_of(dicom(RAMP, DeflatedExplicitVRLittleEndian)[:-40]) == "corrupt"
    assert code_of(dicom(RAMP, RLELossless, PixelData=encapsulate([b"\1\0\0\0"]))) == "corrupt"


# arrays


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (RAMP, RAMP / 255),
        (np.dstack([RAMP] * 3), RAMP / 255),
        (RAMP / 255, RAMP / 255),
        (RAMP.astype(np.uint16) * 9, stretch(RAMP)),
        (RAMP.astype(np.float64) * 1e30 - 1e31, stretch(RAMP)),
    ],
)
def test_arrays(values: np.ndarray, expected: np.ndarray) -> None:
    scan = read_scan(values)
    assert scan.format == "array"
    np.testing.assert_allclose(scan.pixels, expected, atol=1e-5)


def test_an_array_of_the_caller_is_not_frozen() -> None:
    mine = np.full((70, 70), 0.5, np.float32)
    read_scan(mine)
    mine[0, 0] = 1


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(9),
        np.zeros((9, 9, 2)),
        np.zeros((0, 9)),
        np.zeros((9, 9), complex),
        np.zeros((9, 9), bool),
        np.full((9, 9), np.nan),
        np.full((9, 9), 1e300),
    ],
)
def test_bad_arrays(values: np.ndarray) -> None:
    assert code_of(values) == "bad_array"


# refusals


@pytest.mark.parametrize(
    ("data", "looks_like"),
    [
        (b"%PDF-1.7 and so on", "PDF"),
        (b"PK\x03\x04....", "ZIP"),
        (b"Dear radiologist,\n", "plain text"),
        (b"<!DOCTYPE html>", "web page"),
        (b"\0\0\0\x18ftypheic", "HEIF"),
        (gzip.compress(b"notes"), "gzip"),
        (bytes(range(256)), "no image format"),
    ],
)
def test_unsupported_content_is_named(data: bytes, looks_like: str) -> None:
    with pytest.raises(FileRejected, match=looks_like) as caught:
        read_scan(data)
    assert caught.value.code == "unsupported"


def test_content_decides_never_the_name(tmp_path: Path) -> None:
    path = tmp_path / "scan.dcm"
    path.write_bytes(encoded(Image.fromarray(RAMP), "JPEG"))
    assert read_scan(path).format == read_scan(str(path)).format == "jpeg"
    path.write_text("not an image")
    assert code_of(path) == "unsupported"


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert code_of(tmp_path) == code_of(tmp_path / "pipe") == "not_a_file"
    assert code_of(tmp_path / "absent.png") == code_of("nul\0byte") == "not_found"


def test_empty_and_too_large(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n")
    os.truncate(path, 50 * MAX_BYTES)  # sparse: takes no room
    assert code_of(path) == code_of(bytes(MAX_BYTES + 1)) == "too_large"
    assert code_of(b"") == "empty"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"])
def test_a_picture_cut_short_is_corrupt(kind: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (90, 90), np.uint8)
    data = encoded(Image.fromarray(noise), kind)
    assert code_of(data[: len(data) // 2]) == "corrupt"


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "PNG", "WEBP"])
def test_several_frames_are_refused(kind: str) -> None:
    frames = [Image.fromarray(RAMP), Image.fromarray(255 - RAMP)]
    assert code_of(encoded(frames[0], kind, save_all=True, append_images=frames[1:])) == "multi_frame"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_nifti_is_announced_as_a_volume(order: str, pack: type) -> None:
    header = struct.pack(f"{order}i", 348).ljust(344, b"\0") + b"n+1\0"
    assert code_of(pack(header + bytes(MAX_BYTES))) == "volume"


@pytest.mark.parametrize("side", [5_001, 12_000, 30_000])
def test_a_bomb_is_refused_from_its_header(side: int) -> None:
    data = png_header(side, side, bytes(100_000))
    tracemalloc.start()
    try:
        assert code_of(data) == "too_many_pixels"
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * 2**20


# properties


def only_a_scan_or_a_refusal(data: bytes) -> None:
    with suppress(FileRejected):
        scan = read_scan(data)
        assert isinstance(scan, Scan)  # whose construction has checked the pixels
        assert 0 <= scan.colourfulness <= 1


SEEDS = [
    encoded(Image.fromarray(RAMP)),
    encoded(Image.fromarray(RAMP.astype(np.uint16) * 16)),
    encoded(Image.fromarray(np.dstack([RAMP, RAMP // 2, RAMP // 3])), "JPEG"),
    encoded(Image.fromarray(RAMP), "TIFF", compression="tiff_lzw"),
    dicom(RAMP.astype(np.int16), WindowCenter=99, WindowWidth=99, PixelSpacing=[1, 1]),
    dicom(RAMP, JPEG2000Lossless, PixelData=encapsulate([encoded(Image.fromarray(RAMP), "JPEG2000")])),
]


@like_serving
@fuzz
@given(st.binary(max_size=600), st.sampled_from([b"", *(seed[:140] for seed in SEEDS), b"\x08\x00\x05\x00CS"]))
@example(b"", b"DICM".rjust(132, b"\0"))
def test_random_bytes_after_any_start(tail: bytes, start: bytes) -> None:
    only_a_scan_or_a_refusal(start + tail)


@like_serving
@fuzz
@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 700), st.integers(0, 255)), min_size=1, max_size=6),
    st.integers(0, 20_000),
)
def test_mutated_files(seed: bytes, changes: list[tuple[int, int]], length: int) -> None:
    data = bytearray(seed)
    for position, value in changes:
        data[position % len(data)] = value
    only_a_scan_or_a_refusal(bytes(data[:length] if length > 300 else data))
