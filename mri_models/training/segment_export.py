"""A finished outline network → weights/segmentation/NAME, its two thresholds chosen on validation patients."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from tqdm.auto import tqdm

from mri_models.evaluation.outlines import as_scan
from mri_models.evaluation.segmentation import dice
from mri_models.hub import CONFIG, WEIGHTS
from mri_models.localize import CONFIG_VERSION, OutlineRule, Segmenter, peak
from mri_models.preprocess import InputSpec
from mri_models.training.corpus import read_corpus, split_hash
from mri_models.training.course import curve, story, taught_by
from mri_models.training.fit import MEAN, STD
from mri_models.training.knee_rule import tear_rule
from mri_models.training.outlines import SUBJECTS, Outlined
from mri_models.training.segment_card import write_card
from mri_models.training.segment_start import SegmentRecipe, load_network
from mri_models.unet import ResUNet

BATCH = 8
PIXEL_THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
CEILING = 0.9  # of the peak threshold: where every image scores near 1, more would only refuse other scanners
RULE = (
    "pixel threshold: largest mean Dice over validation images with the structure; peak threshold: the largest score "
    "that at most {missed:.0%} of those stay under, but at least the pixel threshold and at most 0.9"
)


def export(recipe: SegmentRecipe, data: Path, runs: Path, weights: Path) -> Path:
    """Choose the thresholds and write WEIGHTS/NAME; returns that folder."""
    network, subject = load_network(recipe.name, runs), SUBJECTS[recipe.subject]
    segmenter, pictures = segmenter_of(network, recipe, data)
    pixel, least, answers = thresholds(segmenter, [p for p in pictures if p.split == "val"], recipe.missed)
    told = story(runs, recipe.name)
    taught = told.get("taught_by") or taught_by(pictures)  # an average of runs that did not tell
    tear = {"tear": tear_rule(segmenter, data, recipe.longest, least)} if recipe.subject == "acl" else {}
    folder = weights / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.half().contiguous() for name, value in network.state_dict().items()}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    mri = {
        "version": CONFIG_VERSION,
        "input_size": segmenter.spec.size,
        "finer_sizes": list(recipe.finer),
        "mean": list(segmenter.spec.mean),
        "std": list(segmenter.spec.std),
        "pixel_threshold": pixel,
        "peak_threshold": round(least, 4),
        "threshold_rule": RULE.format(missed=recipe.missed),
        "outlined_when": {"part": subject.part, "labels": list(subject.patterns), "least": subject.least},
        "validation": answers,
        "sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
        "split_hash": split_hash(read_corpus(data)),
        "seed": recipe.seed,
        "sources": taught["sources"],
        "images": {"train": taught["images"], "val": sum(p.split == "val" for p in pictures)},
        "curve": curve(told["log"], "dice"),
    } | tear
    (folder / CONFIG).write_text(json.dumps(network.shape | {"mri": mri}, indent=1) + "\n", encoding="utf-8")
    write_card(folder, recipe)
    return folder


def segmenter_of(network: ResUNet, recipe: SegmentRecipe, data: Path) -> tuple[Segmenter, list[Outlined]]:
    """The network, rounded in place, as it will be served, though it draws everything; the images of its subject."""
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(tensor.half().float())
    subject = SUBJECTS[recipe.subject]
    spec = InputSpec(recipe.serve_size, MEAN, STD)
    everywhere = OutlineRule(0.0, 0.0, subject.part, subject.patterns, subject.least)
    network = network.to(memory_format=torch.channels_last)
    segmenter = Segmenter(network, subject.labels, spec, everywhere, "", tuple(recipe.finer))
    return segmenter, subject.read(data, recipe.longest)


def thresholds(
    segmenter: Segmenter, pictures: Sequence[Outlined], missed: float
) -> tuple[float, float, dict[str, Any]]:
    """(pixel, peak) thresholds by RULE, and what serving with them gives on those validation images.

    segmenter: of a rule that draws everything.
    """
    scores, overlaps, false_scores, kept = [], [], [], []
    for start in tqdm(range(0, len(pictures), BATCH), desc="validation", leave=False):
        part = pictures[start : start + BATCH]
        scans = [as_scan(picture) for picture in part]
        shares = segmenter.probabilities(scans)
        for picture, share, scan in zip(part, shares, scans, strict=True):
            score = peak(1 - share[0])
            if not picture.mask.any():
                false_scores.append(score)
                continue
            scores.append(score)
            kept.append((share, scan, picture.mask))
            answer = segmenter.draw(share, scan)
            overlaps.append(
                [agreement(answer.values * (answer.probability >= t), picture.mask) for t in PIXEL_THRESHOLDS]
            )
    pixel = PIXEL_THRESHOLDS[int(np.mean(overlaps, axis=0).argmax())]
    least = min(max(float(np.quantile(scores, missed, method="lower")), pixel), CEILING)
    served = segmenter.with_rule(replace(segmenter.rule, pixel=pixel, peak=least))
    found = [agreement(served.draw(share, scan).values, mask) for share, scan, mask in kept]
    answers = {
        "dice": round(float(np.mean(found)), 4),
        "images": len(scores),
        "missed": round(float(np.mean(np.array(scores) < least)), 4),
    }
    if false_scores:
        outlined = float(np.mean(np.array(false_scores) >= least))
        answers |= {"empty_images": len(false_scores), "outlined": round(outlined, 4)}
    return pixel, least, answers


def agreement(answer: np.ndarray, truth: np.ndarray) -> float:
    """Mean Dice over the labels that `truth` holds."""
    return float(np.mean([dice(answer == label, truth == label) for label in np.unique(truth[truth > 0])]))
