"""Frames of one DICOM series -> Volume: ordered by position along the slice normal, complete, and of one piece."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from mri_models.errors import FileRejected
from mri_models.types import Volume
from mri_models.volumes.frames import Frame
from mri_models.volumes.grid import check_spacing, place, single_slice
from mri_models.volumes.limits import check_shape

_TURN = 0.01  # largest difference of direction cosines within a series: rounding, half a degree
_GAP = 1.5  # of the usual distance: from here at least one slice is missing
_UNEVEN = 1.1
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def stack(frames: Sequence[Frame]) -> Volume:
    """One series, in any order. Raises FileRejected for mixed, incomplete or repeated ones."""
    _check_alike(frames)
    first = frames[0]
    check_spacing(np.array(first.spacing_mm))
    normal = np.cross(first.across, first.down)
    heights = np.array([frame.position @ normal for frame in frames])
    order = np.argsort(heights, kind="stable")
    ordered, heights = [frames[i] for i in order], heights[order]
    ordered, heights, warnings = _without_copies(ordered, heights)
    if len(ordered) < 2:
        raise single_slice()
    warnings += _check_complete(heights)
    rows, columns = first.pixels.shape
    check_shape((columns, rows, len(ordered)))
    values = np.empty((columns, rows, len(ordered)), np.float32, order="F")
    for k, frame in enumerate(ordered):
        values[:, :, k] = frame.pixels.T
    about = {"format": "dicom", "modality": first.modality, "warnings": warnings}
    return place(values, _affine(ordered), slice_axis=2, invert=first.inverted, **about)


def _check_alike(frames: Sequence[Frame]) -> None:
    series = Counter(frame.series for frame in frames)
    if len(series) > 1:
        counts = ", ".join(str(count) for _, count in series.most_common(8))
        raise FileRejected(
            "mixed_series",
            f"The upload mixes {len(series)} series (with {counts} images). Send one series at a time.",
        )
    first = frames[0]
    for frame in frames[1:]:
        turned = max(np.abs(frame.across - first.across).max(), np.abs(frame.down - first.down).max())
        alike = (frame.pixels.shape, frame.inverted, frame.modality) == (
            first.pixels.shape,
            first.inverted,
            first.modality,
        )
        if turned > _TURN or not alike or not np.allclose(frame.spacing_mm, first.spacing_mm, rtol=0.01):
            raise FileRejected(
                "mixed_geometry",
                "The images differ in direction, size or spacing, like a localiser or stacks along single discs. "
                "Send one stack of parallel slices.",
            )


def _without_copies(ordered: list[Frame], heights: np.ndarray) -> tuple[list[Frame], np.ndarray, tuple[str, ...]]:
    """Drop frames that came twice; refuse different ones at one place (echoes, time points, directions)."""
    if not np.isfinite(heights).all():
        raise FileRejected("no_orientation", "The images' positions are not numbers. Export the series again.")
    keep, copies = [0], 0
    for i in range(1, len(ordered)):
        if heights[i] - heights[keep[-1]] > 1e-3:
            keep.append(i)
        elif np.array_equal(ordered[i].pixels, ordered[keep[-1]].pixels):
            copies += 1
        else:
            raise FileRejected(
                "repeated_positions",
                "Several different images lie at the same position, as in a series over time, echoes or directions. "
                "Send one image a position.",
            )
    said = (f"{copies} images came twice and were counted once.",) if copies else ()
    return [ordered[i] for i in keep], heights[keep], said


def _check_complete(heights: np.ndarray) -> tuple[str, ...]:
    """Refuse a series with holes; its volumes and planes would be wrong."""
    steps = np.diff(heights)
    usual = float(np.median(steps))
    widest = int(steps.argmax())
    if steps[widest] > _GAP * usual:
        missing = max(1, int(np.maximum(np.rint(steps / usual) - 1, 0).sum()))
        raise FileRejected(
            "missing_slices",
            f"About {missing} of {len(heights) + missing} slices are missing: between slices {widest + 1} and "
            f"{widest + 2} lie {steps[widest]:.1f} mm, elsewhere {usual:.1f} mm. Send the complete series.",
        )
    if steps[widest] > _UNEVEN * usual or steps.min() * _UNEVEN < usual:
        return (f"The slices lie unevenly, {steps.min():.2f} to {steps.max():.2f} mm apart.",)
    return ()


def _affine(ordered: Sequence[Frame]) -> np.ndarray:
    """(column, row, slice) -> RAS+ mm; PS3.3 C.7.6.2.1.1, the step between slices is that of the whole stack."""
    first, last = ordered[0], ordered[-1]
    row, column = first.spacing_mm
    affine = np.eye(4)
    affine[:3, 0] = first.across * column
    affine[:3, 1] = first.down * row
    affine[:3, 2] = (last.position - first.position) / (len(ordered) - 1)
    affine[:3, 3] = first.position
    return _LPS_TO_RAS @ affine
