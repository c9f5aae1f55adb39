"""Axes, lines, bands and marks of the Explore tab as SVG; explore.css dresses them, explore.js moves the marks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

LEFT, RIGHT, TOP, BOTTOM = 42, 10, 18, 33  # room for ticks and the name of the x axis; explore.css aligns the slider


@dataclass(frozen=True, slots=True)
class Axes:
    """A plot of `width` × `height` units, marks included, over x in [x0, x1] and y in [y0, y1]."""

    width: int
    height: int
    x0: float = 0.0
    x1: float = 1.0
    y0: float = 0.0
    y1: float = 1.0

    def x(self, value: float) -> float:
        return LEFT + (self.width - LEFT - RIGHT) * (value - self.x0) / (self.x1 - self.x0)

    def y(self, value: float) -> float:
        return self.height - BOTTOM - (self.height - TOP - BOTTOM) * (value - self.y0) / (self.y1 - self.y0)

    def points(self, xs: Iterable[float], ys: Iterable[float]) -> str:
        """ "x,y x,y", without the points that are NaN."""
        pairs = [(x, y) for x, y in zip(xs, ys, strict=True) if np.isfinite(x) and np.isfinite(y)]
        return " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in pairs)

    def line(self, xs: Sequence[float], ys: Sequence[float], kind: str) -> str:
        return f'<polyline class="exp-line {kind}" points="{self.points(xs, ys)}"/>'

    def band(self, xs: Sequence[float], low: Sequence[float], high: Sequence[float], kind: str) -> str:
        """The area between two lines; both must be known at a point for it to count."""
        known = np.isfinite(low) & np.isfinite(high)
        xs, low, high = (np.asarray(values)[known] for values in (xs, low, high))
        return f'<polygon class="exp-band {kind}" points="{self.points(xs, low)} {self.points(xs[::-1], high[::-1])}"/>'

    def upright(self, value: float, kind: str, mark: str = "") -> str:
        """A line from top to bottom at x; `mark` names it for the script."""
        x = f"{self.x(value):.1f}"
        return f'<line class="{kind}" {mark} x1="{x}" x2="{x}" y1="{TOP}" y2="{self.height - BOTTOM}"/>'

    def grid(self, xs: Sequence[float], ys: Sequence[float], names: tuple[str, str], percent: str = "xy") -> str:
        """Ticks, hairlines at the y ticks, and the axes' names; `percent` says which axes are shares."""
        below = self.height - BOTTOM + 13
        ticks = "".join(
            f'<line class="exp-grid" x1="{LEFT}" x2="{self.width - RIGHT}" y1="{self.y(v):.1f}" y2="{self.y(v):.1f}"/>'
            f'<text x="{LEFT - 5}" y="{self.y(v) + 3:.1f}" text-anchor="end">{_tick(v, "y" in percent)}</text>'
            for v in ys
        )
        ticks += "".join(
            f'<text x="{self.x(v):.1f}" y="{below}" text-anchor="middle">{_tick(v, "x" in percent)}</text>' for v in xs
        )
        middle = (LEFT + self.width - RIGHT) / 2
        return (
            f'{ticks}<text class="exp-name" x="{middle:.0f}" y="{self.height - 3}" text-anchor="middle">'
            f'{escape(names[0])}</text><text class="exp-name" x="{LEFT}" y="{TOP - 8}">{escape(names[1])}</text>'
        )

    def svg(self, parts: str, alt: str, kind: str = "") -> str:
        """The finished drawing; data-box tells the script how values become places."""
        inner = (LEFT, TOP, self.width - LEFT - RIGHT, self.height - TOP - BOTTOM)
        box = ",".join(f"{v:g}" for v in (*inner, self.x0, self.x1, self.y0, self.y1))
        return (
            f'<svg class="exp-plot {kind}" viewBox="0 0 {self.width} {self.height}" role="img" '
            f'aria-label="{escape(alt, quote=True)}" data-box="{box}">{parts}</svg>'
        )


def card(title: str, drawing: str, note: str = "", kind: str = "") -> str:
    """A figure with its title above and its legend or note below."""
    return f'<figure class="exp-card {kind}"><figcaption>{title}</figcaption>{drawing}{note}</figure>'


def legend(items: Iterable[tuple[str, str, str]]) -> str:
    """(class of the line, name, number) → the list below a figure."""
    rows = (
        f'<li><i class="{kind}" aria-hidden="true"></i>{escape(name)}{f" <b>{number}</b>" if number else ""}</li>'
        for kind, name, number in items
    )
    return f'<ul class="mon-legend">{"".join(rows)}</ul>'


def quiet(text: str) -> str:
    """A note below a figure; `text` is HTML."""
    return f'<p class="mri-quiet">{text}</p>'


def share(value: float, digits: int = 1) -> str:
    """ "85.4%", a dash for NaN."""
    return f"{100 * value:.{digits}f}%" if np.isfinite(value) else "–"


def number(value: float) -> str:
    """1234 as "1,234"."""
    return f"{value:,.0f}"


def ceiling(values: Iterable[float]) -> float:
    """The least of 0.05, 0.1, 0.2, 0.3 ... that no value exceeds: the end of an axis of shares."""
    most = max((value for value in values if np.isfinite(value)), default=0.0)
    return 0.05 if most <= 0.05 else min(1.0, np.ceil(most * 10 - 1e-9) / 10)


def _tick(value: float, percent: bool) -> str:
    return f"{100 * value:.3g}%" if percent else f"{value:.4g}"
