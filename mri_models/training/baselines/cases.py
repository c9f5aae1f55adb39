"""Which images the comparison is about, and how their patients are dealt into folds."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mri_models.errors import DataError
from mri_models.training.corpus import TASKS, Sample, read_corpus

CLASSES = TASKS["brain"][:4]  # glioma, meningioma, pituitary, no_tumor
SPLITS = ("patients", "slices")  # the honest way, and the one that leaks


@dataclass(frozen=True, slots=True, eq=False)
class Cases:
    """N images of four classes, none of a test patient.

    names, patients, sources: (N,) str; a name is the path below the corpus. labels: (N,) index in CLASSES.
    """

    samples: tuple[Sample, ...]
    names: np.ndarray
    labels: np.ndarray
    patients: np.ndarray
    sources: np.ndarray

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def strata(self) -> np.ndarray:
        """(N,) str: class and source, each of which every fold gets its share of."""
        return np.array([f"{CLASSES[label]}/{source}" for label, source in zip(self.labels, self.sources, strict=True)])


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One outer fold: indices of its training images and of the images that it is judged by."""

    number: int
    train: np.ndarray
    judged: np.ndarray


def read_cases(data: Path) -> Cases:
    """Brain MRI of the four classes, validation patients included, test patients not.

    Slices noted as resembling another patient's (`sim_`) are left out altogether: they would join two folds.
    """
    samples = [s for s in read_corpus(data) if s.split != "test" and s.targets["brain"] in range(len(CLASSES))]
    samples = sorted((s for s in samples if "sim_" not in s.note), key=lambda s: s.path)
    if not samples:
        raise DataError("no_brains", f"{data} has no labelled brain image outside its test split.")
    return Cases(
        samples=tuple(samples),
        names=np.array([s.path.relative_to(data).as_posix() for s in samples]),
        labels=np.array([s.targets["brain"] for s in samples]),
        patients=np.array([s.patient for s in samples]),
        sources=np.array([s.source for s in samples]),
    )


def deal(groups: Sequence[str], strata: Sequence[str], count: int, seed: int = 0) -> np.ndarray:
    """(N,) fold of each image, 0 to count - 1: a group is never split, every stratum spreads evenly.

    A group belongs to the stratum of most of its images. Large groups are dealt first, each to the fold that has the
    fewest images of its stratum (of all, where these are equal); groups of one size come in the order of a hash, so
    that the outcome depends on names and `seed` alone, not on the order of rows.
    """
    sizes = Counter(groups)
    votes: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for group, stratum in zip(groups, strata, strict=True):
        votes[group][stratum] += 1
    home = {group: min(found, key=lambda s: (-found[s], s)) for group, found in votes.items()}
    filled: dict[str, np.ndarray] = defaultdict(lambda: np.zeros(count, int))
    whole = np.zeros(count, int)
    fold_of = {}
    for group in sorted(sizes, key=lambda g: (home[g], -sizes[g], _hash(f"{seed}/{g}"))):
        own = filled[home[group]]
        fold = min(range(count), key=lambda f: (own[f], whole[f], f))
        own[fold] += sizes[group]
        whole[fold] += sizes[group]
        fold_of[group] = fold
    return np.array([fold_of[group] for group in groups])


def assign(cases: Cases, split: str, count: int) -> np.ndarray:
    """(N,) outer fold of each image; "slices" deals single images, as most published numbers do."""
    groups = cases.patients if split == "patients" else cases.names
    return deal(groups.tolist(), cases.strata.tolist(), count)


def folds(assigned: np.ndarray, count: int) -> list[Fold]:
    return [Fold(k, np.flatnonzero(assigned != k), np.flatnonzero(assigned == k)) for k in range(count)]


def inner(cases: Cases, chosen: np.ndarray, split: str, count: int, seed: int = 1) -> np.ndarray:
    """(len(chosen),) inner fold of the training images `chosen`: by patient where the outer one is, else by slice."""
    groups = cases.patients if split == "patients" else cases.names
    return deal(groups[chosen].tolist(), cases.strata[chosen].tolist(), count, seed)


def folds_hash(cases: Cases, assigned: np.ndarray) -> str:
    """SHA-256 over (image, label, patient, fold): results with the same hash were judged on the same division."""
    rows = zip(cases.names, cases.labels, cases.patients, assigned, strict=True)
    lines = sorted(f"{name}\t{label}\t{patient}\t{fold}" for name, label, patient, fold in rows)
    return _hash("\n".join(lines))


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
