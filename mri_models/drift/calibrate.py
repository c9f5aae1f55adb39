"""Alarm limits from undrifted windows, so that the family-wise rate of false alarms is known and not hoped for.

Reference patients are halved at random again and again; one half plays the reference, windows are drawn from the
other. That keeps what tests on single images overlook: patients differ, and a window's are not the reference's. Each
monitor's effect is put in standard units of these windows, and the limits are quantiles of the largest of all
monitors at once (Westfall & Young's max-T), which also corrects for many monitors that see the same thing.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mri_models.drift.measures import MEASURES
from mri_models.drift.monitors import MONITORS, comparable, data_of
from mri_models.drift.observe import Window

SIZES = (20, 35, 50, 100)  # images a window; limits for sizes between are interpolated
FALSE_ALERTS, FALSE_WATCHES = 0.02, 0.10  # share of undrifted windows in which any monitor may speak
WINDOWS = 500  # of each size
_SPLITS = 25
_LEAST_SPREAD = 0.02  # of an effect; a share that never varied among the reference must not alarm at one image


@dataclass(frozen=True, slots=True)
class Limit:
    """centre and spread of an effect in undrifted windows; watch and alert in these standard units."""

    centre: float
    spread: float
    watch: float
    alert: float


@dataclass(frozen=True, slots=True, eq=False)
class Limits:
    """counts, centres, spreads: (S, M) for S window sizes and M monitors, NaN where data were too few;
    watch, alert: (S,) in standard units."""

    counts: np.ndarray
    centres: np.ndarray
    spreads: np.ndarray
    watch: np.ndarray
    alert: np.ndarray

    def __post_init__(self) -> None:
        expected = (len(SIZES), len(MONITORS))
        for name in ("counts", "centres", "spreads"):
            if getattr(self, name).shape != expected:
                raise ValueError(f"{name} must be {expected}, got {getattr(self, name).shape}")

    def of(self, monitor: int, own: int, size: int) -> Limit | None:
        """The limit of a monitor that has `own` values in a window of `size`; None where it was never calibrated."""
        known = ~np.isnan(self.spreads[:, monitor])
        if not known.any() or own < 1:
            return None
        at, places = 1 / np.sqrt(own), 1 / np.sqrt(self.counts[known, monitor])  # effects of chance shrink like this
        order = np.argsort(places)
        centre, spread = (
            float(np.interp(at, places[order], values[known, monitor][order]))
            for values in (self.centres, self.spreads)
        )
        watch, alert = (float(np.interp(size, SIZES, values)) for values in (self.watch, self.alert))
        return Limit(centre, spread, watch, alert)


def calibrate(window: Window, patients: Sequence[str], rng: np.random.Generator, windows: int = WINDOWS) -> Limits:
    """Limits from a reference and the patient of each of its rows (who are forgotten afterwards)."""
    parts = [_undrifted(window, np.asarray(patients), size, rng, windows) for size in SIZES]
    counts, centres, spreads, watch, alert = (np.array(column) for column in zip(*parts, strict=True))
    return Limits(counts, centres, spreads, watch, alert)


def _undrifted(window: Window, patients: np.ndarray, size: int, rng: np.random.Generator, windows: int) -> tuple:
    """counts, centres and spreads (M,) and the two limits for one window size."""
    names = np.unique(patients)
    effects, counts = [], []
    for split in range(_SPLITS):
        first = np.isin(patients, rng.permutation(names)[: len(names) // 2])
        reference, rest = window.take(np.flatnonzero(first)), np.flatnonzero(~first)
        known = [data_of(monitor, reference) for monitor in MONITORS]
        for _ in range(windows * split // _SPLITS, windows * (split + 1) // _SPLITS):
            drawn = window.take(rng.choice(rest, size))
            data = [data_of(monitor, drawn) for monitor in MONITORS]
            effects.append([_effect(m.kind, k, d) for m, k, d in zip(MONITORS, known, data, strict=True)])
            counts.append([len(d) for d in data])
    return _limits(np.array(effects), np.array(counts, float))


def _effect(kind: str, reference: np.ndarray, window: np.ndarray) -> float:
    return MEASURES[kind].effect(reference, window) if comparable(reference, window) else np.nan


def _limits(effects: np.ndarray, counts: np.ndarray) -> tuple:
    """(W, M) effects and counts of undrifted windows → what `_undrifted` says."""
    seldom = np.isnan(effects).mean(axis=0) > 0.5
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a monitor without any data stays NaN: that is its answer
        centres, spreads = np.nanmean(effects, axis=0), np.maximum(np.nanstd(effects, axis=0), _LEAST_SPREAD)
    centres[seldom], spreads[seldom] = np.nan, np.nan
    units = (effects - centres) / spreads
    largest = np.max(np.where(np.isnan(units), -np.inf, units), axis=1)
    watch, alert = np.quantile(largest, (1 - FALSE_WATCHES, 1 - FALSE_ALERTS))
    return counts.mean(axis=0), centres, spreads, watch, alert
