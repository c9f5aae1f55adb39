"""How the networks learned, as far as their folders tell: curves of config.json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from mri_models.figures import LearningCurve
from mri_models.page.explore_plot import Axes, card, legend, quiet
from mri_models.page.render import model_name

# What a measure is called, and whether less of it is better; those of one kind share a panel.
MEASURES: Mapping[str, tuple[str, bool]] = {
    "loss": ("loss while learning", True),
    "train_error": ("error, training patients", True),
    "val_error": ("error, validation patients", True),
    "nll": ("log loss, validation patients", True),
    "exact": ("exact grade, validation patients", False),
    "kappa": ("kappa, validation patients", False),
    "dice": ("Dice, validation patients", False),
    "accuracy": ("turns told, validation patients", False),
}
NONE = "No model here keeps a training curve in its config.json."


def training(curves: Sequence[LearningCurve]) -> str:
    """A panel for each network and kind of measure."""
    panels = "".join(_panel(curve, less) for curve in curves for less in (True, False))
    if not panels:
        return f'<p class="mri-quiet exp-empty">{NONE}</p>'
    note = quiet(
        "Read from each model's config.json. The three-stage classifiers are averages of several runs (model soup) and "
        "have no single curve; their recipes say how long they learned."
    )
    return f'<div class="exp-many">{panels}</div>{note}'


def _panel(curve: LearningCurve, less: bool) -> str:
    chosen = {key: values for key, values in curve.values.items() if MEASURES.get(key, (key, False))[1] is less}
    if not chosen or len(curve.steps) < 2:
        return ""
    known = np.concatenate([np.array(values) for values in chosen.values()])
    low, high = _round(float(known.min()), float(known.max()))
    axes = Axes(270, 190, curve.steps[0], curve.steps[-1], low, high)
    lines = "".join(axes.line(curve.steps, values, f"s{i}") for i, values in enumerate(chosen.values(), 1))
    kept = "" if curve.kept is None else axes.upright(curve.steps[curve.kept], "exp-served")
    ticks = (curve.steps[0], curve.steps[len(curve.steps) // 2], curve.steps[-1])
    drawing = axes.grid(ticks, np.linspace(low, high, 3).round(4), (curve.unit, ""), "") + kept + lines
    best = min if less else max
    labels = [MEASURES.get(key, (key,))[0] + ("" if kept else ", best") for key in chosen]
    ends = [(f"{v[0]:.3f}", f"{best(v) if curve.kept is None else v[curve.kept]:.3f}") for v in chosen.values()]
    keys = [(f"s{i}", label, end) for i, (label, (_, end)) in enumerate(zip(labels, ends, strict=True), 1)]
    if kept:
        keys.append(("served", "weights that are served", ""))
    said = ", ".join(f"{label} from {a} to {b}" for label, (a, b) in zip(labels, ends, strict=True))
    name = model_name(curve.model)
    title = f"{escape(name)} <small>{'less' if less else 'more'} is better</small>"
    return card(title, axes.svg(drawing, f"Training of {name}: {said}"), legend(keys))


def _round(low: float, high: float) -> tuple[float, float]:
    """The ends of an axis that holds both, on tenths of its span's power of ten."""
    step = 10.0 ** np.floor(np.log10(max(high - low, 1e-6)))
    return float(np.floor(low / step) * step), float(np.ceil(high / step) * step)
