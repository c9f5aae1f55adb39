"""The reference: scalars of undrifted images with calibrated limits, tied to the weights that they were made with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from mri_models.drift.calibrate import Limits
from mri_models.drift.monitors import MONITORS
from mri_models.drift.observe import FEATURES, WORDS, Window
from mri_models.errors import WeightsError

ARRAYS, FACTS = "profile.safetensors", "profile.json"
_LIMITS = ("counts", "centres", "spreads", "watch", "alert")


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """window: the reference's observations. models: SHA-256 by name of the weights that judged its images.

    facts: where it comes from (split, images, patients, sources, share of false alarms that the limits aim at).
    """

    window: Window
    limits: Limits
    models: Mapping[str, str]
    facts: Mapping[str, Any]

    def stale(self, models: Mapping[str, str]) -> list[str]:
        """Models whose weights are not those that judged the reference, or that did not: scores can't be compared.

        models: SHA-256 by name of all that judge an image now.
        """
        return sorted(name for name in {*self.models, *models} if models.get(name) != self.models.get(name))

    def save(self, folder: Path) -> None:
        """Write profile.safetensors and profile.json."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays, vocabulary = pack(self.window)
        arrays |= {name: getattr(self.limits, name).astype(np.float32) for name in _LIMITS}
        save_file(arrays, folder / ARRAYS)
        facts = {
            "features": FEATURES,
            "monitors": [monitor.name for monitor in MONITORS],
            "vocabulary": vocabulary,
            "models": dict(self.models),
            "facts": dict(self.facts),
        }
        (folder / FACTS).write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def load_profile(folder: Path) -> Profile:
    """Raises WeightsError, code "no_profile" or "bad_profile", with what to do."""
    again = "Make it with `python -m mri_models drift reference`."
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        arrays = load_file(folder / ARRAYS)
        if facts["features"] != list(FEATURES) or facts["monitors"] != [monitor.name for monitor in MONITORS]:
            raise ValueError("it was made by another version")
        limits = Limits(**{name: arrays[name] for name in _LIMITS})
        return Profile(unpack(arrays, facts["vocabulary"]), limits, facts["models"], facts["facts"])
    except FileNotFoundError as error:
        raise WeightsError("no_profile", f"{folder} holds no reference profile. {again}") from error
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise WeightsError(
            "bad_profile", f"The reference profile in {folder} can't be read ({error}). {again}"
        ) from error


def pack(window: Window) -> tuple[dict[str, np.ndarray], dict[str, list[str]]]:
    """A window as arrays for safetensors (words become codes) and the vocabulary of each of WORDS."""
    columns = {name: np.unique(window.words[:, i]).tolist() for i, name in enumerate(WORDS)}
    codes = np.stack([np.searchsorted(columns[name], window.words[:, i]) for i, name in enumerate(WORDS)], axis=1)
    arrays = {"values": window.values.astype(np.float32), "embeddings": window.embeddings.astype(np.float32)}
    return arrays | {"words": codes.astype(np.uint8)}, columns


def unpack(arrays: Mapping[str, np.ndarray], vocabulary: Mapping[str, list[str]]) -> Window:
    """The inverse of `pack`."""
    words = [np.array(vocabulary[name])[arrays["words"][:, i]] for i, name in enumerate(WORDS)]
    values, embeddings = (arrays[name].astype(np.float32) for name in ("values", "embeddings"))
    return Window(values, np.stack(words, axis=1).astype(str), embeddings)
