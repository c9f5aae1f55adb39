"""Maps side by side: one tile a method, with its badge, its time and how far the methods agree. Pure HTML."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from itertools import combinations

from mri_models.explain import METHODS, on_grid, overlay, picture, shrunk
from mri_models.explain.cells import cells, content, rank_correlation, top_overlap
from mri_models.page.render import METHOD_NAMES, name_of
from mri_models.page.trust import badge, reasons, state
from mri_models.page.unusual import data_uri
from mri_models.page.viewer import OPACITY
from mri_models.types import Attribution, Scan

SIDE = 360  # px of a tile's picture
HOW = {
    "integrated_gradients": "Which details the score depends on, added up on the way from the blurred image.",
    "grad_cam": "Which regions the last feature map marks for the class.",
    "layer_cam": "The same one feature map earlier, in finer cells.",
    "consensus": "What each region adds to the score, the more the surer Grad-CAM marks it for the class.",
    "shap": "What each region adds to the score, averaged over what else is there.",
    "occlusion": "How far the score falls when a window is veiled.",
}
_ONLY_FOR = ("grad_cam", "layer_cam")  # never speak against a class


def panel(scan: Scan, maps: Sequence[Attribution], busy: str | None = None) -> str:
    """The image, then tiles in the order of METHODS; `busy` is the method that is being worked out."""
    ordered = sorted(maps, key=lambda found: METHODS.index(found.method))
    small = shrunk(scan, SIDE)
    figures = _plain(small) + "".join(_tile(small, found) for found in ordered) + (_waiting(busy) if busy else "")
    target = escape(name_of(ordered[0].target), quote=True)
    return (
        f'<section class="mri-maps"><h3>Maps side by side</h3>'
        f'<div class="mri-scale"><i role="img" aria-label="Colours: blue speaks against {target}, red for it"></i>'
        f"<span>against</span><span>for “{target}”</span></div>"
        f'<div class="mri-tiles-of-maps">{figures}</div>{_agreement(scan, ordered)}</section>'
    )


def _plain(scan: Scan) -> str:
    return (
        f'<figure><img src="{data_uri(picture(scan).convert("L"))}" alt="The image without a map">'
        "<figcaption><b>The image</b><p>What every method explains.</p></figcaption></figure>"
    )


def _tile(scan: Scan, found: Attribution) -> str:
    name = escape(METHOD_NAMES[found.method])
    full = f"{found.scale:.2g}"
    scale = f"Full red at {full}" if found.method in _ONLY_FOR else f"Full colour at ±{full}"
    took = "" if found.took_ms is None else f" · {_seconds(found.took_ms)}"
    alt = f"{name}: red regions speak for {name_of(found.target)}" + (
        "" if found.method in _ONLY_FOR else ", blue ones against it"
    )
    mapped = data_uri(overlay(scan, on_grid(found, scan.shape), OPACITY))
    return (
        f'<figure class="is-{state(found)}" data-method="{escape(found.method)}">'
        f'<img src="{mapped}" alt="{escape(alt, quote=True)}">'
        f"<figcaption><b>{name}</b>{badge(found)}<p>{escape(HOW[found.method])}</p>"
        f'<p class="mri-quiet">{scale}, the same for every image{took}</p>'
        f"<details><summary>What was checked</summary>{reasons(found)}</details></figcaption></figure>"
    )


def _waiting(method: str) -> str:
    name = escape(METHOD_NAMES[method])
    return (
        f'<figure class="is-waiting"><div class="mri-blank"></div><figcaption><b>{name}</b>'
        f'<p class="mri-quiet mri-busy">Working out …</p></figcaption></figure>'
    )


def _agreement(scan: Scan, maps: Sequence[Attribution]) -> str:
    """How far the evidence for the class lies in the same places: a sentence, and each pair folded away.

    Without the consensus, which is made of two of the others.
    """
    maps = [found for found in maps if found.method != "consensus"]
    if len(maps) < 2:
        return ""
    inside = content(scan)
    evidence = {found.method: cells(found).clip(0)[inside] for found in maps}
    pairs = {
        (a, b): (rank_correlation(evidence[a], evidence[b]), top_overlap(evidence[a], evidence[b]))
        for a, b in combinations(evidence, 2)
    }
    mean = sum(rho for rho, _ in pairs.values()) / len(pairs)
    shared = sum(overlap for _, overlap in pairs.values()) / len(pairs)
    rows = "".join(
        f"<tr><th scope=row>{METHOD_NAMES[a]}, {METHOD_NAMES[b]}</th><td>{rho:.2f}</td><td>{overlap:.0%}</td></tr>"
        for (a, b), (rho, overlap) in sorted(pairs.items(), key=lambda pair: -pair[1][0])
    )
    return (
        f'<p class="mri-agree">{_in_words(mean)} Their evidence for the class has a rank correlation of {mean:.2f}; '
        f"of their strongest tenth they share {shared:.0%}, by chance 10%.</p>"
        "<details><summary>Agreement pair by pair</summary><table><thead><tr><th scope=col>methods</th>"
        "<th scope=col>rank correlation</th><th scope=col>strongest tenth shared</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></details>"
    )


def _in_words(correlation: float) -> str:
    if correlation >= 0.6:
        return "These methods agree."
    return "These methods agree in part." if correlation >= 0.3 else "These methods disagree: trust no single map."


def _seconds(milliseconds: float) -> str:
    return f"{milliseconds / 1000:.1f} s"
