"""Outlines that a finished network draws on tumours which nobody outlined, to learn from (self-training, Xie 2020)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from mri_models.evaluation.segmentation import dice
from mri_models.intake import read_scan
from mri_models.preprocess import InputSpec, to_tensor, undo_letterbox
from mri_models.report import TUMOURS
from mri_models.training.corpus import TASKS, Sample, read_corpus, read_pixels, trainable
from mri_models.training.fit import MEAN, STD
from mri_models.training.outlines import Outlined
from mri_models.unet import ResUNet

AGREED = 0.85  # least Dice between the outlines on an image and on its mirror image
SURE = 0.9  # least mean probability inside the outline
LEAST = 0.002  # of the canvas, px


def taught(data: Path, longest: int, network: ResUNet, size: int) -> list[Outlined]:
    """Training images labelled with a tumour and without an outline, where `network` is sure and agrees with itself."""
    names = TASKS["brain"]
    wanted = {names.index(name) for name in TUMOURS}
    samples = [s for s in read_corpus(data) if s.split == "train" and s.targets["brain"] in wanted and not s.mask]
    network.eval()
    found = []
    for sample in tqdm([s for s in samples if trainable(s)], desc="teacher", leave=False):
        pixels = read_pixels(sample.path, longest)
        mask = outlined(sample, pixels.shape, network, InputSpec(size, MEAN, STD))
        if mask is not None:
            kind = names[sample.targets["brain"]]
            found.append(Outlined(pixels, mask, sample.patient, sample.source, sample.split, kind))
    return found


@torch.inference_mode()
def outlined(sample: Sample, shape: tuple[int, int], network: ResUNet, spec: InputSpec) -> np.ndarray | None:
    """(H, W) uint8 of `shape`, the image's as it is kept in memory; None where the network is not sure."""
    batch = to_tensor(read_scan(sample.path), spec)
    straight, mirrored = (1 - logits.softmax(1)[0, 0] for logits in (network(batch), network(batch.flip(3)).flip(3)))
    inside = (straight + mirrored) / 2 > 0.5
    agreed = dice(straight.numpy() > 0.5, mirrored.numpy() > 0.5)
    if inside.float().mean() < LEAST or agreed < AGREED or straight[inside].mean() < SURE:
        return None
    return (undo_letterbox(inside.numpy().astype(np.float32), shape) > 0.5).astype(np.uint8)
