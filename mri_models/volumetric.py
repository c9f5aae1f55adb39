"""Where is it, in 3D? Overlapping patches of a volume → labels and confidence on the volume's own grid."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from monai.inferers import SlidingWindowInferer
from scipy import ndimage
from torch import nn

from mri_models.errors import QualityRejected
from mri_models.hub import CONFIG, WEIGHTS, check_version, loading, verify
from mri_models.localize import Segmenter
from mri_models.pace import step
from mri_models.preprocess import undo_letterbox
from mri_models.types import Scan, Volume, VolumeMask
from mri_models.unet3d import read_unet3d

NAME = "segmentation/spine3d"
CONFIG_VERSION = 1
MAX_VOXELS = 40_000_000  # on the network's grid: 400 x 320 x 310 mm at 1 mm; four classes of it are 640 MB
MAX_SLICES = 48  # that the network for slices looks at; five seconds on two cores
_SAGITTAL = {"sagittal": (0, 1, 2), "axial": (2, 0, 1), "coronal": (2, 1, 0)}  # axes of a Volume in that order

Spacing = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class VolumeRule:
    """How a volume is read, and what of the answer counts; learned on validation patients.

    spacing: millimetres between voxels (right to left, head to foot, front to back). patch: voxels that the network
    sees at once; overlap: share of it that neighbouring patches have in common.
    temperature: logits are divided by it before they become probabilities. least_ml: connected parts of a label that
    are smaller become background.
    """

    spacing: Spacing
    patch: tuple[int, int, int]
    overlap: float
    temperature: float = 1.0
    least_ml: float = 0.0
    slices: float = 0.0

    @classmethod
    def from_config(cls, mri: Mapping[str, Any]) -> Self:
        """From config.json's "mri"; KeyError where it lacks something."""
        patch = tuple(mri["patch"])
        rest = (mri["overlap"], mri["temperature"], mri["least_ml"], mri.get("slices", 0.0))
        return cls(tuple(mri["spacing_mm"]), patch, *rest)


class PatchSegmenter:
    """Volume → VolumeMask (a `types.VolumeSegmenter`). Thread-safe: nothing changes after construction.

    slicer: a network that outlines the same labels on sagittal slices; it has seen more of each slice, the 3D network
    more of its neighbours, and their mean, weighted by the rule's `slices`, errs less than either.
    """

    def __init__(
        self,
        network: nn.Module,
        labels: tuple[str, ...],
        rule: VolumeRule,
        name: str,
        digest: str,
        slicer: Segmenter | None = None,
    ):
        self.network = network.eval().requires_grad_(False)
        self.labels = labels
        self.rule = rule
        self.name = name
        self.digest = digest
        self.slicer = slicer if slicer and slicer.labels == labels else None

    @classmethod
    def load(cls, folder: Path, device: str = "cpu", outlines: Mapping[str, Segmenter] | None = None) -> PatchSegmenter:
        """Read a model folder: config.json, model.safetensors; its slicer is one of `outlines`, where it is there.

        Raises WeightsError when a file is missing, altered, or of a version this package does not know.
        """
        digest = verify(folder)
        with loading(folder, "a volume network"):
            config = json.loads((folder / CONFIG).read_text("utf-8"))
            mri = config["mri"]
            check_version(folder, mri, CONFIG_VERSION)
            network = read_unet3d(config, folder / WEIGHTS).to(device)
            slicer = (outlines or {}).get(mri.get("slicer", ""))
            return cls(network, tuple(config["labels"]), VolumeRule.from_config(mri), mri["name"], digest, slicer)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def __call__(self, volume: Volume) -> VolumeMask:
        """Labels and confidence on the volume's grid, whatever its plane and spacing.

        Raises QualityRejected when the volume covers more than a trunk.
        """
        sagittal = _SAGITTAL[volume.plane]
        shape, spacing = ([of[axis] for axis in sagittal] for of in (volume.shape, volume.spacing_mm))
        wanted = grid_shape(shape, spacing, self.rule.spacing)
        check_extent(wanted, self.rule.spacing)  # by the header's word, before anything of that size is allocated
        turned, _ = upright(volume)
        logits = self.logits(resize(turned, wanted))
        values, sure = self.settle(logits, turned.shape, self.by_slice(turned) if self.asks_slicer(volume) else None)
        values = without_crumbs(values, float(np.prod(spacing)) / 1000, self.rule.least_ml)
        back = np.argsort(sagittal)
        values, sure = (np.ascontiguousarray(array.transpose(back)) for array in (values, sure))
        return VolumeMask(values, sure, self.labels, volume.spacing_mm, self.name)

    @torch.inference_mode()
    def logits(self, voxels: torch.Tensor) -> torch.Tensor:
        """(D, H, W) in [0, 1] on the network's grid → (1 + labels, D, H, W) float32, Gaussian-weighted over patches."""
        inferer = SlidingWindowInferer(
            self.rule.patch, sw_batch_size=1, overlap=self.rule.overlap, mode="gaussian", device="cpu"
        )
        return inferer(voxels[None, None].to(self.device), self._look)[0].float()

    def _look(self, patches: torch.Tensor) -> torch.Tensor:
        """Half precision on a GPU, bfloat16 on a CPU: measured equal in the third decimal of Dice, in half the time."""
        step()
        kind = self.device.type
        with torch.autocast(kind, torch.float16 if kind == "cuda" else torch.bfloat16):
            return self.network(patches).float()

    def asks_slicer(self, volume: Volume) -> bool:
        """Whether the network for sagittal slices has a say: in a moderate number of slices that were made so."""
        sagittal = volume.plane == "sagittal" and len(volume.voxels) <= MAX_SLICES
        return self.slicer is not None and self.rule.slices > 0 and sagittal

    def by_slice(self, turned: torch.Tensor) -> np.ndarray:
        """(D, H, W) in [0, 1], sagittal → (1 + labels, D, H, W) float16 probabilities, each slice on its own."""
        found = np.empty((1 + len(self.labels), *turned.shape), np.float16)
        for place, pixels in enumerate(turned.numpy()):
            step()
            for label, share in enumerate(self.slicer.probabilities([Scan(pixels)])[0]):
                found[label, place] = undo_letterbox(share, pixels.shape)
        return found

    def settle(
        self, logits: torch.Tensor, shape: Sequence[int], by_slice: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Logits on the network's grid → (labels uint8, probability of the label float32) on one of `shape`.

        by_slice: probabilities (1 + labels, *shape) that join those of the 3D network by the rule's share.
        Probabilities are resampled, not labels, so that edges stay smooth; one class at a time, to save memory.
        """
        shares = (logits / self.rule.temperature).softmax(0)
        best, values = None, np.zeros(tuple(shape), np.uint8)
        for label, share in enumerate(shares):
            mapped = resize(share, shape).numpy()
            if by_slice is not None:
                mapped = (1 - self.rule.slices) * mapped + self.rule.slices * by_slice[label]
            if best is None:
                best = mapped.copy()
                continue
            closer = mapped > best
            values[closer], best[closer] = label, mapped[closer]
        return values, np.clip(best, 0, 1)


def upright(volume: Volume) -> tuple[torch.Tensor, Spacing]:
    """(right to left, head to foot, front to back) voxels of a volume of any plane, and their spacing in mm.

    A Volume's axes run these ways already; only their order differs.
    """
    axes = _SAGITTAL[volume.plane]
    voxels = torch.from_numpy(volume.voxels.transpose(axes).copy())
    return voxels, tuple(volume.spacing_mm[axis] for axis in axes)


def regrid(voxels: torch.Tensor, spacing: Spacing, wanted: Spacing) -> torch.Tensor:
    """(D, H, W) of one spacing → the same extent in voxels of another."""
    return resize(voxels, grid_shape(voxels.shape, spacing, wanted))


def grid_shape(shape: Sequence[int], spacing: Sequence[float], wanted: Spacing) -> tuple[int, ...]:
    """Voxels of another spacing that cover the same extent."""
    return tuple(max(1, round(n * mm / to)) for n, mm, to in zip(shape, spacing, wanted, strict=True))


def check_extent(shape: Sequence[int], spacing: Spacing) -> None:
    """Raises QualityRejected for more than a trunk."""
    if math.prod(shape) > MAX_VOXELS:
        size = " x ".join(f"{count * mm:.0f}" for count, mm in zip(shape, spacing, strict=True))
        raise QualityRejected(
            "too_extended",
            f"The volume covers {size} mm, more than a trunk, so its spacing is hardly right. Export it again.",
        )


def resize(voxels: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """(D, H, W) float32 → `shape`, trilinear, the outer edges in place; smoothed first where that makes it coarser."""
    shape = tuple(shape)
    if shape == tuple(voxels.shape):
        return voxels
    sigmas = [max(0.0, (old / new - 1) / 2) for old, new in zip(voxels.shape, shape, strict=True)]
    if any(sigmas):
        voxels = torch.from_numpy(ndimage.gaussian_filter(voxels.numpy(), sigmas, mode="nearest", truncate=2.5))
    return F.interpolate(voxels[None, None], shape, mode="trilinear", align_corners=False)[0, 0]


def without_crumbs(values: np.ndarray, voxel_ml: float, least_ml: float) -> np.ndarray:
    """`values` without connected parts of one label below `least_ml`; a label's largest part always stays."""
    kept = values.copy()
    for label in np.unique(values[values > 0]) if least_ml else ():
        parts, count = ndimage.label(values == label)
        sizes = np.bincount(parts.ravel(), minlength=1 + count)[1:] * voxel_ml
        small = (sizes < least_ml) & (sizes < sizes.max())
        kept[np.append(False, small)[parts]] = 0
    return kept
