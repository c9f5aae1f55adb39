"""What the corpus is made of, as numbers: images and patients by class, source and split; mean grey levels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from mri_models.evaluation.collect import thin
from mri_models.figures import Count, GreyProfile
from mri_models.intake import read_scan
from mri_models.pipeline import DIAGNOSIS
from mri_models.pixels import stretch
from mri_models.training.corpus import IGNORE, TASKS, Sample

BINS = 32  # grey levels; the lowest is told apart, as it is mostly background
MOST = 60  # images of a source behind its profile, spread evenly
LEAST = 10  # fewer would describe single images
PARTS = ("brain", "knee", "spine")


def count(samples: Sequence[Sample]) -> dict[str, tuple[Count, ...]]:
    """By stage: one row for each source, class and split that has images."""
    found = {}
    for task, classes in TASKS.items():
        groups: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
        for sample in samples:
            if (target := sample.targets[task]) != IGNORE:
                groups[sample.source, classes[target], sample.split].append(sample.patient)
        stage = DIAGNOSIS + task if task in PARTS else task
        found[stage] = tuple(Count(*key, len(names), len(set(names))) for key, names in sorted(groups.items()))
    return found


def group_of(sample: Sample) -> tuple[str, str]:
    """(panel, line) of a sample: the sources of each body part, other MRI by body part, everything else by modality."""
    if sample.modality != "mri":
        return "not MRI", sample.modality
    return (sample.body_part, sample.source) if sample.body_part in PARTS else ("other MRI", sample.body_part)


def grey_profiles(samples: Sequence[Sample]) -> tuple[GreyProfile, ...]:
    """The mean histogram of each group with at least LEAST images, largest group of a panel first."""
    groups: defaultdict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in samples:
        groups[group_of(sample)].append(sample)
    known = {key: members for key, members in groups.items() if len(members) >= LEAST}
    ordered = sorted(known, key=lambda key: (key[0], -len(known[key])))
    return tuple(_profile(*key, known[key]) for key in ordered)


def _profile(group: str, source: str, members: Sequence[Sample]) -> GreyProfile:
    seen = thin(members, MOST)
    mean = np.mean([histogram(stretch(read_scan(sample.path).pixels)) for sample in seen], axis=0)
    shares = mean[1:] / max(mean[1:].sum(), 1e-9)
    patients = len({sample.patient for sample in seen})
    return GreyProfile(group, source, len(seen), patients, round(float(mean[0]), 4), tuple(shares.round(4).tolist()))


def histogram(pixels: np.ndarray) -> np.ndarray:
    """(H, W) in [0, 1] -> (BINS,) shares of its pixels, from black to white."""
    return np.histogram(pixels, BINS, (0, 1))[0] / pixels.size
