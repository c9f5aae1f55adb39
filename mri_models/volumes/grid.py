"""Values on the input's own grid -> Volume: which axis is the slice, which way is up, and can the geometry be right."""

from __future__ import annotations

import math

import numpy as np
from nibabel.orientations import io_orientation

from mri_models.errors import FileRejected
from mri_models.pixels import between
from mri_models.types import Grid, Volume
from mri_models.volumes.limits import SPACING_MM, check_shape

# World axis (0 right-left, 1 back-front, 2 foot-head) of the Volume's slice, row and column; see Volume.
_AXES = {"axial": (2, 1, 0), "sagittal": (0, 2, 1), "coronal": (1, 2, 0)}
_PLANE = {2: "axial", 0: "sagittal", 1: "coronal"}
_THICK = 1.1  # a spacing this much wider than the other two is the distance between slices
_THIN = 0.75  # a field of view this much smaller than the other two was cut into slices
_SHEAR = 0.2  # cosine between axes; scanners give 0, gantry tilt is not of MRI
_TILT = 30  # degrees from the plane's name, above which a reader should know
_SAMPLE = 1 << 21  # voxels that percentiles are taken from


def place(
    values: np.ndarray, affine: np.ndarray, *, slice_axis: int | None = None, invert: bool = False, **about: object
) -> Volume:
    """(I, J, K) float32 and its affine (voxel -> RAS+ mm) -> Volume; `about` goes to the Volume as it is.

    slice_axis: the acquisition's, where the file states it. invert: MONOCHROME1, where 0 is white.
    Raises FileRejected for geometry or values that nothing can be said about.
    """
    check_shape(values.shape)
    spacing = check_affine(affine)
    order = _world(affine)
    axis = slice_axis if slice_axis is not None else _slice_axis(values.shape, spacing, order)
    if values.shape[axis] == 1 or values.ndim != 3:
        raise single_slice()
    grid = _grid(values.shape, affine, order, axis)
    check_values(values)
    voxels = np.ascontiguousarray(grid.to_volume(_stretched(values)))
    if invert:
        np.subtract(1, voxels, out=voxels)
    plane = _PLANE[order[axis]]
    warnings = (*about.pop("warnings", ()), *_tilted(affine, axis, plane))
    return Volume(voxels, grid.volume_affine, plane, grid, warnings=warnings, **about)


def single_slice() -> FileRejected:
    """A picture in a volume's clothes."""
    return FileRejected(
        "single_slice", "There is only one slice. Send the whole series, or this slice alone in the Analyse tab."
    )


def check_affine(affine: np.ndarray) -> tuple[float, float, float]:
    """Spacing in mm along I, J, K; refuses an affine that is no placement of a scanner's voxels."""
    matrix = np.asarray(affine, np.float64)
    if not np.isfinite(matrix).all():
        raise bad_orientation("it holds NaN or infinite numbers")
    spacing = np.linalg.norm(matrix[:3, :3], axis=0)
    check_spacing(spacing)
    axes = matrix[:3, :3] / spacing
    cosines = np.abs(axes.T @ axes - np.eye(3))
    if cosines.max() > _SHEAR:
        raise bad_orientation("its axes are not at right angles")
    return tuple(map(float, spacing))


def check_spacing(spacing: np.ndarray) -> None:
    """Refuse a distance between voxels that is zero, unknown, or not of a scan of a person."""
    low, high = SPACING_MM
    if not all(math.isfinite(mm) and low <= mm <= high for mm in spacing):
        said = " x ".join(f"{mm:g}" for mm in spacing)
        raise FileRejected(
            "bad_spacing",
            f"The voxels measure {said} mm by the header; {low:g} to {high:g} mm are plausible. "
            "Export the volume again with its spacing.",
        )


def bad_orientation(why: str) -> FileRejected:
    """The header places the voxels in a way that can't be."""
    return FileRejected(
        "bad_orientation", f"The orientation in the header can't be right: {why}. Export the volume again."
    )


def check_values(values: np.ndarray) -> None:
    """Refuse NaN, infinity and volumes in which nothing differs."""
    low, high = float(values.min()), float(values.max())
    if not (math.isfinite(low) and math.isfinite(high)):
        raise FileRejected(
            "not_finite",
            "The volume holds NaN or infinite values. Replace them (for instance by 0) and send it again.",
        )
    if low == high:
        raise FileRejected("constant", f"Every voxel has the same value ({low:g}). Send the scan itself.")


def _world(affine: np.ndarray) -> tuple[int, int, int]:
    """Nearest world axis of I, J and K."""
    found = io_orientation(affine)[:, 0]
    if np.isnan(found).any():
        raise bad_orientation("two of its axes run the same way")
    return tuple(int(axis) for axis in found)


def _slice_axis(shape: tuple[int, ...], spacing: tuple[float, ...], world: tuple[int, ...]) -> int:
    """The widest spacing, else the smallest field of view, else (equal on all sides) the axial one."""
    wide = sorted(range(3), key=lambda axis: -spacing[axis])
    if spacing[wide[0]] > _THICK * spacing[wide[1]]:
        return wide[0]
    extent = [count * mm for count, mm in zip(shape, spacing, strict=True)]
    thin = sorted(range(3), key=lambda axis: extent[axis])
    if extent[thin[0]] < _THIN * extent[thin[1]]:
        return thin[0]
    return world.index(2)


def _grid(shape: tuple[int, ...], affine: np.ndarray, world: tuple[int, ...], axis: int) -> Grid:
    """Axes in the plane's order, each running left, to the back or down."""
    order = tuple(world.index(target) for target in _AXES[_PLANE[world[axis]]])
    towards = io_orientation(affine)[:, 1]  # +1: right, front, head
    flipped = tuple(bool(towards[source] > 0) for source in order)
    return Grid(tuple(int(side) for side in shape), np.asarray(affine, np.float64), order, flipped)


def _stretched(values: np.ndarray) -> np.ndarray:
    """0.5th to 99.5th percentile of all voxels -> [0, 1], as for single images, but alike in every slice."""
    flat = values.ravel(order="K")
    sample = flat[:: max(1, flat.size // _SAMPLE)]
    low, high = np.percentile(sample, (0.5, 99.5))
    if low >= high:
        low, high = values.min(), values.max()
    return between(values, float(low), float(high))


def _tilted(affine: np.ndarray, axis: int, plane: str) -> tuple[str, ...]:
    normal = np.asarray(affine)[:3, axis]
    tilt = math.degrees(math.acos(min(1.0, float(np.abs(normal).max() / np.linalg.norm(normal)))))
    return (f"The slices are tilted {tilt:.0f} degrees out of the {plane} plane.",) if tilt > _TILT else ()
