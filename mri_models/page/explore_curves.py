"""The four figures that the Explore tab's slider moves: confusion, risk over coverage, ROC, reliability."""

from __future__ import annotations

from html import escape

import numpy as np

from mri_models.figures import STEPS
from mri_models.page.explore_plot import Axes, card, ceiling, legend, quiet, share
from mri_models.page.explore_shown import ANY, Shown
from mri_models.page.render import name_of

QUARTERS = (0, 0.25, 0.5, 0.75, 1)


def confusion(shown: Shown) -> str:
    """Answered images by truth and answer at the threshold; a stronger cell is a larger share of its truth."""
    classes, cells = shown.stage.classes, shown.cells[..., shown.start]
    truths = shown.stage.cells[0, :, :, 0].sum(axis=1)
    head = "".join(f'<th scope="col">{escape(name_of(label))}</th>' for label in classes)
    rows = []
    for i, label in enumerate(classes):
        tds = "".join(
            f'<td data-cell="{i},{j}"{" class=is-right" if i == j else ""} '
            f'style="--p:{cells[i, j] / max(truths[i], 1):.3f}">{cells[i, j]}</td>'
            for j in range(len(classes))
        )
        rest = f'<td class="is-rest" data-rest="{i}">{truths[i] - cells[i].sum()}</td>'
        rows.append(f'<tr><th scope="row">{escape(name_of(label))}</th>{tds}{rest}</tr>')
    table = (
        '<div class="mri-scroll" tabindex="0" role="group" aria-label="Confusion matrix"><table class="exp-matrix">'
        f'<thead><tr><th scope="col">truth ↓ answer →</th>{head}<th scope="col">no answer</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
    note = quiet(
        "Images, whichever answer is chosen above. The stronger the colour, the larger the share of that truth."
    )
    return card("Confusion at this threshold", table, note)


def risk(shown: Shown) -> str:
    """Wrong answers among those given over the share that is given; the dot is the threshold."""
    coverage, wrong, start = shown.coverage, 1 - shown.accuracy, shown.start
    top = ceiling(wrong)
    axes = Axes(270, 210, y1=top)
    dots = _dot(axes, coverage[start], wrong[start], "exp-dot", 'data-dot="risk"')
    keys = [("dot", "this threshold", share(wrong[start]))]
    if shown.served:
        x, y = axes.x(shown.served[0]), axes.y(1 - shown.served[1])
        dots = f'<rect class="exp-diamond" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>' + dots
        keys.append(("diamond", "as served", share(1 - shown.served[1])))
    drawing = axes.grid(QUARTERS, (0, top / 2, top), ("answered", "wrong")) + axes.line(coverage, wrong, "s2") + dots
    alt = f"Share of wrong answers over share answered; {share(wrong[0])} wrong at {share(coverage[0])} answered"
    note = legend(keys)
    if shown.answer == ANY:
        note += quiet(f"Area under the whole curve (AURC) {shown.stage.aurc:.4f}; smaller is better.")
    return card("Risk and coverage", axes.svg(drawing, alt), note)


def roc(shown: Shown) -> str:
    """A curve for each class against the rest; dots are what answering from the threshold gives."""
    axes, classes, lines, keys = Axes(270, 210), shown.stage.classes, "", []
    cells, truths = shown.cells[..., shown.start], shown.stage.cells[0, :, :, 0].sum(axis=1)
    for position, (label, curve) in enumerate(shown.stage.rocs.items(), 1):
        i = classes.index(label)
        true = cells[i, i] / max(truths[i], 1)
        false = (cells[:, i].sum() - cells[i, i]) / max(truths.sum() - truths[i], 1)
        lines += axes.line(curve.false, curve.true, f"s{position}")
        lines += _dot(axes, false, true, f"exp-dot f{position}", f'data-dot="{i}"')
        keys.append((f"s{position}", name_of(label), f"{curve.auroc:.3f}"))
    chance = f'<polyline class="exp-chance" points="{axes.points((0, 1), (0, 1))}"/>'
    drawing = axes.grid(QUARTERS, QUARTERS, ("false positives", "found")) + chance + lines
    areas = ", ".join(f"{name} {area}" for _, name, area in keys)
    alt = f"ROC curves of each class against the rest; area: {areas}"
    return card("ROC, one against the rest", axes.svg(drawing, alt), legend(keys) + quiet("Numbers: AUROC."))


def reliability(shown: Shown) -> str:
    """Accuracy over the mean score of bins of equal mass; on the diagonal, scores mean what they say."""
    score, right, low, high, _ = shown.stage.reliability.T
    least = max(0.0, np.floor(4 * min(score.min(), right.min(), np.nanmin([*low, 0.99]))) / 4)
    axes, ticks = Axes(270, 210, least, 1, least, 1), [tick for tick in QUARTERS if tick >= least]
    bars = "".join(
        f'<line class="exp-bar" x1="{axes.x(x):.1f}" x2="{axes.x(x):.1f}" y1="{axes.y(a):.1f}" y2="{axes.y(b):.1f}"/>'
        for x, a, b in zip(score, low, high, strict=True)
        if np.isfinite(a)
    )
    dots = "".join(_dot(axes, x, y, "exp-dot") for x, y in zip(score, right, strict=True))
    chance = f'<polyline class="exp-chance" points="{axes.points((least, 1), (least, 1))}"/>'
    at = axes.upright(max(least, shown.start / STEPS), "exp-at", "data-at")
    drawing = axes.grid(ticks, ticks, ("mean score of a bin", "right")) + chance + bars + dots + at
    alt = f"Accuracy over score in {len(score)} bins; mean gap {share(shown.stage.ece)}"
    note = quiet(
        f"All images in {len(score)} bins of equal size, 95% interval over patients. Mean gap to the diagonal (ECE) "
        f"{shown.stage.ece:.3f}. The line is the threshold."
    )
    return card("Reliability", axes.svg(drawing, alt), note)


def _dot(axes: Axes, x: float, y: float, kind: str, mark: str = "") -> str:
    """A circle; one without a place waits outside until the script finds it one."""
    place = f'cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}"' if np.isfinite(x) and np.isfinite(y) else 'cx="-99" cy="-99"'
    return f'<circle class="{kind}" {mark} {place} r="4"/>'
