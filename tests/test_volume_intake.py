"""Whatever comes in, only a valid Volume or FileRejected with its own code comes out, and nothing stays on disk."""

from __future__ import annotations

import gzip
import itertools
import os
import tempfile
import tracemalloc
import zipfile
from contextlib import suppress
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nibabel.orientations import aff2axcodes, axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from volume_cases import AXIAL, CORONAL, SAGITTAL, dicom_slice, enhanced, gz, head, named, nifti, series, zipped

from mri_models.errors import FileRejected
from mri_models.types import Volume, VolumeMask
from mri_models.volumes import limits
from mri_models.volumes.intake import read_volume
from mri_models.volumes.nifti import mask_nifti

HEAD = head()
CODES = ["".join(p) for axes in itertools.permutations(("RL", "AP", "SI")) for p in itertools.product(*axes)]
# (slice, row, column) of the Volume run this way
TOWARDS = {"axial": ("I", "P", "L"), "sagittal": ("L", "I", "P"), "coronal": ("P", "I", "L")}
fuzz = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


def code_of(source: object) -> str:
    with pytest.raises(FileRejected) as caught:
        read_volume(source)
    assert caught.value.message.endswith(".")
    assert caught.value.stage == "file"
    return caught.value.code


def in_codes(codes: str) -> tuple[np.ndarray, np.ndarray]:
    """The head, stored with these axis codes: (values, affine). Its slices are 5 mm apart, foot to head."""
    ras = HEAD[::-1, ::-1].transpose(2, 1, 0)  # (left-right, back-front, foot-head), columns still run left
    ras, affine = ras[::-1], np.diag([0.8, 0.9, 5.0, 1.0])
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(codes))
    return nibabel.orientations.apply_orientation(ras, turn), affine @ inv_ornt_aff(turn, ras.shape)


# orientation and the way back


@pytest.mark.parametrize("codes", CODES)
def test_every_way_of_storing_reads_the_same(codes: str):
    values, affine = in_codes(codes)
    assert "".join(aff2axcodes(affine)) == codes
    volume = read_volume(nifti(np.ascontiguousarray(values), affine))
    assert (volume.plane, volume.shape) == ("axial", HEAD.shape)
    assert aff2axcodes(volume.affine) == TOWARDS["axial"]
    assert np.corrcoef(volume.voxels.ravel(), HEAD.ravel())[0, 1] > 0.999
    np.testing.assert_allclose(volume.spacing_mm, (5, 0.9, 0.8), rtol=1e-5)


@pytest.mark.parametrize("codes", CODES)
def test_a_mask_returns_to_the_inputs_own_voxels(codes: str):
    values, affine = in_codes(codes)
    volume = read_volume(nifti(np.ascontiguousarray(values), affine))
    labels = (volume.voxels > 0.6).astype(np.uint8)
    mask = VolumeMask(labels, labels.astype(np.float32), ("bright",), volume.spacing_mm, "test")
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(mask_nifti(mask, volume)))
    assert image.shape == values.shape
    np.testing.assert_allclose(image.affine, affine, atol=1e-4)
    back = np.asarray(image.dataobj)
    assert values[back == 1].min() > values[(back == 0) & (values > 0)].max() - 1
    np.testing.assert_array_equal(volume.grid.to_volume(back), labels)


@pytest.mark.parametrize(("plane", "orientation"), [("axial", AXIAL), ("sagittal", SAGITTAL), ("coronal", CORONAL)])
def test_a_series_is_ordered_by_position_and_shown_upright(plane: str, orientation):
    files = series(HEAD, orientation=orientation)
    shuffled = [files[i] for i in np.random.default_rng(1).permutation(len(files))]
    volume = read_volume(shuffled)
    assert (volume.plane, volume.shape, volume.format, volume.modality) == (plane, HEAD.shape, "dicom", "MR")
    assert aff2axcodes(volume.affine) == TOWARDS[plane]
    straight = np.cross(orientation[:3], orientation[3:]) @ _lps(TOWARDS[plane][0]) > 0
    assert np.corrcoef(volume.voxels.ravel(), (HEAD if straight else HEAD[::-1]).ravel())[0, 1] > 0.999
    np.testing.assert_allclose(volume.spacing_mm, (5, 0.9, 0.8), rtol=1e-5)
    first = volume.affine @ [0 if straight else len(HEAD) - 1, 0, 0, 1]
    np.testing.assert_allclose(first[:3], (10, 20, 30), atol=1e-6)  # LPS -> RAS


def _lps(letter: str) -> np.ndarray:
    return {"I": np.array([0, 0, -1]), "L": np.array([1, 0, 0]), "P": np.array([0, 1, 0])}[letter]


def test_series_and_nifti_of_the_same_head_agree():
    by_dicom = read_volume(series(HEAD))
    by_nifti = read_volume(nifti(HEAD.transpose(2, 1, 0), by_dicom.grid.affine))
    np.testing.assert_allclose(by_nifti.voxels, by_dicom.voxels, atol=1e-5)
    np.testing.assert_allclose(by_nifti.affine, by_dicom.affine, atol=1e-4)


def test_the_thickest_axis_is_the_slice_and_equal_axes_mean_axial():
    cube = head(64, 64, 64)
    assert read_volume(nifti(cube, np.diag([1.0, 1, 1, 1]))).plane == "axial"
    assert read_volume(nifti(cube, np.diag([4.0, 1, 1, 1]))).plane == "sagittal"
    assert read_volume(nifti(cube[:30], np.diag([1.0, 1, 1, 1]))).plane == "sagittal"  # a thin slab
    assert read_volume(nifti(cube, np.diag([1.0, 1, 1, 1]), dim_info=2 << 4)).plane == "coronal"  # the header says so


def test_slices_are_scans_with_spacing():
    volume = read_volume(series(HEAD))
    scans = list(volume.scans())
    assert len(scans) == len(HEAD)
    assert (scans[0].shape, scans[0].modality) == (HEAD.shape[1:], "MR")
    np.testing.assert_allclose(scans[0].spacing_mm, (0.9, 0.8))


def test_source_index_points_into_the_input():
    volume = read_volume(series(HEAD))  # stored foot to head, shown head to foot
    assert [volume.source_index(i) for i in (0, len(HEAD) - 1)] == [len(HEAD) - 1, 0]


# values


def test_rescale_of_each_file_and_monochrome1():
    scaled = [
        dicom_slice(pixels // (k + 1), (0, 0, 5 * k), RescaleSlope=k + 1, RescaleIntercept=7)
        for k, pixels in enumerate(HEAD)
    ]
    plain = read_volume(series(HEAD))
    assert np.abs(read_volume(scaled).voxels - plain.voxels).max() < 0.03
    inverted = read_volume(series(HEAD, PhotometricInterpretation="MONOCHROME1"))
    np.testing.assert_allclose(inverted.voxels, 1 - plain.voxels, atol=1e-5)


def test_enhanced_multi_frame_is_a_series_in_one_file():
    volume = read_volume(enhanced(HEAD, slope=2.0))
    np.testing.assert_allclose(volume.voxels, read_volume(series(HEAD)).voxels, atol=1e-5)
    np.testing.assert_allclose(volume.spacing_mm, (5, 0.9, 0.8))


def test_nifti_slope_and_big_endian():
    values = HEAD.transpose(2, 1, 0).astype(">i2")
    plain = read_volume(nifti(HEAD.transpose(2, 1, 0)))
    swapped = nibabel.Nifti1Image(values, np.diag([2.0, 2, 5, 1]), nibabel.Nifti1Header(endianness=">"))
    np.testing.assert_allclose(read_volume(swapped.to_bytes()).voxels, plain.voxels, atol=1e-6)
    sloped = nifti(HEAD.transpose(2, 1, 0), scl_slope=2.5, scl_inter=-100)
    np.testing.assert_allclose(read_volume(sloped).voxels, plain.voxels, atol=1e-5)


def test_microns_become_millimetres():
    volume = read_volume(nifti(HEAD.transpose(2, 1, 0), np.diag([900.0, 900, 5000, 1]), xyzt_units=3))
    np.testing.assert_allclose(volume.spacing_mm, (5, 0.9, 0.9), rtol=1e-5)


def test_nothing_about_the_person_is_kept():
    for volume in (read_volume(series(HEAD)), read_volume(nifti(HEAD.transpose(2, 1, 0)))):
        told = str({name: getattr(volume, name) for name in Volume.__slots__ if name != "voxels"})
        assert "Doe" not in told
        assert "4711" not in told
        assert "1.2.840" not in told


# containers


def test_zip_folder_and_files_read_the_same(tmp_path: Path):
    files = series(HEAD)
    for name, data in [*named(files), ("scan/DICOMDIR.txt", b"no image"), ("scan/.hidden", b"x")]:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
    paths = sorted((tmp_path / "scan").glob("IM*"))
    expected = read_volume(files).voxels
    archive = zipped([*named(files), ("__MACOSX/._IM0000", b"junk"), ("scan/notes.txt", b"hello")])
    for source in (tmp_path / "scan", paths, archive, [archive]):
        np.testing.assert_array_equal(read_volume(source).voxels, expected)
    inside = zipped([("head.nii.gz", nifti(HEAD.transpose(2, 1, 0)))])
    assert read_volume(inside).format == "nifti"


def test_the_size_of_a_zip_is_that_of_the_zip(monkeypatch: pytest.MonkeyPatch):
    plain = nifti(PLAIN, packed=False)
    packed = zipped([("head.nii", plain)])
    monkeypatch.setattr(limits, "MAX_BYTES", len(plain) - 1)
    assert len(packed) < limits.MAX_BYTES
    assert read_volume(packed).format == "nifti"


def test_a_folder_s_own_series_is_read_without_what_lies_below_it(tmp_path: Path):
    for name, data in named(series(HEAD)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        below = tmp_path / "scan" / "dwi" / path.name
        below.parent.mkdir(exist_ok=True)
        below.write_bytes(data.replace(b"1.2.840", b"1.2.841"))
    hidden = tmp_path / "all" / ".cache"
    hidden.mkdir(parents=True)
    (hidden / "x.nii.gz").write_bytes(nifti(PLAIN))
    (tmp_path / "all" / "scan").symlink_to(tmp_path / "scan" / "dwi")
    assert len(read_volume(tmp_path / "scan").voxels) == len(HEAD)
    assert code_of(tmp_path / "all") in ("unsupported", "empty", "no_file")  # nothing that is not hidden or elsewhere


def test_voxels_never_begin_inside_the_header():
    expected = read_volume(nifti(PLAIN)).voxels
    np.testing.assert_array_equal(read_volume(nifti(PLAIN, vox_offset=0.0)).voxels, expected)


# refusals


def damaged(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(64) + data[middle + 64 :]


def locked() -> bytes:
    data = bytearray(zipped(named(series(HEAD))))
    for at in (data.find(b"PK\x03\x04") + 6, data.find(b"PK\x01\x02") + 8):
        data[at] |= 1
    return bytes(data)


def link() -> bytes:
    info = zipfile.ZipInfo("scan/IM1")
    info.external_attr = 0o120777 << 16
    return zipped([(info, b"/etc/passwd")])


NAN = np.where(HEAD > 600, np.nan, HEAD).transpose(2, 1, 0).astype(np.float32)
PLAIN = HEAD.transpose(2, 1, 0)
SHEARED = np.array([[2, 1, 0, 0], [0, 2, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1.0]])
REFUSED = {
    "no files": (lambda: [], "no_file"),
    "empty": (lambda: b"", "empty"),
    "text": (lambda: b"hello, volume", "unsupported"),
    "picture": (lambda: b"\x89PNG\r\n\x1a\n....", "pictures"),
    "gone": (lambda: "/nowhere/scan.nii", "not_found"),
    "zip cut short": (lambda: zipped(named(series(HEAD)))[:-200], "broken_archive"),
    "zip damaged": (lambda: damaged(zipped(named(series(HEAD)))), "broken_archive"),
    "zip with password": (locked, "encrypted_archive"),
    "zip of nothing": (lambda: zipped([]), "unsupported"),
    "zip slip": (lambda: zipped([("../../etc/IM1", series(HEAD)[0])]), "unsafe_archive"),
    "zip slip, absolute": (lambda: zipped([("/etc/IM1", series(HEAD)[0])]), "unsafe_archive"),
    "zip with a link": (link, "unsafe_archive"),
    "zip in zip": (lambda: zipped([("inner.zip", zipped(named(series(HEAD))))]), "nested_archive"),
    "zip bomb": (lambda: zipped([("IM1", bytes(40_000_000))]), "compression_bomb"),
    "two zip bombs": (
        lambda: [zipped([(f"{i}.bin", bytes(15_000_000)) for i in range(20)]) for _ in range(2)],
        "too_large",
    ),
    "many small archives": (lambda: [zipped([(f"{i}", b"x") for i in range(600)])] * 2, "too_many_files"),
    "zip of folders": (lambda: zipped([(f"{i}/", b"") for i in range(4 * limits.MAX_FILES + 1)]), "too_many_files"),
    "too many files": (lambda: zipped([(f"{i}", b"x") for i in range(limits.MAX_FILES + 1)]), "too_many_files"),
    "missing slices": (lambda: series(HEAD)[:3] + series(HEAD)[5:], "missing_slices"),
    "two series": (lambda: series(HEAD) + series(HEAD, SeriesInstanceUID="1.2.840.2"), "mixed_series"),
    "two directions": (lambda: series(HEAD) + series(HEAD, orientation=SAGITTAL), "mixed_geometry"),
    "two sizes": (lambda: [*series(HEAD), dicom_slice(HEAD[0, ::2], (0, 0, 99))], "mixed_geometry"),
    "two at a place": (lambda: series(HEAD) + series(HEAD // 2), "repeated_positions"),
    "one DICOM slice": (lambda: series(HEAD)[:1], "single_slice"),
    "DICOM without place": (lambda: series(HEAD, ImagePositionPatient=None), "no_orientation"),
    "DICOM without direction": (lambda: series(HEAD, ImageOrientationPatient=None), "no_orientation"),
    "DICOM with odd direction": (lambda: series(HEAD, ImageOrientationPatient=[0.0] * 6), "bad_orientation"),
    "DICOM without spacing": (lambda: series(HEAD, PixelSpacing=None), "bad_spacing"),
    "DICOM with zero spacing": (lambda: series(HEAD, PixelSpacing=[0, 0]), "bad_spacing"),
    "DICOM without pixels": (lambda: series(HEAD, PixelData=None), "no_pixels"),
    "last DICOM without pixels": (
        lambda: [*series(HEAD)[:-1], series(HEAD, PixelData=None)[-1]],
        "truncated",
    ),
    "DICOM in colour": (lambda: series(HEAD, PhotometricInterpretation="PALETTE COLOR"), "not_grey"),
    "DICOM film": (
        lambda: dicom_slice(HEAD[0], (0, 0, 0), NumberOfFrames=3, PixelData=HEAD[:3].tobytes()),
        "no_orientation",
    ),
    "DICOM cut short": (lambda: [data[:-2000] for data in series(HEAD)], "corrupt"),
    "DICOM and NIfTI": (lambda: [*series(HEAD), nifti(PLAIN)], "mixed_files"),
    "two NIfTI": (lambda: [nifti(PLAIN), nifti(PLAIN)], "several_volumes"),
    "4D": (lambda: nifti(np.stack([PLAIN, PLAIN], -1)), "four_dimensional"),
    "2D NIfTI": (lambda: nifti(PLAIN[:, :, 0]), "single_slice"),
    "one NIfTI slice": (lambda: nifti(PLAIN[:, :, :1]), "single_slice"),
    "NaN": (lambda: nifti(NAN), "not_finite"),
    "infinite": (lambda: nifti(np.where(np.isnan(NAN), np.inf, NAN)), "not_finite"),
    "constant": (lambda: nifti(np.full_like(PLAIN, 7)), "constant"),
    "NIfTI without orientation": (lambda: nifti(PLAIN, sform_code=0, qform_code=0), "no_orientation"),
    "NIfTI sheared": (lambda: nifti(PLAIN, SHEARED), "bad_orientation"),
    "NIfTI contradicting itself": (
        lambda: nifti(PLAIN, qform_code=1, quatern_b=1.0, quatern_c=0.0, quatern_d=0.0),
        "bad_orientation",
    ),
    "NIfTI with an impossible rotation": (
        lambda: nifti(PLAIN, sform_code=0, qform_code=1, quatern_b=1.0, quatern_c=1.0, quatern_d=1.0),
        "bad_orientation",
    ),
    "NIfTI with NaN in a placement": (
        lambda: nifti(PLAIN, qform_code=1, srow_x=[np.nan, 0, 0, 0]),
        "bad_orientation",
    ),
    "zero spacing": (lambda: nifti(PLAIN, pixdim=[1, 0, 0, 0, 1, 1, 1, 1]), "bad_spacing"),
    "zero affine": (lambda: nifti(PLAIN, srow_x=[0, 0, 0, 0]), "bad_spacing"),
    "absurd spacing": (lambda: nifti(PLAIN, np.diag([500.0, 500, 500, 1])), "bad_spacing"),
    "NIfTI cut short": (lambda: nifti(PLAIN, packed=False)[:-100], "truncated"),
    "gzip cut short": (lambda: nifti(PLAIN)[:-3000], "truncated"),
    "gzip damaged": (lambda: damaged(nifti(PLAIN)), "corrupt"),
    "gzip of text": (lambda: gz(b"hello" * 99), "unsupported"),
    "gzip bomb": (lambda: nifti(np.zeros((512, 512, 80), np.int16)), "compression_bomb"),
    "header bomb": (lambda: nifti(PLAIN, dim=[3, 1024, 1024, 1024, 1, 1, 1, 1]), "too_many_voxels"),
    "negative size": (lambda: nifti(PLAIN, dim=[3, -5, 80, 9, 1, 1, 1, 1]), "corrupt"),
    "pair": (lambda: nifti(PLAIN, packed=False).replace(b"n+1\0", b"ni1\0"), "header_only"),
    "complex": (lambda: nifti(PLAIN.astype(np.complex64)), "not_grey"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.filterwarnings("ignore")  # pydicom's own, about files that break the standard
def test_each_bad_upload_has_its_own_message_and_leaves_nothing(case: str, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    make, code = REFUSED[case]
    assert code_of(make()) == code
    assert os.listdir(tmp_path) == []


def test_too_large_files_are_refused_without_being_read_whole(tmp_path: Path):
    path = tmp_path / "large.nii"
    with path.open("wb") as file:
        file.truncate(limits.MAX_BYTES * 20)
    tracemalloc.start()
    assert code_of(path) == "too_large"
    assert tracemalloc.get_traced_memory()[1] < 4 * limits.MAX_BYTES
    tracemalloc.stop()


def test_a_gzip_bomb_is_not_inflated():
    data = nifti(np.zeros((512, 512, 400), np.int16))  # 210 MB of zeros
    tracemalloc.start()
    assert code_of(data) == "compression_bomb"
    assert tracemalloc.get_traced_memory()[1] < 60e6
    tracemalloc.stop()


def test_copies_are_counted_once_and_said():
    volume = read_volume(series(HEAD) + series(HEAD)[:2])
    assert volume.shape == HEAD.shape
    assert volume.warnings == ("2 images came twice and were counted once.",)


def test_uneven_and_tilted_slices_are_said():
    uneven = [dicom_slice(p, (0, 0, 5 * k + (1 if k == 3 else 0))) for k, p in enumerate(HEAD)]
    assert "unevenly" in read_volume(uneven).warnings[0]
    turned = (1, 0, 0, 0, np.cos(0.6), np.sin(0.6))
    assert "tilted 34 degrees out of the axial plane" in read_volume(series(HEAD, orientation=turned)).warnings[0]


@pytest.mark.filterwarnings("ignore")
@given(data=st.data())
@fuzz
def test_flipped_bytes_never_escape_as_anything_but_a_refusal(data: st.DataObject):
    raw = bytearray(data.draw(st.sampled_from(FUZZED)))
    for at in data.draw(st.lists(st.integers(0, min(len(raw), 3000) - 1), min_size=1, max_size=8)):
        raw[at] = data.draw(st.integers(0, 255))
    with suppress(FileRejected):
        volume = read_volume(bytes(raw))
        assert 0 <= volume.voxels.min() <= volume.voxels.max() <= 1


SMALL = head(4, 24, 20)
FUZZED = [
    nifti(SMALL.transpose(2, 1, 0), packed=False),
    nifti(SMALL.transpose(2, 1, 0)),
    enhanced(SMALL),
    zipped(named(series(SMALL))),
]
