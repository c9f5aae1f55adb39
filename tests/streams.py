"""Made-up observations, a small profile of them, and the weights folder that holds it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np

from mri_models.drift import FOLDER
from mri_models.drift.calibrate import calibrate
from mri_models.drift.observe import FEATURES, FLAGS, Window
from mri_models.drift.profile import Profile
from mri_models.drift.replay import COMPOSITION, UNDRIFTED, Simulated
from mri_models.drift.simulate import DRIFTS, SEVERITIES

MODELS = {"gate": "3f" * 32, "body_part": "a1" * 32}  # the fake pipeline's


def gaussian(count: int, seed: int = 0, **shifts: float) -> Window:
    """Standard normal values, flags at 20 %, two words each; `shifts` moves features by name, "embedding" too."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(count, len(FEATURES))).astype(np.float32)
    values[:, -len(FLAGS) :] = rng.random((count, len(FLAGS))) < 0.2
    for name, shift in shifts.items():
        if name != "embedding":
            values[:, FEATURES.index(name)] += shift
    words = np.stack(
        [rng.choice(pair, count) for pair in (["passed", "gate"], ["brain", "knee"], ["glioma", "low"])], 1
    )
    places = rng.normal(size=(count, 16)) + shifts.get("embedding", 0)
    return Window(values, words.astype(str), places.astype(np.float32))


@cache
def profile() -> Profile:
    window = gaussian(300, seed=99)
    limits = calibrate(window, [str(i // 2) for i in range(300)], np.random.default_rng(0), windows=40)
    return Profile(window, limits, MODELS, {"split": "val", "images": 300, "patients": 150, "false_alert_rate": 0.02})


def simulated() -> Simulated:
    """Twenty images a cell; whatever the drift, severity shifts noise and sharpness."""
    cells, windows = {UNDRIFTED: (0, 120)}, [gaussian(120, seed=1)]
    for number, key in enumerate((drift, severity) for drift in DRIFTS for severity in SEVERITIES):
        cells[f"{key[0]}/{key[1]}"] = (120 + 20 * number, 140 + 20 * number)
        windows.append(gaussian(20, seed=2 + number, noise=key[1], sharpness=-key[1]))
    parts = (np.concatenate([getattr(w, name) for w in windows]) for name in ("values", "words", "embeddings"))
    return Simulated(Window(*parts), cells, {name: np.arange(10) for name in COMPOSITION})


def weights(folder: Path) -> Path:
    """A weights folder with everything of drift, and no model."""
    profile().save(folder / FOLDER)
    simulated().save(folder / FOLDER, MODELS)
    return folder
