"""A volume network against the readers' own labels, by label and patient: Dice and error of the volume."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from mri_models.evaluation.collect import thin
from mri_models.evaluation.segmentation import by_patient, dice
from mri_models.evaluation.tables import cell, table, update_readme
from mri_models.training.volumes import LabelledVolume, read_volumes
from mri_models.types import Volume
from mri_models.volumes.grid import place
from mri_models.volumetric import PatchSegmenter

THICK = 4  # every so many slices are left, for the second row
NOTE = (
    "Dice of the whole volume, mean over patients; volume error: difference of the millilitres as a share of the "
    "readers'. Every 4th slice: the same volumes with the other slices removed, as thick as everyday series are, "
    "measured on the slices that are left. Brackets: 95 % interval over patients (bootstrap)."
)


def measure_volumes(
    segmenter: PatchSegmenter, data: Path, split: str, limit: int | None = None, body_part: str = "spine"
) -> dict[str, Any]:
    """{source: Dice and volume error of each label}; a second entry with thick slices. limit: volumes at most."""
    volumes = thin([v for v in read_volumes(data, body_part) if v.split == split], limit)
    found = {}
    for source in sorted({v.source for v in volumes}):
        here = [v for v in volumes if v.source == source]
        found[source] = _measure(segmenter, here)
        found[f"{source}, every {THICK}th slice"] = _measure(segmenter, [thinned(v, THICK) for v in here])
    return found


def as_volume(labelled: LabelledVolume) -> Volume:
    """The image as serving reads it."""
    affine = np.diag([*labelled.spacing, 1.0])
    return place(labelled.image, affine, slice_axis=0)


def thinned(volume: LabelledVolume, step: int) -> LabelledVolume:
    """Every `step`-th sagittal slice, beginning so that the middle one stays."""
    first = (len(volume.image) // 2) % step
    spacing = (volume.spacing[0] * step, *volume.spacing[1:])
    kept = volume.image[first::step], volume.labels[first::step]
    return LabelledVolume(*kept, spacing, volume.patient, volume.source, volume.split)


def _measure(segmenter: PatchSegmenter, volumes: list[LabelledVolume]) -> dict[str, Any]:
    overlaps, errors = [], []
    for labelled in tqdm(volumes, desc=segmenter.name, leave=False):
        volume = as_volume(labelled)
        answer = volume.to_input(segmenter(volume).values)
        pairs = [(answer == k, labelled.labels == k) for k in range(1, 1 + len(segmenter.labels))]
        overlaps.append([dice(a, t) for a, t in pairs])
        errors.append([abs(int(a.sum()) - int(t.sum())) / max(1, int(t.sum())) for a, t in pairs])
    patients = [v.patient for v in volumes]

    def of_label(rows: list[list[float]], column: int) -> dict[str, float | None]:
        return by_patient([row[column] for row in rows], patients).to_dict()

    return {
        "volumes": len(volumes),
        "patients": len(set(patients)),
        "dice": {label: of_label(overlaps, k) for k, label in enumerate(segmenter.labels)},
        "volume_error": {label: of_label(errors, k) for k, label in enumerate(segmenter.labels)},
    }


def volume_table(found: Mapping[str, Any]) -> str:
    """{source: `measure_volumes`} → Markdown."""
    rows = []
    for source, one in found.items():
        for i, label in enumerate(one["dice"]):
            names = [source, one["volumes"], one["patients"]] if i == 0 else ["", "", ""]
            rows.append([*names, label, cell(one["dice"][label]), cell(one["volume_error"][label])])
    return table(["source", "volumes", "patients", "structure", "Dice", "volume error"], rows)


def write_volume_tables(results: Mapping[str, Any], readme: Path, weights: Path) -> None:
    """{model: `measure_volumes`}: README every volume network; each card its own."""
    parts = [f"### {name}\n\n{volume_table(found)}" for name, found in results.items()]
    update_readme(readme, "volumes", "\n\n".join([*parts, NOTE]))
    for name, found in results.items():
        update_readme(weights / name / "README.md", name, f"{volume_table(found)}\n\n{NOTE}")
