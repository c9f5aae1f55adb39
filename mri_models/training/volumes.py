"""The corpus' labelled volumes (volumes.csv), as arrays in one orientation."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np

from mri_models.errors import DataError
from mri_models.pixels import stretch

TABLE = "volumes.csv"


@dataclass(frozen=True, slots=True, eq=False)
class LabelledVolume:
    """image (X, Y, Z) float32 in [0, 1] and labels (X, Y, Z) uint8; axes run to the right, anterior and superior.

    spacing: millimetres along each axis.
    """

    image: np.ndarray
    labels: np.ndarray
    spacing: tuple[float, float, float]
    patient: str
    source: str
    split: str

    def sagittal(self) -> tuple[np.ndarray, np.ndarray]:
        """Sagittal slices as the corpus shows them, superior up and anterior left: (N, H, W) uint8 image and labels."""
        images, labels = (
            np.ascontiguousarray(array.transpose(0, 2, 1)[:, ::-1, ::-1]) for array in (self.image, self.labels)
        )
        return (images * 255).round().astype(np.uint8), labels


def read_volumes(data: Path, body_part: str) -> list[LabelledVolume]:
    """Every labelled volume of a body part.

    Raises DataError when the corpus has no volumes.
    """
    table = data / TABLE
    if not table.is_file():
        raise DataError("no_volumes", f"{table} is missing; volumes are listed there, see DATA.md.")
    with table.open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["body_part"] == body_part]
    return [_read(data, row) for row in rows]


def _read(data: Path, row: dict[str, str]) -> LabelledVolume:
    image, labels = (nibabel.as_closest_canonical(nibabel.load(data / row[key])) for key in ("image", "label"))
    return LabelledVolume(
        image=stretch(np.asarray(image.dataobj, np.float32)),
        labels=np.asarray(labels.dataobj).astype(np.uint8),
        spacing=tuple(map(float, image.header.get_zooms()[:3])),
        patient=row["patient"],
        source=row["source"],
        split=row["split"],
    )
