"""The volume in the browser: three planes drawn from one small copy, and NiiVue for those who have WebGL2.

The copy (8 bits, at most MOST voxels) travels inside the page, so that nothing is stored on the server.
"""

from __future__ import annotations

import base64
import gzip
from html import escape
from pathlib import Path

import nibabel
import numpy as np

from mri_models.contour import PALETTE
from mri_models.report import OUTLINED
from mri_models.types import PLANES, Volume, VolumeReport

MOST = 4_000_000  # voxels of the copy; its planes then have about 256 pixels a side
SCRIPT = Path(__file__).with_name("volume.js")
_LETTERS = {"axial": "IPL", "sagittal": "LIP", "coronal": "PIL"}  # what the Volume's axes run towards
_SIDES = {"axial": ("R", "L", "A", "P"), "sagittal": ("A", "P", "S", "I"), "coronal": ("R", "L", "S", "I")}


def view(report: VolumeReport) -> str:
    """Planes, viewer and toggles of one volume; empty where no volume could be read."""
    volume = report.volume
    if volume is None:
        return ""
    mask = report.mask if report.mask and report.mask.found else None
    steps = stride(volume.shape)
    shape = tuple(len(range(0, side, step)) for side, step in zip(volume.shape, steps, strict=True))
    data = f'data-volume="{_packed(volume, volume.voxels, steps)}"'
    if mask:
        data += f' data-mask="{_packed(volume, mask.values, steps)}"'
    spacing = ",".join(f"{mm * step:.5f}" for mm, step in zip(volume.spacing_mm, steps, strict=True))
    ordered = (volume.plane, *(plane for plane in PLANES if plane != volume.plane))
    figures = "".join(_plane(plane, volume, shape, steps, first=plane == volume.plane) for plane in ordered)
    return (
        f'<div class="vol-view" data-axes="{_LETTERS[volume.plane]}" data-shape="{",".join(map(str, shape))}" '
        f'data-spacing="{spacing}" data-steps="{",".join(map(str, steps))}" {data}>'
        f'<div class="vol-tools" role="group" aria-label="View">'
        '<button type="button" data-mode="planes" aria-pressed="true">Three planes</button>'
        '<button type="button" data-mode="viewer" aria-pressed="false">3D viewer</button>'
        f"{_toggles(report)}</div>"
        f'<div class="vol-planes">{figures}</div>'
        '<div class="vol-viewer" hidden><div><canvas aria-label="Volume viewer: drag to turn, scroll through slices">'
        '</canvas></div><p class="mri-quiet" role="status"></p></div></div>'
    )


def stride(shape: tuple[int, int, int]) -> tuple[int, int, int]:
    """Every n-th voxel along each axis for the copy; the longest axis is thinned first."""
    steps = [1, 1, 1]
    while np.prod([-(-side // step) for side, step in zip(shape, steps, strict=True)]) > MOST:
        longest = max(range(3), key=lambda axis: shape[axis] / steps[axis])
        steps[longest] += 1
    return tuple(steps)


def _packed(volume: Volume, values: np.ndarray, steps: tuple[int, int, int]) -> str:
    """.nii.gz in base64: x is the column, y the row, z the slice, so that the bytes are the array's own."""
    thin = values[:: steps[0], :: steps[1], :: steps[2]]
    grey = thin if thin.dtype == np.uint8 else (thin * 255).round().astype(np.uint8)
    affine = volume.affine[:, [2, 1, 0, 3]] * np.array([steps[2], steps[1], steps[0], 1])
    image = nibabel.Nifti1Image(grey.transpose(2, 1, 0), affine)
    return base64.b64encode(gzip.compress(image.to_bytes(), 4, mtime=0)).decode()


def _plane(plane: str, volume: Volume, shape: tuple[int, ...], steps: tuple[int, ...], *, first: bool) -> str:
    letters = _LETTERS[volume.plane]
    axis = letters.index(_LETTERS[plane][0])
    count, middle = shape[axis], shape[axis] // 2
    left, right, top, bottom = _SIDES[plane]
    what = f"{plane.capitalize()} slice"
    return (
        f'<figure class="vol-plane{" is-first" if first else ""}" data-plane="{plane}" data-axis="{axis}" '
        f'data-count="{volume.shape[axis]}" data-step="{steps[axis]}">'
        f'<div class="vol-frame"><canvas role="img" aria-label="{what} of the volume"></canvas>'
        f'<i style="left:6px;top:50%">{left}</i><i style="right:6px;top:50%">{right}</i>'
        f'<i style="top:4px;left:50%">{top}</i><i style="bottom:4px;left:50%">{bottom}</i></div>'
        f"<figcaption><label><span>{what}</span> <output></output>"
        f'<input type="range" min="0" max="{count - 1}" value="{middle}" aria-label="{what}"></label></figcaption>'
        "</figure>"
    )


def _toggles(report: VolumeReport) -> str:
    """One switch a label, in the label's colour, and the strength of all."""
    mask = report.mask
    if mask is None or not mask.found:
        return ""
    boxes = ""
    for number, (label, count) in enumerate(mask.voxels.items(), 1):
        red, green, blue = PALETTE[(number - 1) % len(PALETTE)]
        if count:
            boxes += (
                f'<label class="vol-label"><input type="checkbox" checked data-label="{number}" '
                f'data-colour="{red},{green},{blue}"><i style="background:rgb({red},{green},{blue})"></i>'
                f"{escape(OUTLINED.get(label, label))}</label>"
            )
    return (
        f'{boxes}<label class="vol-label">Strength <input type="range" data-strength min="0" max="1" step="0.05" '
        'value="0.45" aria-label="Strength of the overlays"></label>'
    )
