"""A finished volume network → weights/segmentation/NAME, what surrounds it chosen on validation patients."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from mri_models.evaluation.calibration import fit_temperature
from mri_models.evaluation.segmentation import dice
from mri_models.evaluation.volumetric import as_volume
from mri_models.hub import CONFIG, WEIGHTS
from mri_models.localize import Segmenter
from mri_models.training.corpus import read_corpus, split_hash
from mri_models.training.course import as_served, curve, publish, story
from mri_models.training.segment3d import Segment3dRecipe, load_network3d
from mri_models.training.segment3d_card import write_card
from mri_models.training.volumes import LabelledVolume, read_volumes
from mri_models.volumetric import CONFIG_VERSION, PatchSegmenter, VolumeRule, regrid, upright, without_crumbs

LEAST_ML = (0.0, 0.05, 0.1, 0.2, 0.5, 1.0)
SLICES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)  # shares of the network for slices
SAMPLED = 11  # every so many voxels the temperature is fitted on
RULE = (
    "temperature: least log loss over validation voxels; least part and share of the network for slices: largest mean "
    "Dice over validation volumes and labels, the smaller of equals"
)


def export(recipe: Segment3dRecipe, data: Path, runs: Path, weights: Path) -> Path:
    """Choose temperature and least part, and write WEIGHTS/NAME; returns that folder."""
    network = as_served(load_network3d(recipe, runs))
    volumes = read_volumes(data, recipe.body_part)
    patch = tuple(recipe.serve_patch)
    rule = VolumeRule(tuple(recipe.spacing), patch, recipe.serve_overlap)
    slicer = Segmenter.load(weights / recipe.slicer) if recipe.slicer else None
    segmenter = PatchSegmenter(network, tuple(recipe.labels), rule, recipe.name, "", slicer)
    rule, answers = choose(segmenter, [v for v in volumes if v.split == "val"])
    folder = weights / recipe.name
    folder.mkdir(parents=True, exist_ok=True)
    publish(network, folder / WEIGHTS)
    mri = {
        "version": CONFIG_VERSION,
        "name": recipe.name,
        "body_part": recipe.body_part,
        "spacing_mm": recipe.spacing,
        "patch": recipe.serve_patch,
        "overlap": rule.overlap,
        "temperature": round(rule.temperature, 4),
        "least_ml": rule.least_ml,
        "slicer": recipe.slicer,
        "slices": rule.slices,
        "rule": RULE,
        "validation": answers,
        "sha256": hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
        "split_hash": split_hash(read_corpus(data)),
        "seed": recipe.seed,
        "sources": sorted({v.source for v in volumes if v.split == "train"}),
        "volumes": {split: sum(v.split == split for v in volumes) for split in ("train", "val")},
        "patches": {"size": recipe.patch, "seen": seen(runs, recipe)},
        "curve": curve(story(runs, recipe.name)["log"], "dice"),
    }
    (folder / CONFIG).write_text(json.dumps(network.shape | {"mri": mri}, indent=1) + "\n", encoding="utf-8")
    write_card(folder)
    return folder


def choose(segmenter: PatchSegmenter, volumes: Sequence[LabelledVolume]) -> tuple[VolumeRule, dict[str, object]]:
    """The rule by RULE, and the Dice of each label that it gives on these volumes."""
    placed = [as_volume(v) for v in volumes]
    turned = [upright(volume) for volume in placed]
    logits = [segmenter.logits(regrid(voxels, mm, segmenter.rule.spacing)) for voxels, mm in turned]
    truths = [volume.grid.to_volume(v.labels).copy() for volume, v in zip(placed, volumes, strict=True)]
    shapes = [truth.shape for truth in truths]
    temperature = fit_temperature(*_voxels(logits, truths))
    by_slice = [segmenter.by_slice(voxels) if segmenter.slicer else None for voxels, _ in turned]
    means = {}
    for share in SLICES if segmenter.slicer else SLICES[:1]:
        rule = dataclasses.replace(segmenter.rule, temperature=temperature, slices=share)
        settled = PatchSegmenter(segmenter.network, segmenter.labels, rule, "", "")
        found = [settled.settle(*one, drawn)[0] for *one, drawn in zip(logits, shapes, by_slice, strict=True)]
        for least in LEAST_ML:
            overlaps = []
            for values, truth, (_, mm) in zip(found, truths, turned, strict=True):
                kept = without_crumbs(values, float(np.prod(mm)) / 1000, least)
                overlaps.append([dice(kept == k, truth == k) for k in range(1, 1 + len(segmenter.labels))])
            means[share, least] = np.mean(overlaps, axis=0)
    share, least = max(means, key=lambda key: means[key].mean().round(4))
    answers = {
        label: round(float(value), 4) for label, value in zip(segmenter.labels, means[share, least], strict=True)
    }
    rule = dataclasses.replace(segmenter.rule, temperature=temperature, slices=share, least_ml=least)
    return rule, {"volumes": len(volumes), "dice": answers}


def _voxels(logits: Sequence[torch.Tensor], truths: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(N, classes) logits and (N,) labels of a sample of voxels, on the network's grid."""
    rows = [one.flatten(1).T[::SAMPLED].numpy() for one in logits]
    nearest = (
        torch.nn.functional.interpolate(torch.from_numpy(truth)[None, None].float(), one.shape[1:], mode="nearest")
        for one, truth in zip(logits, truths, strict=True)
    )
    return np.concatenate(rows), np.concatenate([near.flatten()[::SAMPLED].numpy().astype(int) for near in nearest])


def seen(runs: Path, recipe: Segment3dRecipe) -> int:
    """Patches of the run up to its end."""
    return max(entry["step"] for entry in story(runs, recipe.name)["log"]) * recipe.batch
