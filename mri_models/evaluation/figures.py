"""The figures of an evaluation: PNG or SVG by the path's suffix, light, colour-blind-safe, without pyplot's state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import roc_auc_score, roc_curve

from mri_models.evaluation.calibration import risk_coverage
from mri_models.evaluation.metrics import Estimate, Outcomes, StageMetrics
from mri_models.evaluation.reliability import equal_mass_bins

# Okabe & Ito 2008, told apart with every common colour vision; yellow left out, it drowns on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
INK, FAINT = "#333333", "#B8BEC6"
STYLE = {
    "font.size": 10,
    "font.family": "DejaVu Sans",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#E8EAED",
    "axes.prop_cycle": matplotlib.cycler(color=COLOURS),
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.dpi": 160,
    "svg.hashsalt": "mri_models",  # the same numbers give the same file
}


@contextmanager
def _axes(path: Path, title: str, *, width: float = 4.8, height: float = 4.4) -> Iterator[Axes]:
    """Axes to draw on, saved to `path` at the end."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        axes = figure.subplots()
        axes.set_title(title)
        yield axes
        figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else {"Software": None})


def reliability(outcomes: Outcomes, path: Path, title: str) -> None:
    """Accuracy against confidence in the bins of the ECE; on the diagonal, scores mean what they say."""
    confidence, correct = outcomes.confidence, outcomes.correct
    bins = equal_mass_bins(confidence)
    filled = np.unique(bins)
    x = [confidence[bins == b].mean() for b in filled]
    y = [correct[bins == b].mean() for b in filled]
    with _axes(path, title) as axes:
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle="--", label="calibrated")
        axes.vlines(x, x, y, color=COLOURS[1], alpha=0.5, linewidth=3, label="gap")
        axes.plot(x, y, color=COLOURS[0], marker="o", markersize=5, label=f"{len(filled)} bins of equal mass")
        low = max(0.0, min(*x, *y, 0.9) - 0.05)
        axes.set(xlim=(low, 1.01), ylim=(low, 1.01), xlabel="confidence", ylabel="accuracy", aspect="equal")
        axes.legend(loc="best")


def confusion(metrics: StageMetrics, path: Path, title: str) -> None:
    """Counts, shaded by their share of the true class: a dark diagonal is a good model."""
    counts = np.array(metrics.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.4 + 0.8 * len(counts)
    with _axes(path, title, width=side + 0.4, height=side) as axes:
        axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for (row, column), count in np.ndenumerate(counts):
            shade = "white" if shares[row, column] > 0.5 else INK
            text = f"{count}\n{shares[row, column]:.0%}"
            axes.text(column, row, text, ha="center", va="center", color=shade, fontsize=9)
        ticks = range(len(counts))
        axes.set_xticks(ticks, metrics.classes, rotation=30, ha="right", rotation_mode="anchor")
        axes.set_yticks(ticks, metrics.classes)
        axes.grid(False)
        axes.set(xlabel="predicted", ylabel="truth")


def roc(outcomes: Outcomes, path: Path, title: str) -> None:
    """A curve a class against the rest; a single one for two classes, whose curves mirror each other."""
    first = 1 if len(outcomes.classes) == 2 else 0
    with _axes(path, title) as axes:
        axes.plot([0, 1], [0, 1], color=FAINT, linestyle="--")
        for index, name in list(enumerate(outcomes.classes))[first:]:
            truth, score = outcomes.labels == index, outcomes.probabilities[:, index]
            if truth.all() or not truth.any():
                continue  # no pair to order
            false, true, _ = roc_curve(truth, score)
            axes.plot(
                false, true, color=COLOURS[index % len(COLOURS)], label=f"{name} {roc_auc_score(truth, score):.3f}"
            )
        limits = (-0.01, 1.01)
        axes.set(xlim=limits, ylim=limits, xlabel="false positive rate", ylabel="true positive rate", aspect="equal")
        axes.legend(loc="lower right", title="AUROC")


def risk(outcomes: Outcomes, path: Path, title: str) -> None:
    """Share of wrong answers among those accepted as the confidence threshold falls, and where the stage stands."""
    curve = risk_coverage(outcomes.confidence, outcomes.correct)
    with _axes(path, title) as axes:
        axes.plot(curve.coverage, curve.risk, color=COLOURS[0], label=f"by confidence, AURC {curve.area:.4f}")
        if outcomes.accepted.any():
            wrong = 1 - outcomes.correct[outcomes.accepted].mean()
            axes.plot(
                outcomes.accepted.mean(), wrong, "o", color=COLOURS[1], markersize=8, label="accepted by the stage"
            )
        axes.set(xlim=(0, 1.01), xlabel="coverage", ylabel="risk")
        axes.set_ylim(0, max(0.05, 1.15 * curve.risk.max()))
        axes.legend(loc="upper left")


def sources(metrics: Mapping[str, StageMetrics], path: Path, title: str) -> None:
    """Accuracy by source, worst first from the top, with intervals over patients and the share that is accepted."""
    known = [(name, m.accuracy, m.coverage, m) for name, m in metrics.items() if m.accuracy and m.coverage]
    known.sort(key=lambda entry: entry[1].value, reverse=True)
    rows = np.arange(len(known))
    with _axes(path, title, width=7, height=1.6 + 0.32 * len(known)) as axes:
        for row, (_, accuracy, coverage, _) in zip(rows, known, strict=True):
            axes.barh(row, accuracy.value, height=0.62, color=COLOURS[4], label="accuracy" if row == 0 else None)
            axes.hlines(row, *_interval(accuracy), color=INK, linewidth=1.4)
            axes.plot(coverage.value, row, "D", color=COLOURS[1], markersize=5, label="coverage" if row == 0 else None)
        axes.set_yticks(rows, [f"{name} ({m.patients})" for name, _, _, m in known])
        axes.set(xlim=(0, 1.02), xlabel="share of images; the line is the 95 % interval; patients in brackets")
        axes.grid(False, axis="y")
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _interval(estimate: Estimate) -> tuple[float, float]:
    """(low, high), the value twice where there is no interval."""
    low, high = estimate.low, estimate.high
    return (estimate.value, estimate.value) if low is None or high is None else (low, high)
