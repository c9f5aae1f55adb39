"""One classifier at a threshold that the visitor moves: what is answered, what of it is right, where serving stands."""

from __future__ import annotations

import json
from html import escape

import numpy as np

from mri_models.figures import STEPS
from mri_models.page.explore_curves import QUARTERS, confusion, reliability, risk, roc
from mri_models.page.explore_plot import Axes, legend, number, quiet, share
from mri_models.page.explore_shown import ANY, FLOOR, GRID, Shown
from mri_models.page.render import name_of
from mri_models.report import TUMOURS

FIFTHS = (0, 0.2, 0.4, 0.6, 0.8, 1)


def panel(shown: Shown) -> str:
    """Slider with numbers and curves, then the four figures that it moves."""
    stage, low_high = shown.stage, shown.band
    data = {
        "cells": shown.cells.tolist(),
        "columns": shown.columns,
        "total": shown.total,
        "correct": shown.correct,
        "low": _known(low_high[0]),
        "high": _known(low_high[1]),
        "truths": stage.cells[0, :, :, 0].sum(axis=1).tolist(),
    }
    packed = escape(json.dumps(data, separators=(",", ":")), quote=True)
    four = confusion(shown) + risk(shown) + roc(shown) + reliability(shown)
    return f'<div class="exp-answers" data-stage="{packed}">{hero(shown)}<div class="exp-four">{four}</div></div>'


def hero(shown: Shown) -> str:
    """The question, its numbers, both curves over the threshold, and the slider below their axis."""
    axes, start = Axes(480, 196), shown.start
    low, high = shown.band
    served = "".join(axes.upright(value, "exp-served") for value in sorted(set(shown.thresholds.values())))
    drawing = (
        f'<rect class="exp-never" x="{axes.x(0):.1f}" y="{axes.y(1):.1f}" '
        f'width="{axes.x(FLOOR / STEPS) - axes.x(0):.1f}" height="{axes.y(0) - axes.y(1):.1f}"/>'
        + axes.grid(FIFTHS, QUARTERS, ("least score that is accepted", ""), "y")
        + axes.band(GRID, low, high, "s2")
        + axes.line(GRID, shown.coverage, "s1")
        + axes.line(GRID, shown.accuracy, "s2")
        + served
        + axes.upright(start / STEPS, "exp-at", "data-at")
    )
    alt = (
        f"Share of images answered and accuracy among them by threshold; at {start / STEPS:.2f}: {_said(shown, start)}"
    )
    slider = (
        f'<label class="exp-slide"><span class="exp-hidden">Least score that is accepted</span>'
        f'<input type="range" min="0" max="{STEPS}" step="1" value="{start}" '
        f'aria-valuetext="{start / STEPS:.2f}: {_said(shown, start)}"></label>'
    )
    keys = [("s1", "answered", ""), ("s2", "right among answered, with 95% interval over patients", "")]
    if served:
        keys.append(("served", "as served", ""))
    keys.append(("never", "below 0.60 nothing is ever served", ""))
    return (
        '<section class="exp-hero"><div class="exp-top"><h2>Accept from a score of '
        f'<output data-out="threshold">{start / STEPS:.2f}</output></h2>{_back(shown)}</div>'
        f'<div class="exp-split">{_numbers(shown, start)}<div>{axes.svg(drawing, alt, "is-wide")}{slider}'
        f"{legend(keys)}</div></div>{quiet(_served(shown))}</section>"
    )


def _numbers(shown: Shown, k: int) -> str:
    accepted, right = int(shown.accepted[k]), int(shown.right[k])
    low, high = shown.band[:, k]
    between = "too few for an interval"
    if np.isfinite(low):
        between = "no patient disagrees" if low == high else f"95% interval {share(low, 0)[:-1]} to {share(high, 0)}"
    of = f"of {number(shown.total)} images"
    if shown.answer != ANY:
        of += f" called {escape(name_of(shown.answer))}"
    rows = (
        ("coverage", "Answered", share(shown.coverage[k]), "accepted", f"<b>{number(accepted)}</b> {of}"),
        ("accuracy", "Right among them", share(shown.accuracy[k]), "interval", f"<b>{between}</b>"),
        ("wrong", "Wrong answers given", number(accepted - right), "", ""),
        ("withheld", "Right answers withheld", number(shown.correct - right), "", ""),
    )
    items = "".join(
        f'<div><dt>{name}</dt><dd><output data-out="{key}">{value}</output>'
        + (f'<small data-out="{small}">{more}</small>' if small else "")
        + "</dd></div>"
        for key, name, value, small, more in rows
    )
    return f'<dl class="exp-numbers">{items}</dl>'


def _said(shown: Shown, k: int) -> str:
    return f"{share(shown.coverage[k])} answered, {share(shown.accuracy[k])} of them right"


def _back(shown: Shown) -> str:
    """Buttons that put the slider onto each served threshold."""
    by_value: dict[int, list[str]] = {}
    for label, value in shown.thresholds.items():
        by_value.setdefault(round(STEPS * value), []).append(name_of(label))
    every = len(by_value) == 1 and len(shown.thresholds) == len(shown.columns)
    buttons = "".join(
        f'<button type="button" data-k="{k}">Served{"" if every else " for " + escape(", ".join(labels))}: '
        f"{k / STEPS:.2f}</button>"
        for k, labels in sorted(by_value.items())
    )
    return f'<div class="exp-back">{buttons}</div>'


def _served(shown: Shown) -> str:
    """What serving does with these images, in a sentence."""
    point, never = shown.served, len(shown.thresholds) < len(shown.columns)
    if point is None:
        why = "no threshold reached its target on validation patients" if never else "none of these images passes"
        return f"As served, nothing of this is answered: {why}."
    each = " Each answer has a threshold of its own." if len(set(shown.thresholds.values())) > 1 else ""
    some = " Answers without a mark are never accepted." if never else ""
    brain = set(TUMOURS) <= set(shown.stage.classes)
    outlined = " or like a tumour that can't be outlined" if brain else ""
    return (
        f"As served, {share(point[0])} of these images are answered and {share(point[1])} of the answers are right; "
        f"images that look unfamiliar{outlined} are refused whatever their score.{each}{some} Validation patients "
        "chose the thresholds; these are test patients, who chose nothing."
    )


def _known(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else round(float(value), 4) for value in values]
