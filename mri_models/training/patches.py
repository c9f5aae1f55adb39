"""Patches of labelled volumes, drawn around what is labelled and varied as scanners and people vary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import radians

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation
from torch.utils.data import Dataset

from mri_models.training.volumes import LabelledVolume
from mri_models.volumetric import Spacing, regrid

FOREGROUND = 0.8  # share of patches centred on a labelled voxel, each label equally often
PLACES = 4000  # voxels of each label that patches are centred on
BLACK = 0.03  # below: air, which stays black whatever the tissue does

Size = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class GridVolume:
    """A labelled volume on the network's grid: right to left, head to foot, front to back.

    voxels (D, H, W) float32 in [0, 1], labels (D, H, W) uint8; places: (N, 3) voxels of each label.
    """

    voxels: torch.Tensor
    labels: torch.Tensor
    places: tuple[np.ndarray, ...]
    patient: str


def on_grid(volume: LabelledVolume, spacing: Spacing, count: int) -> GridVolume:
    """Turned and resampled; labels by their shares, so that thin discs don't break."""
    image, truth = (
        torch.from_numpy(np.ascontiguousarray(array.transpose(0, 2, 1)[::-1, ::-1, ::-1]))
        for array in (volume.image, volume.labels)
    )
    own = tuple(volume.spacing[axis] for axis in (0, 2, 1))
    shares = torch.stack([regrid((truth == label).float(), own, spacing) for label in range(1 + count)])
    labels = shares.argmax(0).to(torch.uint8)
    rng = np.random.default_rng(0)
    places = tuple(rng.permutation(np.argwhere(labels.numpy() == label))[:PLACES] for label in range(1, 1 + count))
    return GridVolume(regrid(image, own, spacing), labels, places, volume.patient)


class Patches(Dataset):
    """Items: pixel_values (1, D, H, W) float32 in [0, 1], labels (D, H, W) int64; item i is some patch of volume i."""

    def __init__(self, volumes: Sequence[GridVolume], size: Size):
        self.volumes, self.size = volumes, size

    def __len__(self) -> int:
        return len(self.volumes)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        rng = np.random.default_rng(int(torch.randint(2**31, ())))
        volume = self.volumes[index]
        image, labels = cut(volume, choose(volume, self.size, rng), self.size, rng)
        return {"pixel_values": recolour(image, rng)[None], "labels": labels}


class Whole(Dataset):
    """Items like those of Patches: whole volumes, padded with black background to one shape."""

    def __init__(self, volumes: Sequence[GridVolume], multiple: Size):
        self.volumes = volumes
        largest = np.max([volume.voxels.shape for volume in volumes], axis=0)
        self.shape = [-(-int(side) // step) * step for side, step in zip(largest, multiple, strict=True)]

    def __len__(self) -> int:
        return len(self.volumes)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        volume = self.volumes[index]
        missing = [want - side for want, side in zip(self.shape, volume.voxels.shape, strict=True)]
        padding = [0, missing[2], 0, missing[1], 0, missing[0]]
        return {
            "pixel_values": F.pad(volume.voxels, padding)[None],
            "labels": F.pad(volume.labels, padding).long(),
        }


def choose(volume: GridVolume, size: Size, rng: np.random.Generator) -> np.ndarray:
    """(3,) centre of a patch that lies inside the volume as far as it is that large, else around its middle."""
    sides = np.array(volume.voxels.shape)
    places = [found for found in volume.places if len(found)]
    if places and rng.random() < FOREGROUND:
        found = places[rng.integers(len(places))]
        centre = found[rng.integers(len(found))].astype(float)
    else:
        centre = rng.uniform(0, sides - 1)
    half = (np.array(size) - 1) / 2
    low, high = np.minimum(half, sides - 1 - half), np.maximum(half, sides - 1 - half)
    return np.where(sides > size, np.clip(centre, half, sides - 1 - half), rng.uniform(low, high))


def cut(
    volume: GridVolume, centre: np.ndarray, size: Size, rng: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turned, scaled, now and then mirrored: image (D, H, W) float32 and labels (D, H, W) int64; black outside."""
    turn = Rotation.from_euler("zyx", [radians(d) for d in rng.normal(0, (2, 2, 9))]).as_matrix()
    scale = np.exp(rng.normal(0, 0.12)) * np.exp(rng.normal(0, 0.04, 3))
    flip = np.array([rng.choice([-1, 1]), 1, 1])  # left and right
    step = turn * (scale * flip)  # voxels of the patch -> voxels of the volume
    # grid_sample counts from -1 to 1 between the outer voxels' centres, and names axes last to first
    half, sides = (np.array(size) - 1) / 2, (np.array(volume.voxels.shape) - 1) / 2
    matrix = np.column_stack([step * half / sides[:, None], (centre - sides) / sides])
    matrix = matrix[::-1][:, [2, 1, 0, 3]].copy()
    grid = F.affine_grid(torch.from_numpy(matrix).float()[None], [1, 1, *size], align_corners=True)
    image = F.grid_sample(volume.voxels[None, None], grid, "bilinear", "zeros", align_corners=True)[0, 0]
    labels = F.grid_sample(volume.labels[None, None].float(), grid, "nearest", "zeros", align_corners=True)[0, 0]
    return image, labels.long()


def recolour(image: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """(D, H, W) in [0, 1] → the same as another scanner, coil or sequence might show it."""
    if rng.random() < 0.3:
        image = thick(image, int(rng.integers(2, 6)), rng)
    if rng.random() < 0.25:
        image = coarse(image, rng.uniform(0.4, 0.9))
    if rng.random() < 0.12:
        image = torch.where(image > BLACK, 1 + BLACK - image, image)  # fluid dark, bone bright, as T1 has it
    if rng.random() < 0.5:
        image = image * bias(image.shape, rng)
    image = image.clamp(0, None) ** float(np.exp(rng.normal(0, 0.3)))
    image = image * float(np.exp(rng.normal(0, 0.2))) + float(rng.normal(0, 0.03))
    if rng.random() < 0.4:
        image = image + torch.randn(image.shape) * float(rng.uniform(0, 0.08))
    return image.clamp(0, 1)


def thick(image: torch.Tensor, step: int, rng: np.random.Generator) -> torch.Tensor:
    """Only every `step`-th slice is kept, half of the time the mean of its neighbourhood; the others lie between."""
    depth = len(image)
    kept = np.arange(int(rng.integers(step)) % depth, depth, step)
    at = np.arange(depth)
    weights = np.stack([np.interp(at, kept, row) for row in np.eye(len(kept))], 1)  # (depth, kept)
    width = step if rng.random() < 0.5 else 1
    near = np.abs(kept[:, None] - at[None]) <= width // 2
    mixed = torch.from_numpy(weights @ (near / near.sum(1, keepdims=True))).float()
    return torch.einsum("ij,jhw->ihw", mixed, image)


def coarse(image: torch.Tensor, share: float) -> torch.Tensor:
    """In-plane resolution reduced to `share`."""
    height, width = image.shape[1:]
    small = F.interpolate(image[:, None], (round(height * share), round(width * share)), mode="bilinear")
    return F.interpolate(small, (height, width), mode="bilinear")[:, 0]


def bias(shape: Sequence[int], rng: np.random.Generator) -> torch.Tensor:
    """A smooth field around 1, as near and far from a surface coil."""
    waves = torch.from_numpy(rng.normal(0, 0.35, (1, 1, 2, 4, 4))).float()
    return F.interpolate(waves, tuple(shape), mode="trilinear", align_corners=True)[0, 0].exp()
