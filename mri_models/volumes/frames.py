"""A DICOM file -> its frames, each with its place in space. Names, dates and identifiers stay in the bytes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.pixels import apply_modality_lut

from mri_models.dicom import decoded, modality_of, open_dicom, rescaled
from mri_models.errors import FileRejected
from mri_models.volumes.grid import bad_orientation
from mri_models.volumes.limits import check_shape

_FURTHER = [
    *("SeriesInstanceUID", "ImagePositionPatient", "ImageOrientationPatient"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One image of a series.

    pixels: (rows, columns) float32 after rescaling. position: (3,) of the first pixel, LPS mm.
    across, down: (3,) unit vectors in which columns and rows grow, LPS. spacing_mm: (row, column).
    series: groups frames while they are sorted; never leaves this package.
    """

    pixels: np.ndarray
    position: np.ndarray
    across: np.ndarray
    down: np.ndarray
    spacing_mm: tuple[float, float]
    series: str
    inverted: bool
    modality: str | None


def series_of(data: bytes) -> str | None:
    """The series' identifier, for sorting files; None where no image with a place in space is in the file."""
    dataset = open_dicom(data, _FURTHER)
    placed = "ImagePositionPatient" in dataset or "PerFrameFunctionalGroupsSequence" in dataset
    return str(dataset.get("SeriesInstanceUID") or "") if placed and "PixelData" in dataset else None


def is_placed(data: bytes) -> bool:
    """Whether a DICOM file says where its image lies, be the image there or not."""
    return "ImagePositionPatient" in open_dicom(data, _FURTHER)


def has_frames(data: bytes) -> bool:
    """Whether a DICOM file holds several frames."""
    return int(open_dicom(data).get("NumberOfFrames") or 1) > 1


def read_frames(data: bytes) -> list[Frame]:
    """All frames of one file, single or multi-frame; empty for objects without an image (reports, directories).

    Refusals that can be explained are FileRejected; anything else that pydicom raises is the caller's to map.
    """
    dataset = open_dicom(data, _FURTHER)
    if "PixelData" not in dataset:
        return []
    if int(dataset.get("SamplesPerPixel") or 1) != 1 or not dataset.PhotometricInterpretation.startswith("MONOCHROME"):
        raise FileRejected(
            "not_grey", "An image of the series is in colour, like a screenshot or a map. Send the grey series alone."
        )
    frames = int(dataset.get("NumberOfFrames") or 1)
    check_shape((int(dataset.Columns), int(dataset.Rows), frames))
    places = [*_places(dataset, frames)]
    values = decoded(dataset).reshape(frames, dataset.Rows, dataset.Columns)
    series = str(dataset.get("SeriesInstanceUID") or "")
    inverted, modality = dataset.PhotometricInterpretation == "MONOCHROME1", modality_of(dataset)
    return [
        Frame(_grey(image, dataset, place.transform), *place.geometry, series, inverted, modality)
        for image, place in zip(values, places, strict=True)
    ]


@dataclass(frozen=True, slots=True, eq=False)
class _Place:
    geometry: tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float]]
    transform: Dataset | None


def _grey(image: np.ndarray, dataset: FileDataset, transform: Dataset | None) -> np.ndarray:
    """Stored values -> what they stand for: rescale of the frame, else of the file."""
    if transform is not None:
        return apply_modality_lut(image, transform).astype(np.float32)
    return rescaled(image, dataset).astype(np.float32)


def _places(dataset: FileDataset, frames: int) -> Iterator[_Place]:
    """One a frame: from the file itself, or from the functional groups of an enhanced object."""
    groups = dataset.get("PerFrameFunctionalGroupsSequence")
    if not groups:
        if frames > 1:
            raise FileRejected(
                "no_orientation",
                f"The file holds {frames} frames without their places, like a film. Send a volume or a series.",
            )
        yield _Place(_geometry(dataset, dataset, dataset), None)
        return
    if len(groups) != frames:
        raise FileRejected("corrupt", f"The header places {len(groups)} of {frames} frames. Export the file again.")
    shared = (dataset.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]

    def part(group: Dataset, name: str) -> Dataset:
        found = group.get(name) or shared.get(name)
        return found[0] if found else Dataset()

    for group in groups:
        position, orientation, measures = (
            part(group, name) for name in ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
        )
        transform = part(group, "PixelValueTransformationSequence")
        yield _Place(_geometry(position, orientation, measures), transform if "RescaleSlope" in transform else None)


def _geometry(
    position: Dataset, orientation: Dataset, measures: Dataset
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[float, float]]:
    point = _numbers(position, "ImagePositionPatient", 3)
    cosines = _numbers(orientation, "ImageOrientationPatient", 6)
    if point is None or cosines is None:
        raise FileRejected(
            "no_orientation",
            "An image does not say where it lies (ImagePositionPatient, ImageOrientationPatient), so the slices "
            "can't be ordered. Send the original series.",
        )
    spacing = _numbers(measures, "PixelSpacing", 2)
    if spacing is None:
        raise FileRejected(
            "bad_spacing", "An image does not state its pixel spacing. Send the original series, not a secondary copy."
        )
    across, down = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(across), np.linalg.norm(down)
    if not np.isfinite(cosines).all() or abs(lengths[0] - 1) > 0.01 or abs(lengths[1] - 1) > 0.01:
        raise bad_orientation("its directions are not of length one")
    if abs(float(across @ down)) > 0.01:
        raise bad_orientation("rows and columns are not at right angles")
    return point, across, down, (float(spacing[0]), float(spacing[1]))


def _numbers(dataset: Dataset, name: str, count: int) -> np.ndarray | None:
    value = dataset.get(name)
    if value is None or isinstance(value, str | float | int) or len(value) != count:
        return None
    return np.array([float(part) for part in value], np.float64)
