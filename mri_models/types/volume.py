"""What is looked at slice by slice: a volume on its own grid, free of metadata, and the labels that lie on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mri_models.types.maps import Mask
from mri_models.types.scan import Scan

PLANES = ("axial", "sagittal", "coronal")


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """How the input's own voxels (I, J, K) lie in a Volume, so that a mask finds its way back.

    shape: (I, J, K) of the input; affine: (4, 4) float64, its voxel indices -> RAS+ millimetres (NIfTI's world).
    order: input axis of each Volume axis (slice, row, column); flipped: whether that axis runs backwards.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]

    def to_volume(self, values: np.ndarray) -> np.ndarray:
        """(I, J, K) -> (slice, row, column), a view."""
        return np.flip(values.transpose(self.order), self._axes)

    def to_input(self, values: np.ndarray) -> np.ndarray:
        """(slice, row, column) -> (I, J, K), a view; the inverse of `to_volume`."""
        return np.flip(values, self._axes).transpose(np.argsort(self.order))

    @property
    def volume_affine(self) -> np.ndarray:
        """(4, 4) of the Volume's axes: indices (slice, row, column) -> RAS+ millimetres."""
        step = np.zeros((4, 4))
        step[3, 3] = 1
        for axis, (source, flip) in enumerate(zip(self.order, self.flipped, strict=True)):
            step[source, axis] = -1 if flip else 1
            step[source, 3] = self.shape[source] - 1 if flip else 0
        return self.affine @ step

    @property
    def _axes(self) -> tuple[int, ...]:
        return tuple(axis for axis, flip in enumerate(self.flipped) if flip)


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """One grey volume, free of metadata; `voxels[k]` is a slice as a radiologist expects to see it.

    voxels: (slice, row, column) float32 in [0, 1], 0 = black, one stretch for all slices; contiguous and read-only.
    Slices follow the acquisition's own plane. Every axis runs towards left, posterior or inferior (nearest of them):
    axial      slices from head to foot, rows from the front to the back, columns from the patient's right to left
    sagittal   slices from right to left, rows from top to bottom, columns from the front to the back
    coronal    slices from the front to the back, rows from top to bottom, columns from right to left
    affine: (4, 4) float64, indices (slice, row, column) -> RAS+ millimetres. plane: one of PLANES.
    grid: the way back to the input's own voxels. format: "nifti", "dicom" or "array", by content.
    modality: DICOM code where the files stated one. warnings: sentences about what was amiss, but not enough to refuse.
    """

    voxels: np.ndarray
    affine: np.ndarray
    plane: str
    grid: Grid
    format: str = "array"
    modality: str | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        voxels = self.voxels
        if voxels.ndim != 3 or voxels.dtype != np.float32 or voxels.size == 0:
            raise ValueError(f"voxels must be (slice, row, column) float32, got {voxels.shape} {voxels.dtype}")
        if not (voxels.min() >= 0 and voxels.max() <= 1):  # false for NaN as well
            raise ValueError("voxels must be finite and within [0, 1]")
        if self.affine.shape != (4, 4):
            raise ValueError(f"affine must be (4, 4), got {self.affine.shape}")
        if self.plane not in PLANES:
            raise ValueError(f"plane must be one of {PLANES}, got {self.plane!r}")
        voxels.setflags(write=False)
        self.affine.setflags(write=False)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        return self.voxels.shape

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Millimetres between slices, rows and columns."""
        slices, rows, columns = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(slices), float(rows), float(columns)

    def scan(self, index: int) -> Scan:
        """One slice as an image of its own."""
        return Scan(self.voxels[index], self.spacing_mm[1:], self.modality, format=self.format)

    def scans(self) -> Iterator[Scan]:
        """All slices in order."""
        return (self.scan(index) for index in range(len(self.voxels)))

    def source_index(self, index: int) -> int:
        """The slice's place along the input's own axis, from 0."""
        return self.shape[0] - 1 - index if self.grid.flipped[0] else index

    def to_input(self, values: np.ndarray) -> np.ndarray:
        """Values on this volume's grid -> (I, J, K) on the input's own, whose affine is `grid.affine`."""
        if values.shape != self.shape:
            raise ValueError(f"values must be {self.shape} like the volume, got {values.shape}")
        return self.grid.to_input(values)

    def to_dict(self) -> dict[str, Any]:
        return {
            "shape": list(self.shape),
            "spacing_mm": [round(mm, 4) for mm in self.spacing_mm],
            "plane": self.plane,
            "format": self.format,
            "input_shape": list(self.grid.shape),
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True, slots=True, eq=False)
class VolumeMask:
    """Labelled voxels on a Volume's grid, found by a segmentation network.

    values: (slice, row, column) uint8: 0 background, k = labels[k - 1].
    probability: float32 in [0, 1] alike: confidence in what `values` says there; 0 where the network never looked.
    spacing_mm: the Volume's. model: name of the network, as in the report's `models`.
    """

    values: np.ndarray
    probability: np.ndarray
    labels: tuple[str, ...]
    spacing_mm: tuple[float, float, float]
    model: str

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or self.values.dtype != np.uint8:
            raise ValueError(f"values must be (slice, row, column) uint8, got {self.values.shape} {self.values.dtype}")
        if self.values.max(initial=0) > len(self.labels):
            raise ValueError(f"values must be 0 to {len(self.labels)} for {self.labels}, got {self.values.max()}")
        if self.probability.shape != self.values.shape or self.probability.dtype != np.float32:
            raise ValueError(f"probability must be float32 of {self.values.shape}, got {self.probability.shape}")
        self.values.setflags(write=False)
        self.probability.setflags(write=False)

    @property
    def found(self) -> bool:
        """Whether anything is labelled."""
        return bool(self.values.any())

    @property
    def voxels(self) -> Mapping[str, int]:
        """Voxels of each label."""
        return {label: int(np.count_nonzero(self.values == number)) for number, label in enumerate(self.labels, 1)}

    @property
    def ml(self) -> Mapping[str, float]:
        """Millilitres of each label."""
        voxel = float(np.prod(self.spacing_mm)) / 1000
        return {label: count * voxel for label, count in self.voxels.items()}

    def to_dict(self) -> dict[str, Any]:
        ml, voxels = self.ml, self.voxels
        return {
            "label": " + ".join(self.labels),
            "found": self.found,
            "model": self.model,
            "volume_ml": round(sum(ml.values()), 3),
            "labels": {
                label: {
                    "value": number,
                    "voxels": voxels[label],
                    "volume_ml": round(ml[label], 3),
                    "confidence": self._confidence(number),
                    "slices": self._slices(number),
                }
                for number, label in enumerate(self.labels, 1)
            },
        }

    def _confidence(self, number: int) -> float | None:
        """Mean probability where a label lies; None where it lies nowhere."""
        there = self.probability[self.values == number]
        return round(float(there.mean()), 4) if there.size else None

    def _slices(self, number: int) -> list[int] | None:
        """First and last slice that hold a label, counted from 1."""
        there = np.flatnonzero((self.values == number).any((1, 2)))
        return [int(there[0]) + 1, int(there[-1]) + 1] if there.size else None


class SliceSegmenter(Protocol):
    """Outlines a structure in one slice, such as a tumour; digest: SHA-256 of its weights."""

    digest: str

    def __call__(self, scan: Scan) -> Mask: ...


class VolumeSegmenter(Protocol):
    """Labels a whole volume, such as the discs, vertebrae and canal of a spine; name: its folder below weights/."""

    name: str
    digest: str

    def __call__(self, volume: Volume) -> VolumeMask: ...
