"""Normal brains as an autoencoder sees them: which images, and how mildly they are varied."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from mri_models.errors import DataError
from mri_models.intake import read_scan
from mri_models.pixels import stretch
from mri_models.preprocess import letterbox
from mri_models.training.corpus import IGNORE, TASKS, Sample, read_mask, read_pixels, trainable
from mri_models.training.heal import twice_healthy
from mri_models.types import Scan

NORMAL = TASKS["brain"].index("no_tumor")
SPLITS = ("train", "val")


def normal_brains(samples: Sequence[Sample], split: str) -> list[Sample]:
    """The images without a finding of one split; look-alikes across patients never train."""
    chosen = [s for s in samples if s.split == split and s.targets["brain"] == NORMAL]
    chosen = [s for s in chosen if split != "train" or trainable(s)]
    if not chosen:
        raise DataError("no_normals", f"The corpus has no brain image labelled no_tumor in split {split!r}.")
    return chosen


def healed_brains(samples: Sequence[Sample], split: str) -> Iterator[tuple[Sample, Scan]]:
    """Heads with contrast medium and without a tumour: of each tumour slice the healthy half and its mirror image.

    No hospital of the corpus scanned healthy heads with contrast medium; see heal.py.
    """
    for sample in samples:
        brain = sample.targets["brain"]
        if sample.split != split or not sample.mask or brain in (NORMAL, IGNORE):
            continue
        image = stretch(read_scan(sample.path).pixels)
        healthy = twice_healthy(image, read_mask(sample.mask, image.shape))
        if healthy is not None:
            yield replace(sample, mask=None, targets=sample.targets | {"brain": NORMAL}), Scan(healthy)


class Brains(Dataset):
    """Items: {"images" (1, S, S), "labels" (2,) index in SPLITS and of the source}; `vary` switches augmentation on."""

    def __init__(self, samples: Sequence[Sample], size: int, *, vary: bool):
        cv2.setNumThreads(0)
        self.canvases = [letterbox(read_pixels(s.path).astype(np.float32) / 255, size) for s in samples]
        sources = sorted({s.source for s in samples})
        self.labels = [(SPLITS.index(s.split), sources.index(s.source)) for s in samples]
        self.vary = vary

    def __len__(self) -> int:
        return len(self.canvases)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        canvas = self.canvases[index]
        if self.vary:
            canvas = varied(canvas, np.random.default_rng(int(torch.randint(2**31, ()))))
        return {"images": torch.from_numpy(canvas)[None], "labels": torch.tensor(self.labels[index])}


def varied(canvas: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirrored, turned, scaled, shifted and of another gamma, mildly: all of it stays a normal brain."""
    size = canvas.shape[0]
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), rng.uniform(-10, 10), rng.uniform(0.88, 1.08))
    matrix[:, 2] += rng.uniform(-0.03, 0.03, 2) * size
    moved = cv2.warpAffine(canvas, matrix, (size, size), flags=cv2.INTER_LINEAR)
    moved = moved[:, ::-1] if rng.random() < 0.5 else moved
    return np.ascontiguousarray(np.clip(moved, 0, 1) ** np.exp(rng.uniform(-0.25, 0.25)), np.float32)
