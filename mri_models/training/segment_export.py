"""A finished outline network → weights/segmentation/NAME, its two thresholds chosen on validation patients."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from mri_models.evaluation.outlines import as_scan
from mri_models.evaluation.segmentation import dice
from mri_models.hub import CONFIG, WEIGHTS
from mri_models.localize import CONFIG_VERSION, OutlineRule, Segmenter, peak
from mri_models.preprocess import InputSpec
from mri_models.training.corpus import read_corpus, split_hash
from mri_models.training.course import as_served, curve, publish, story, taught_by
from mri_models.training.fit import MEAN, STD
from mri_models.training.knee_rule import tear_rule
from mri_models.training.outlines import SUBJECTS, Outlined
from mri_models.training.segment_card import write_card
from mri_models.training.segment_start import RULES, SegmentRecipe, load_network
from mri_models.types import Scan
from mri_models.unet import ResUNet

BATCH = 8
PIXEL_THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
CEILING = 0.9  # of the peak threshold: where every image scores near 1, more would only refuse other scanners
PATCH = 0.05  # least probability inside a patch whose outline is the one of largest expected Dice
LEAST = 20  # validation outlines behind what is made of their expected Dice
TEMPERATURES = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)


def export(recipe: SegmentRecipe, data: Path, runs: Path, weights: Path) -> Path:
    """Choose the thresholds and write WEIGHTS/NAME; returns that folder."""
    network, subject = load_network(recipe.name, runs), SUBJECTS[recipe.subject]
    segmenter, pictures = segmenter_of(network, recipe, data)
    rule, answers = fit_rule(segmenter, [p for p in pictures if p.split == "val"], recipe.missed, recipe.edge)
    told = story(runs, recipe.name)
    taught = told.get("taught_by") or taught_by(pictures)  # an average of runs that did not tell
    tear = {"tear": tear_rule(segmenter, data, recipe.longest, rule.peak)} if recipe.subject == "acl" else {}
    folder = weights / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    publish(network, folder / WEIGHTS)
    mri = {
        "version": CONFIG_VERSION,
        "input_size": segmenter.spec.size,
        "finer_sizes": list(recipe.finer),
        "mean": list(segmenter.spec.mean),
        "std": list(segmenter.spec.std),
        "pixel_threshold": rule.pixel,
        "peak_threshold": rule.peak,
        **ranked(rule),
        "threshold_rule": RULES[recipe.edge].format(missed=recipe.missed),
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
    subject = SUBJECTS[recipe.subject]
    spec = InputSpec(recipe.serve_size, MEAN, STD)
    everywhere = OutlineRule(0.0, 0.0, subject.part, subject.patterns, subject.least)
    network = as_served(network).to(memory_format=torch.channels_last)
    segmenter = Segmenter(network, subject.labels, spec, everywhere, "", tuple(recipe.finer))
    return segmenter, subject.read(data, recipe.longest)


@dataclass(frozen=True, slots=True)
class Looked:
    """What a network makes of validation images, and how well each rule of several draws it.

    shares, scans, truths: one for each image with the structure; scores: their peaks, false_scores: the others' peaks.
    overlaps: (images with the structure, rules) Dice.
    """

    shares: Sequence[np.ndarray]
    scans: Sequence[Scan]
    truths: Sequence[np.ndarray]
    scores: np.ndarray
    false_scores: np.ndarray
    overlaps: np.ndarray


def fit_rule(
    segmenter: Segmenter, pictures: Sequence[Outlined], missed: float, edge: str = "threshold"
) -> tuple[OutlineRule, dict[str, Any]]:
    """The rule of RULES[edge], and what serving with it gives on those validation images.

    segmenter: of a rule that draws everything.
    """
    rules = list(candidates(segmenter.rule, edge))
    looked = look(segmenter, pictures, rules)
    rule = rules[int(looked.overlaps.mean(axis=0).argmax())]
    least = min(max(float(np.quantile(looked.scores, missed, method="lower")), rule.pixel), CEILING)
    rule = replace(rule, peak=math.floor(least * 1e4) / 1e4)  # rounded up, it would miss one more
    return judged(segmenter.with_rule(rule), looked)


def look(segmenter: Segmenter, pictures: Sequence[Outlined], rules: Sequence[OutlineRule]) -> Looked:
    """One look of the network at each image, drawn by every rule."""
    shares, scans, truths, scores, false_scores, overlaps = [], [], [], [], [], []
    for start in tqdm(range(0, len(pictures), BATCH), desc="validation", leave=False):
        part = pictures[start : start + BATCH]
        seen = [as_scan(picture) for picture in part]
        for picture, share, scan in zip(part, segmenter.probabilities(seen), seen, strict=True):
            score = peak(1 - share[0])
            if not picture.mask.any():
                false_scores.append(score)
                continue
            scores.append(score)
            shares.append(share)
            scans.append(scan)
            truths.append(picture.mask)
            drawn = (segmenter.with_rule(rule).draw(share, scan).values for rule in rules)
            overlaps.append([agreement(values, picture.mask) for values in drawn])
    return Looked(shares, scans, truths, np.array(scores), np.array(false_scores), np.array(overlaps))


def judged(segmenter: Segmenter, looked: Looked) -> tuple[OutlineRule, dict[str, Any]]:
    """What serving gives, and the rule, which then knows how far its expected Dice may be trusted."""
    rule = segmenter.rule
    masks = [segmenter.draw(share, scan) for share, scan in zip(looked.shares, looked.scans, strict=True)]
    found = np.array([agreement(mask.values, truth) for mask, truth in zip(masks, looked.truths, strict=True)])
    answers = {
        "dice": round(float(found.mean()), 4),
        "images": len(found),
        "missed": round(float(np.mean(looked.scores < rule.peak)), 4),
    }
    if len(looked.false_scores):
        outlined = float(np.mean(looked.false_scores >= rule.peak))
        answers |= {"empty_images": len(looked.false_scores), "outlined": round(outlined, 4)}
    told = [(m.expected_dice, real) for m, real in zip(masks, found, strict=True) if m.expected_dice is not None]
    if len(told) < LEAST:
        return rule, answers
    expected, real = np.array(told).T
    slope, offset = np.polyfit(expected, real, 1)
    answers["expected_dice_correlation"] = round(float(np.corrcoef(expected, real)[0, 1]), 4)
    return replace(rule, trust=(round(float(slope), 4), round(float(offset), 4))), answers


def ranked(rule: OutlineRule) -> dict[str, Any]:
    """What config.json says of a rule that draws the largest expected Dice; nothing of another."""
    if rule.temperature is None:
        return {}
    return {"rank_dice": {"temperature": rule.temperature, "slope": rule.trust[0], "offset": rule.trust[1]}}


def candidates(rule: OutlineRule, edge: str) -> Iterator[OutlineRule]:
    """The rules among which `edge` chooses; what is drawn has its own peak in every one."""
    if edge == "threshold":
        yield from (replace(rule, pixel=pixel, peak=pixel) for pixel in PIXEL_THRESHOLDS)
    else:
        yield from (replace(rule, pixel=PATCH, peak=PATCH, temperature=t) for t in TEMPERATURES)


def agreement(answer: np.ndarray, truth: np.ndarray) -> float:
    """Mean Dice over the labels that `truth` holds."""
    return float(np.mean([dice(answer == label, truth == label) for label in np.unique(truth[truth > 0])]))
