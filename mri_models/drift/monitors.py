"""The monitors, and what each says about a window: ok, watch, alert, or not enough data to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.stats import norm

from mri_models.drift.measures import MEASURES, holm, stability_index
from mri_models.drift.observe import Window
from mri_models.drift.statistics import STATISTICS

if TYPE_CHECKING:
    from mri_models.drift.profile import Profile

ENOUGH = 20  # values; with fewer a monitor says "insufficient"
SIGNIFICANT = 0.05
LEVELS = ("insufficient", "ok", "watch", "alert")
GROUPS = {
    "input": "Input images",
    "scores": "Confidence",
    "decisions": "Decisions",
    "anomaly": "Anomaly",
    "embedding": "Features",
}
TITLES = {
    "mean": "mean brightness",
    "spread": "contrast",
    "black": "black level",
    "white": "white level",
    "clipped": "share of full white",
    "tissue": "tissue grey level",
    "foreground": "share of foreground",
    "haze": "signal in air",
    "skew": "skew of tissue",
    "entropy": "grey-level entropy",
    "noise": "noise",
    "sharpness": "sharpness",
    "blockiness": "JPEG blocks",
    "detail": "fine detail",
    "comb": "ghosting",
    "anisotropy": "directional blur",
    "shading": "bias field",
    "log_size": "image size",
    "aspect": "aspect ratio",
    "gate_confidence": "confidence: MRI or not",
    "part_confidence": "confidence: body part",
    "pattern_confidence": "confidence: pattern",
    "gate_unusual": "unfamiliarity: MRI or not",
    "part_unusual": "unfamiliarity: body part",
    "pattern_unusual": "unfamiliarity: pattern",
    "anomaly_score": "anomaly score",
}


@dataclass(frozen=True, slots=True)
class Monitor:
    """One question about a window. kind: its measure; source: the feature, word or "embedding" that it looks at."""

    name: str
    title: str
    group: str
    kind: str
    source: str


def _distributions(names: Sequence[str], group: str) -> list[Monitor]:
    return [Monitor(name, TITLES[name], group, "distribution", name) for name in names]


MONITORS: tuple[Monitor, ...] = (
    *_distributions(STATISTICS, "input"),
    Monitor("input_joint", "all input statistics together", "input", "joint", "statistics"),
    *_distributions([name for name in TITLES if name.endswith(("_confidence", "_unusual"))], "scores"),
    Monitor("near_threshold", "answers near their threshold", "scores", "proportion", "near_threshold"),
    Monitor("refused", "share of refusals", "decisions", "proportion", "refused"),
    Monitor("stage", "where images are refused", "decisions", "categories", "stage"),
    Monitor("part", "body parts", "decisions", "categories", "part"),
    Monitor("pattern", "patterns", "decisions", "categories", "pattern"),
    *_distributions(["anomaly_score"], "anomaly"),
    Monitor("anomalous", "share of anomalous images", "anomaly", "proportion", "anomalous"),
    Monitor("error_mean", "reconstruction error, mean", "anomaly", "mean", "pixel_error"),
    Monitor("error_variance", "reconstruction error, variance", "anomaly", "variance", "pixel_error"),
    Monitor("embedding", "features of the MRI check", "embedding", "joint", "embedding"),
    Monitor("frechet", "Fréchet distance of these features", "embedding", "frechet", "embedding"),
)


@dataclass(frozen=True, slots=True)
class Reading:
    """What one monitor says about one window.

    n: values it had. effect, watch, alert: effect size and its two limits, None where there is too little data.
    strength: effect on a scale where 0 is the usual size for undrifted windows and 1 the alert limit.
    p, p_adjusted: test and Holm's correction. psi, reference, current: index and the two means, where they make sense.
    """

    monitor: str
    title: str
    group: str
    level: str
    n: int
    effect: float | None = None
    watch: float | None = None
    alert: float | None = None
    strength: float | None = None
    p: float | None = None
    p_adjusted: float | None = None
    psi: float | None = None
    reference: float | None = None
    current: float | None = None

    def to_dict(self) -> dict[str, Any]:
        return {
            name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in asdict(self).items()
        }


def data_of(monitor: Monitor, window: Window) -> np.ndarray:
    """What a monitor looks at: (n,) values or words, or (n, D) complete rows."""
    if monitor.kind == "categories":
        return window.word(monitor.source)
    if monitor.source == "statistics":
        rows = window.values[:, : len(STATISTICS)]
    elif monitor.source == "embedding":
        rows = window.embeddings
    else:
        return window.feature(monitor.source)
    return rows[~np.isnan(rows).any(axis=1)]


def comparable(reference: np.ndarray, window: np.ndarray) -> bool:
    """Whether both sides hold enough, and rows of the same width."""
    return min(len(reference), len(window)) >= ENOUGH and reference.shape[1:] == window.shape[1:] and reference.size > 0


def judge(window: Window, profile: Profile, seed: int = 0) -> list[Reading]:
    """One reading per monitor; an alert needs its calibrated limit and Holm's p, a watch its limit and a plain p."""
    drafts = [_draft(index, window, profile, seed) for index in range(len(MONITORS))]
    tested = [reading for reading in drafts if reading.p is not None]
    corrected = holm(np.array([reading.p for reading in tested]))
    adjusted = {reading.monitor: float(p) for reading, p in zip(tested, corrected, strict=True)}
    return [_levelled(r, adjusted[r.monitor]) if r.monitor in adjusted else r for r in drafts]


def overall(readings: Sequence[Reading]) -> str:
    """The worst level of all; "insufficient" only when every monitor says so."""
    return max((reading.level for reading in readings), key=LEVELS.index, default="insufficient")


def _draft(index: int, window: Window, profile: Profile, seed: int) -> Reading:
    """A reading before the correction for many tests."""
    monitor = MONITORS[index]
    reference, current = data_of(monitor, profile.window), data_of(monitor, window)
    limit = profile.limits.of(index, len(current), len(window))
    if limit is None or not comparable(reference, current):
        return Reading(monitor.name, monitor.title, monitor.group, "insufficient", len(current))
    measure = MEASURES[monitor.kind]
    effect = measure.effect(reference, current)
    unit = (effect - limit.centre) / limit.spread
    # a measure without a test of its own: the normal tail of what undrifted windows showed
    p = measure.test(reference, current, effect, seed) if measure.test else float(norm.sf(unit))
    scalar = monitor.kind in ("distribution", "mean", "variance", "proportion")
    return Reading(
        monitor.name,
        monitor.title,
        monitor.group,
        "ok",
        len(current),
        effect=effect,
        watch=limit.centre + limit.watch * limit.spread,
        alert=limit.centre + limit.alert * limit.spread,
        strength=unit / limit.alert,
        p=p,
        psi=stability_index(reference, current) if monitor.kind == "distribution" else None,
        reference=float(reference.mean()) if scalar else None,
        current=float(current.mean()) if scalar else None,
    )


def _levelled(reading: Reading, adjusted: float) -> Reading:
    if reading.effect >= reading.alert and adjusted <= SIGNIFICANT:
        level = "alert"
    elif reading.effect >= reading.watch and reading.p <= SIGNIFICANT:
        level = "watch"
    else:
        level = "ok"
    return replace(reading, level=level, p_adjusted=adjusted)
