"""Drifted streams from stored scalars: what `drift simulate` measures with and the Monitor tab plays with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from mri_models.drift.monitors import Reading, judge
from mri_models.drift.observe import FEATURES, Window
from mri_models.drift.profile import Profile, pack, unpack
from mri_models.drift.simulate import DRIFTS, SEVERITIES
from mri_models.errors import WeightsError

ARRAYS, INDEX = "simulated.safetensors", "simulated.json"
UNDRIFTED = "undrifted"
COMPOSITION = {
    "source": "More of one source",
    "plane": "More sagittal slices",
    "body_part": "More spines",
    "anomaly_frequency": "More tumours",
}
SHARES = (0.1, 0.2, 0.35, 0.6, 1.0)  # of a window drawn from that group only, by severity; the rest is as before
TITLES = {name: drift.title for name, drift in DRIFTS.items()} | COMPOSITION
BEFORE, AFTER, STEP = 50, 60, 10  # images of a played stream, and how often it is judged


@dataclass(frozen=True, slots=True, eq=False)
class Simulated:
    """window: all stored observations. cells: first and last + 1 row of "undrifted" and of each "blur/3".

    groups: undrifted rows that a composition drift (or the control) draws more of.
    """

    window: Window
    cells: Mapping[str, tuple[int, int]]
    groups: Mapping[str, np.ndarray]

    def draw(self, drift: str | None, severity: int, count: int, rng: np.random.Generator) -> np.ndarray:
        """Rows of `count` images of a stream; undrifted ones are never drawn twice if there are enough."""
        undrifted = np.arange(*self.cells[UNDRIFTED])
        if drift is None:
            return rng.choice(undrifted, count, replace=count > len(undrifted))
        if drift in self.groups:
            focus = rng.random(count) < SHARES[severity - 1]
            return np.where(focus, rng.choice(self.groups[drift], count), rng.choice(undrifted, count))
        return rng.choice(np.arange(*self.cells[f"{drift}/{severity}"]), count)

    def save(self, folder: Path, models: Mapping[str, str]) -> None:
        """models: SHA-256 by name of the weights that judged the images.

        Embeddings in half precision, far finer than they scatter; values as they are: many images have the same size,
        and a rounded one would be another.
        """
        arrays, vocabulary = pack(self.window)
        save_file(arrays | {"embeddings": arrays["embeddings"].astype(np.float16)}, folder / ARRAYS)
        groups = {name: rows.tolist() for name, rows in self.groups.items()}
        index = {
            "features": FEATURES,
            "vocabulary": vocabulary,
            "models": dict(models),
            "cells": self.cells,
            "groups": groups,
        }
        (folder / INDEX).write_text(json.dumps(index) + "\n", encoding="utf-8")


def load_simulated(folder: Path, models: Mapping[str, str]) -> Simulated:
    """models: those of the reference that will judge it.

    Raises WeightsError "no_simulation" when there is none of these models that this version can read.
    """
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if index["features"] != list(FEATURES):
            raise ValueError("made by another version")
        if index["models"] != dict(models):
            raise ValueError("made with other weights")
        cells = {name: tuple(rows) for name, rows in index["cells"].items()}
        groups = {name: np.array(rows, int) for name, rows in index["groups"].items()}
        return Simulated(unpack(load_file(folder / ARRAYS), index["vocabulary"]), cells, groups)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        message = "There are no simulated images to play with. Make them with `python -m mri_models drift simulate`."
        raise WeightsError("no_simulation", message) from error


@dataclass(frozen=True, slots=True)
class Look:
    """images: how many came since the drift began. readings: what the monitors said about the latest BEFORE images."""

    images: int
    readings: list[Reading]


def play(simulated: Simulated, profile: Profile, drift: str, severity: int, seed: int = 0) -> Iterator[Look]:
    """A calm stream that turns: BEFORE undrifted images, then AFTER drifted ones, judged every STEP images."""
    if drift not in TITLES or severity not in SEVERITIES:
        raise ValueError(f"drift must be one of {list(TITLES)} at severity 1-5, got {drift!r} at {severity!r}")
    rng = np.random.default_rng(seed)
    rows = [simulated.draw(None, 0, BEFORE, rng), simulated.draw(drift, severity, AFTER, rng)]
    stream = simulated.window.take(np.concatenate(rows))
    for end in range(BEFORE, BEFORE + AFTER + 1, STEP):
        yield Look(end - BEFORE, judge(stream.take(np.arange(end - BEFORE, end)), profile))
