"""A finished autoencoder and the exported brain network → weights/anomaly, fitted and calibrated."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file

from mri_models.anomaly import CONFIG_VERSION, MEMORY, NAME, Observer
from mri_models.autoencoder import Autoencoder
from mri_models.classify import Classifier
from mri_models.evaluation.collect import as_stored
from mri_models.hub import CONFIG, WEIGHTS, beside
from mri_models.localize import TUMOUR, Segmenter
from mri_models.normals import COMPONENTS, Evidence, NormalMemory, head_of
from mri_models.training.anomaly import AnomalyRecipe, finished, load_autoencoder, read_curve
from mri_models.training.anomaly_card import write_card
from mri_models.training.anomaly_fit import (
    COMBINATIONS,
    DRAWN,
    MARGIN,
    RULE,
    Combination,
    Measured,
    augmented,
    combine,
    confidences,
    described,
    gather,
    measure,
    normal_moments,
    patch_bank,
    redrawn,
    remember,
    thresholds,
)
from mri_models.training.brains import healed_brains, normal_brains
from mri_models.training.corpus import IGNORE, Sample, read_corpus, split_hash
from mri_models.training.course import as_served, best_weights, publish
from mri_models.training.recipe import load_recipe
from mri_models.types import Scan

VARIANT = "variant.safetensors"  # the autoencoder that is not served; only the evaluation reads it
SCALE_SHARE = 99.5  # percentile of the error on normal heads that is drawn at full colour


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """One autoencoder with everything fitted around it."""

    name: str
    autoencoder: Autoencoder
    memory: NormalMemory
    measured: Measured
    evidence: Sequence[Evidence]  # of the validation images
    auroc: float  # of the autoencoder's own components, on left-out validation patients


def export(recipe: AnomalyRecipe, data: Path, runs: Path, weights: Path) -> Path:
    """Fit the score on validation patients and write WEIGHTS/anomaly; returns that folder."""
    samples = read_corpus(data)
    seen = normal_brains(samples, "train")
    judged = [s for s in samples if s.split == "val" and s.targets["brain"] != IGNORE]
    candidates = [name for name in (recipe.name, recipe.rival) if name and finished(runs, name)]
    networks = {
        name: as_served(load_autoencoder(runs, name)).requires_grad_(False) for name in candidates or [recipe.name]
    }
    brain = load_recipe(recipe.encoder)
    encoder = Classifier.load(weights / brain.name)
    head = outline_head(runs, brain.run or brain.name)
    healed = list(healed_brains(samples, "val"))
    features = (encoder, tuple(recipe.levels), head)
    tumours = Segmenter.load(weights / TUMOUR)
    observer = Observer(next(iter(networks.values())), *features, tumours, recipe.tumour_size)
    fits = fit_each(networks, observer, seen, judged, healed, seed=recipe.seed)
    best, *others = sorted(fits, key=lambda fit: -fit.auroc)
    folder = weights / NAME
    folder.mkdir(parents=True, exist_ok=True)
    mri, normals = rule_of(best)
    mri |= {
        "version": CONFIG_VERSION,
        "encoder": {"model": brain.name, "sha256": encoder.digest, "levels": list(recipe.levels)},
        "tumour": {"model": TUMOUR, "sha256": tumours.digest, "size": recipe.tumour_size},
        "split_hash": split_hash(samples),
        "seed": recipe.seed,
        "sources": sorted({s.source for s in seen}),
        "validation_sources": sorted({s.source for s in judged}),
        "images": {"train": len(seen), "validation": len(judged), "healed": len(healed)},
        "curves": {name: asdict(read_curve(runs, name)) for name in networks},
        "autoencoder": best.name,
        "autoencoder_validation_auroc": {fit.name: round(fit.auroc, 4) for fit in fits},
    }
    write_folder(folder, best, others, {"normals": normals, "head": head}, mri)
    write_card(folder)
    return folder


def outline_head(runs: Path, run: str) -> tuple[np.ndarray, float]:
    """(E,) weights and bias of the lesion outline that the brain run learned beside its classes."""
    state = load_file(best_weights(runs, run))
    return state["lesion_head.weight"].flatten().half().float().numpy(), float(state["lesion_head.bias"])


def fit_each(
    networks: dict[str, Autoencoder],
    observer: Observer,
    normals: Sequence[Sample],
    judged: Sequence[Sample],
    healed: Sequence[tuple[Sample, Scan]],
    *,
    seed: int,
) -> list[Fit]:
    """One Fit for each autoencoder; `normals` are training images, `judged` and `healed` validation images."""
    samples = [*judged, *(sample for sample, _ in healed)]

    def scans() -> Iterator[Scan]:
        return chain(map(as_stored, judged), (scan for _, scan in healed))

    seen = gather(observer, map(as_stored, normals), len(normals))
    found = gather(observer, chain(scans(), augmented(scans())), 2 * len(samples))
    bank = patch_bank(seen, seed)
    fits = []
    for name, network in networks.items():
        memory = remember(redrawn(seen, network), *bank)
        evidence = redrawn(found, network)
        measured = measure(memory, evidence, samples * 2, plain=len(samples))
        fits.append(Fit(name, network, memory, measured, evidence, combine(measured, DRAWN).auroc))
    return fits


def rule_of(fit: Fit) -> tuple[dict[str, Any], np.ndarray]:
    """The config's part on scores, and the left-out scores of validation normals."""
    fitted = {name: combine(fit.measured, parts) for name, parts in COMBINATIONS.items()}
    name = served(fitted)
    plain = fit.measured.plain
    measured, scores = fit.measured.select(plain), fitted[name].scores[plain]
    low, high = thresholds(measured, scores)
    means, spreads = normal_moments(fit.measured)
    normal_errors = [
        np.percentile(one.error[head_of(one.image)], SCALE_SHARE)
        for one, abnormal in zip(fit.evidence, measured.abnormal, strict=False)  # the plain ones stand first
        if not abnormal
    ]
    moments = zip(COMPONENTS, means.tolist(), spreads.tolist(), strict=True)
    config = {
        "components": {name: {"mean": round(mean, 6), "spread": round(spread, 6)} for name, mean, spread in moments},
        "combinations": {name: described(combination) for name, combination in fitted.items()},
        "combination": name,
        "thresholds": {"borderline": round(low, 4), "anomalous": round(high, 4)},
        "threshold_rule": RULE,
        "confidence": {k: round(v, 4) for k, v in confidences(measured, scores, low, high).items()},
        "error_scale": round(float(np.median(normal_errors)), 4),
    }
    return config, np.sort(scores[~measured.abnormal]).astype(np.float32)


def served(fitted: Mapping[str, Combination]) -> str:
    """The combination that the page shows: all components, unless fewer are better by more than chance."""
    best = max(fitted, key=lambda name: fitted[name].auroc)
    return best if fitted[best].auroc > fitted["all"].auroc + MARGIN else "all"


def write_folder(folder: Path, best: Fit, others: Sequence[Fit], kept: dict[str, Any], mri: dict[str, Any]) -> None:
    """model.safetensors, memory.safetensors, config.json and, where there is one, the other autoencoder."""
    publish(best.autoencoder, folder / WEIGHTS)
    (folder / VARIANT).unlink(missing_ok=True)
    for fit in others:
        publish(fit.autoencoder, folder / VARIANT)
        mri["variant"] = {"name": fit.name} | shape_of(fit.autoencoder)
    weight, bias = kept["head"]
    arrays = {"outline.weight": weight.astype(np.float16), "outline.bias": np.array(bias, np.float32)}
    save_arrays(best.memory.to_arrays() | arrays | {"normals": kept["normals"]}, folder / MEMORY)
    mri["sha256"] = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    mri["beside"] = beside(folder)
    config = shape_of(best.autoencoder) | {"mri": mri}
    (folder / CONFIG).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")


def shape_of(network: Autoencoder) -> dict[str, Any]:
    """What `Autoencoder` takes to rebuild this one; the mixin reads it from config.json."""
    return {"size": network.size, "channels": list(network.channels), "latent": network.latent}
