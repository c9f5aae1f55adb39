"""State of the monitors → HTML and SVG for the Monitor tab and the report; page.css dresses it, in both themes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from mri_models.drift.monitors import GROUPS, LEVELS

WORDS = {
    "ok": "OK",
    "watch": "Watch",
    "alert": "Alert",
    "insufficient": "Too little data",
    "stale": "Reference is stale",
    "missing": "No reference",
}
_ICONS = {
    "ok": '<path d="M5 10.5l3.4 3.4L15 6.8"/>',
    "watch": '<path d="M10 5v6M10 14.6v.1"/>',
    "alert": '<path d="M6 6l8 8M14 6l-8 8"/>',
    "insufficient": '<path d="M5.5 10v.1M10 10v.1M14.5 10v.1"/>',
}
_TOP = 3.0  # of the curves, in alert limits: higher ones run along the upper edge
_BINS = 24
History = Sequence[Mapping[str, Any]]


def glance(state: Mapping[str, Any], title: str = "Incoming images") -> str:
    """The overall state in one line, what drifted most and since when."""
    level, strongest = state["state"], state["strongest"]
    since = f" since {_when(state['since'])}" if state["since"] and level in ("watch", "alert") else ""
    most = f"<p>Most: <b>{escape(strongest['title'])}</b>{_change(strongest)}.</p>" if strongest else ""
    seen, judged = state["images"]["seen"], state["images"]["judged"]
    counted = f"{seen} image{'s' if seen > 1 else ''} seen, the last {judged} judged. " if seen else ""
    return (
        f'<section class="mon-glance is-{level}" data-state="{level}"><p class="mri-kicker">{escape(title)}</p>'
        f"<h2>{icon(level)}{WORDS[level]}{since}</h2><p>{escape(state['message'])}</p>{most}"
        f'<p class="mri-quiet">{counted}{escape(state["storage"]["message"])}</p></section>'
    )


def groups(monitors: Sequence[Mapping[str, Any]]) -> str:
    """The worst level of each group in one row."""
    items = []
    for group, name in GROUPS.items():
        level = max((m["level"] for m in monitors if m["group"] == group), key=LEVELS.index)
        items.append(f'<li class="is-{level}">{icon(level)}{name} <em>{WORDS[level]}</em></li>')
    return f'<ul class="mon-groups" aria-label="State by group">{"".join(items)}</ul>'


def board(monitors: Sequence[Mapping[str, Any]]) -> str:
    """Every monitor as a chip with icon, word and a bar whose tick is the alert limit, by group."""
    sections = []
    for group, name in GROUPS.items():
        chips = "".join(_chip(monitor) for monitor in monitors if monitor["group"] == group)
        sections.append(f'<section><h3>{name}</h3><ul class="mon-chips">{chips}</ul></section>')
    return f'<div class="mon-board">{"".join(sections)}</div>'


def curves(history: History, turn: int | None = None) -> str:
    """The strongest reading of each group over images, in units of its alert limit; `turn`: where a drift began."""
    if len(history) < 2:
        return '<p class="mri-quiet mon-empty">Curves appear after two looks; the monitors look every few images.</p>'
    first, last = history[0]["images"], history[-1]["images"]
    lines, legend = [], []
    for number, (group, name) in enumerate(GROUPS.items(), 1):
        points = [(look["images"], look["strength"][group]) for look in history if group in look["strength"]]
        if not points:
            continue
        path = " ".join(f"{100 * (x - first) / max(last - first, 1):.1f},{_height(y):.1f}" for x, y in points)
        lines.append(f'<polyline class="mon-line s{number}" points="{path}"/>')
        legend.append(f'<li><i class="s{number}" aria-hidden="true"></i>{name} <b>{points[-1][1]:.1f}</b></li>')
    began = "" if turn is None else _mark(100 * (turn - first) / max(last - first, 1))
    label = f"Strongest reading of each group from image {first} to {last}; 1 is the alert limit"
    return (
        f'<figure class="mon-figure"><svg class="mon-plot" viewBox="0 0 100 60" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}"><line class="mon-limit" x1="0" x2="100" y1="{_height(1)}" y2="{_height(1)}"/>'
        f"{began}{''.join(lines)}</svg>"
        f'<p class="mon-axis"><span>image {first}</span><span>image {last}</span></p>'
        f'<ul class="mon-legend">{"".join(legend)}<li><i class="limit" aria-hidden="true"></i>alert limit <b>1</b></li>'
        "</ul></figure>"
    )


def histogram(title: str, reference: np.ndarray, window: np.ndarray) -> str:
    """Two outlines on one axis: the reference filled, the window as a line."""
    both = np.concatenate([reference, window])
    low, high = np.percentile(both, (0.5, 99.5))
    edges = np.linspace(low, max(high, low + 1e-6), _BINS + 1)
    before, after = (np.histogram(np.clip(v, low, high), edges)[0] / len(v) for v in (reference, window))
    top = max(before.max(), after.max())
    label = f"{title}: reference mean {reference.mean():.3g}, now {window.mean():.3g}"
    return (
        f'<figure class="mon-figure"><figcaption>{escape(title)}</figcaption><svg class="mon-plot is-small" '
        f'viewBox="0 0 100 60" preserveAspectRatio="none" role="img" aria-label="{escape(label, quote=True)}">'
        f'<polygon class="mon-before" points="0,60 {_steps(before / top)} 100,60"/>'
        f'<polyline class="mon-line s1" points="{_steps(after / top)}"/></svg>'
        f'<p class="mon-axis"><span>{low:.3g}</span><span>{high:.3g}</span></p></figure>'
    )


def icon(level: str) -> str:
    """A mark that tells levels apart without colour."""
    shape = _ICONS.get(level, _ICONS["insufficient"])
    return f'<svg class="mri-mark" viewBox="0 0 20 20" aria-hidden="true">{shape}</svg>'


def _chip(monitor: Mapping[str, Any]) -> str:
    level, strength = monitor["level"], monitor["strength"]
    bar = "" if strength is None else f'<i class="mon-bar" style="--at:{min(max(strength, 0), 2) / 2:.0%}"></i>'
    since = f", since {_when(monitor['since'])}" if level in ("watch", "alert") and monitor.get("since") else ""
    note = f"{monitor['n']} values" if strength is None else f"{max(strength, 0):.1f} of its alert limit"
    return (
        f'<li class="is-{level}">{icon(level)}<span><b>{escape(monitor["title"])}</b> <em>{WORDS[level]}</em>'
        f"<small>{note}{_change(monitor)}{since}</small>{bar}</span></li>"
    )


def _change(monitor: Mapping[str, Any]) -> str:
    if monitor["reference"] is None:
        return ""
    return f" ({monitor['reference']:.3g} → {monitor['current']:.3g})"


def _when(moment: str) -> str:
    """ISO 8601 to the minute; a simulation's "image 70" stays as it is."""
    return escape(moment[:16].replace("T", " ") + " UTC" if moment[10:11] == "T" else moment)


def _height(strength: float) -> float:
    return 58 - 56 * min(max(strength, 0), _TOP) / _TOP


def _mark(x: float) -> str:
    return f'<line class="mon-turn" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="60"/>'


def _steps(heights: np.ndarray) -> str:
    width = 100 / len(heights)
    return " ".join(
        f"{i * width:.1f},{60 - 56 * h:.1f} {(i + 1) * width:.1f},{60 - 56 * h:.1f}" for i, h in enumerate(heights)
    )
