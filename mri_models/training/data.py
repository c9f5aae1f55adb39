"""Samples → augmented tensors, with every image decoded once and kept in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from mri_models.orientation import turned
from mri_models.preprocess import InputSpec, letterbox, normalise
from mri_models.training.augment import augment, transplant
from mri_models.training.corpus import IGNORE, TASKS, Sample, draw_discs, read_mask, read_pixels
from mri_models.training.heal import healed
from mri_models.training.lesions import with_lesion
from mri_models.training.recipe import Recipe

STRIDE = 32  # of every trunk used here: one lesion cell is 32 input pixels
HEALTHY = TASKS["brain"].index("no_tumor")
ABNORMAL = TASKS["brain"].index("other_abnormality")
HISTOGRAM_SHARE = 0.2  # of images that take over another image's grey levels


class Images(Dataset):
    """Items: pixel_values (3, S, S), labels (T,), possible (5,), lesion (1, g, g), discs (g, g) with g = S/32.

    Images stand upright (`Sample.lies`). `train` switches augmentation on, and adds the healed tumour slices that the
    recipe asks for. "possible" marks the brain labels that may be true of an image without a label (all zero: nothing
    known); "discs" holds the worst Pfirrmann grade of a disc in each cell, 0 for none, or IGNORE.
    """

    def __init__(self, samples: Sequence[Sample], recipe: Recipe, spec: InputSpec, *, train: bool):
        cv2.setNumThreads(0)  # the loader's processes are the parallelism
        self.samples, self.recipe, self.spec, self.train = list(samples), recipe, spec, train
        self.pixels, self.masks = [], []
        for sample in samples:
            pixels = read_pixels(sample.path, recipe.longest)
            mask = turned(read_mask(sample.mask, pixels.shape), -sample.lies) if sample.mask else None
            self.pixels.append(turned(pixels, -sample.lies))
            self.masks.append(mask)
        if train and recipe.healed:
            twins = list(self._healed())
            self.samples += [sample for sample, _ in twins]
            self.pixels += [pixels for _, pixels in twins]
            self.masks += [None] * len(twins)
        brain = [sample.targets["brain"] for sample in self.samples]
        self.tumours = [i for i, label in enumerate(brain) if self.masks[i] is not None and label != IGNORE]
        self.healthy = [i for i, label in enumerate(brain) if label == HEALTHY]
        self.mri = [i for i, sample in enumerate(self.samples) if sample.modality == "mri"]

    def _healed(self) -> Iterator[tuple[Sample, np.ndarray]]:
        """Each tumour slice without its tumour, where the healthy half of the head can stand in for it."""
        for index, (sample, pixels, mask) in enumerate(zip(self.samples, self.pixels, self.masks, strict=True)):
            if mask is None or sample.targets["brain"] == IGNORE:
                continue
            twin = healed(pixels, mask, np.random.default_rng(index))
            if twin is not None:
                targets = sample.targets | {"brain": HEALTHY}
                yield replace(sample, mask=None, source=f"{sample.source}, healed", targets=targets), twin

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        sample, discs = self.samples[index], None
        targets = dict(sample.targets)
        image = self.pixels[index].astype(np.float32) / 255
        if not self.train:
            canvas, mask = letterbox(image, self.spec.size), None
        else:
            rng = np.random.default_rng(int(torch.randint(2**31, ())))
            mask = self.masks[index]
            if targets["brain"] == HEALTHY:
                image, mask, targets["brain"] = self._with_patch(image, rng)
            other = None
            if rng.random() < HISTOGRAM_SHARE and not self.recipe.gentle:
                other = self.pixels[rng.choice(self.mri)].astype(np.float32) / 255
            drawn = self._discs(sample, image) if mask is None else mask
            shares = {"lying": self.recipe.lying, "marked": self.recipe.marked}
            canvas, drawn = augment(image, drawn, self.spec.size, rng, other, gentle=self.recipe.gentle, **shares)
            mask = None if mask is None or targets["brain"] == IGNORE else drawn
            discs = drawn if sample.discs else None
        return {
            "pixel_values": normalise(canvas, self.spec),
            "labels": torch.tensor([targets[task] for task in self.recipe.tasks]),
            "possible": torch.tensor([name in sample.possible for name in TASKS["brain"]], dtype=torch.float),
            "lesion": self._cells(mask),
            "discs": self._grades(discs),
        }

    def _with_patch(self, image: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, int]:
        """A healthy brain, sometimes with a tumour from elsewhere (label and outline change with it), sometimes with
        a harmless patch blended in the same way, so that the blending itself says nothing; or with another lesion."""
        empty = np.zeros(image.shape, np.uint8)
        chance = rng.random()
        if chance >= 1 - self.recipe.lesions:
            changed, outline = with_lesion(image, rng)
            return changed, outline, ABNORMAL if outline.any() else HEALTHY
        if not self.tumours or chance >= self.recipe.transplant:
            return image, empty, HEALTHY
        tumour = rng.choice(self.tumours)
        with_tumour = rng.random() < 0.6
        donor = self.pixels[tumour if with_tumour else rng.choice(self.healthy)].astype(np.float32) / 255
        patched, outline = transplant(image, donor, self.masks[tumour], rng)
        if with_tumour and outline.any():
            return patched, outline, self.samples[tumour].targets["brain"]
        return patched, empty, HEALTHY

    @staticmethod
    def _discs(sample: Sample, upright: np.ndarray) -> np.ndarray:
        """`draw_discs` on the grid of the image, whose boxes know it as it lies in the corpus."""
        return turned(draw_discs(sample.discs, turned(upright, sample.lies).shape), -sample.lies)

    def _cells(self, mask: np.ndarray | None) -> torch.Tensor:
        """Share of lesion in each feature cell, or -1 where the outline is unknown."""
        side = self.spec.size // STRIDE
        if mask is None:
            return torch.full((1, side, side), -1.0)
        cells = cv2.resize(mask.astype(np.float32) / 255, (side, side), interpolation=cv2.INTER_AREA)
        return torch.from_numpy(np.ascontiguousarray(cells))[None]

    def _grades(self, drawn: np.ndarray | None) -> torch.Tensor:
        """The worst disc grade in each feature cell, 0 for none, or IGNORE where no disc is known."""
        side = self.spec.size // STRIDE
        if drawn is None:
            return torch.full((side, side), IGNORE)
        return torch.from_numpy(drawn.reshape(side, STRIDE, side, STRIDE).max((1, 3)).astype(np.int64))
