"""Synthetic volumes for the tests: a head-like object, as NIfTI bytes and as the files of a DICOM series."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterable

import nibabel
import numpy as np
from fakes import FakePipeline, scan_png
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, MRImageStorage

from mri_models.types import Disc, SpineGrading
from mri_models.types.discs import LEVELS

AXIAL = (1, 0, 0, 0, 1, 0)  # rows to the patient's left, columns to the back (LPS)
SAGITTAL = (0, 1, 0, 0, 0, -1)
CORONAL = (1, 0, 0, 0, 0, -1)


def head(slices: int = 9, rows: int = 80, columns: int = 72) -> np.ndarray:
    """(slice, row, column) int16: an ellipsoid, brighter to the left, back and bottom: no two ways look alike."""
    s, r, c = (np.linspace(0, 1, n)[shape] for n, shape in zip((slices, rows, columns), _AXES, strict=True))
    inside = ((s - 0.5) / 0.7) ** 2 + ((r - 0.5) / 0.45) ** 2 + ((c - 0.5) / 0.4) ** 2 < 1
    texture = 40 * np.sin(40 * r + 3 * np.sin(25 * c)) * np.sin(35 * c)
    return np.where(inside, 200 + 300 * s + 200 * r + 100 * c + texture, 0).astype(np.int16)


_AXES = ((slice(None), None, None), (None, slice(None), None), (None, None, slice(None)))


def nifti(values: np.ndarray, affine: np.ndarray | None = None, packed: bool = True, **header: object) -> bytes:
    """(I, J, K) -> .nii.gz or .nii bytes; `header` sets raw fields, such as pixdim or sform_code."""
    image = nibabel.Nifti1Image(values, np.diag([2.0, 2, 5, 1]) if affine is None else affine)
    image.header["db_name"] = b"Doe^Jane"
    raw = bytearray(image.to_bytes())
    for name, value in header.items():  # nibabel itself would put them right again
        dtype, at = nibabel.Nifti1Header.template_dtype.fields[name][:2]
        stored = np.array(value, dtype.base).tobytes()
        raw[at : at + len(stored)] = stored
    return gz(bytes(raw)) if packed else bytes(raw)


def gz(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def dicom_slice(pixels: np.ndarray, position: Iterable[float], orientation=AXIAL, **elements: object) -> bytes:
    """One MR file of a series; `elements` add to or replace what it says, None removes."""
    dataset = _dataset(pixels, MRImageStorage)
    dataset.ImagePositionPatient = [float(x) for x in position]
    dataset.ImageOrientationPatient = [float(x) for x in orientation]
    dataset.PixelSpacing = [0.9, 0.8]
    return _saved(dataset, elements)


def series(values: np.ndarray, step: float = 5.0, orientation=AXIAL, **elements: object) -> list[bytes]:
    """(slice, row, column) -> files whose slices follow one another along the normal, `step` mm apart."""
    normal = np.cross(orientation[:3], orientation[3:])
    return [
        dicom_slice(pixels, np.array([-10, -20, 30]) + k * step * normal, orientation, **elements)
        for k, pixels in enumerate(values)
    ]


def enhanced(values: np.ndarray, step: float = 5.0, slope: float = 1.0) -> bytes:
    """The same as one enhanced multi-frame object, whose geometry stands in functional groups."""
    dataset = _dataset(values[0], EnhancedMRImageStorage)
    dataset.NumberOfFrames = len(values)
    dataset.PixelData = values.tobytes()
    shared = Dataset()
    shared.PlaneOrientationSequence = _item(ImageOrientationPatient=list(map(float, AXIAL)))
    shared.PixelMeasuresSequence = _item(PixelSpacing=[0.9, 0.8])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for k in range(len(values)):
        group = Dataset()
        group.PlanePositionSequence = _item(ImagePositionPatient=[-10.0, -20.0, 30 + k * step])
        group.PixelValueTransformationSequence = _item(RescaleSlope=slope, RescaleIntercept=0.0, RescaleType="US")
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    return _saved(dataset, {})


def brain(outcomes: Iterable[str], side: int = 96) -> np.ndarray:
    """(slice, row, column) uint8: drawn brains whose corners make FakePipeline answer these outcomes, head to foot.

    Black and white patches pin the volume's stretch to 0 and 255, so that a corner keeps its grey level.
    """
    from fakes import scan_png

    slices = []
    for outcome in outcomes:
        pixels = np.array(Image.open(io.BytesIO(scan_png(outcome, side))))
        pixels[2:18, 2:18], pixels[2:18, -18:-2] = 0, 255
        slices.append(pixels)
    return np.stack(slices)


def brain_nifti(outcomes: Iterable[str]) -> bytes:
    """The same as NIfTI in RAS+ order, 5 mm apart."""
    return nifti(np.ascontiguousarray(brain(outcomes)[::-1, ::-1, ::-1].transpose(2, 1, 0)), np.diag([2.0, 2, 5, 1]))


def zipped(files: Iterable[tuple[str, bytes]]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return stream.getvalue()


def named(files: Iterable[bytes]) -> list[tuple[str, bytes]]:
    return [(f"scan/IM{i:04d}", data) for i, data in enumerate(files)]


def _item(**elements: object) -> Sequence:
    dataset = Dataset()
    for name, value in elements.items():
        setattr(dataset, name, value)
    return Sequence([dataset])


def _dataset(pixels: np.ndarray, kind: str) -> Dataset:
    pixels = pixels.astype(np.int16) if pixels.itemsize == 1 else pixels
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID, dataset.Modality = kind, "1.2.3", "MR"
    dataset.SeriesInstanceUID = "1.2.840.1"
    dataset.PatientName, dataset.PatientID = "Doe^Jane", "4711"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, int(pixels.dtype.kind == "i")
    dataset.PixelData = pixels.tobytes()
    return dataset


def _saved(dataset: Dataset, elements: dict[str, object]) -> bytes:
    for name, value in elements.items():
        if value is None:
            delattr(dataset, name)
        else:
            setattr(dataset, name, value)
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


def discs(count: int) -> SpineGrading:
    """So many discs, all of grade 2."""
    place = {"centre": (10.0, 10.0), "tilt": 0.0, "spacing": 9.0, "box": (8, 6, 12, 14)}
    scores = {"narrowing": 0.1, "bulging": 0.1, "herniation": 0.1, "pfirrmann": (0.1, 0.8, 0.1, 0.0, 0.0)}
    answer = {"grade": 2, "span": (2, 2), "accepted": True}
    worst = FakePipeline().verdict(FakePipeline().read(scan_png("glioma"))).diagnosis
    return SpineGrading(tuple(Disc(level=level, **place, **scores, **answer) for level in LEVELS[:count]), worst)
