"""What the models learned from and were tested on: classes by source and split, and mean grey levels, as numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from html import escape

from mri_models.figures import Count, GreyProfile
from mri_models.page.explore_plot import Axes, card, legend, number, quiet, share
from mri_models.page.render import name_of

SPLITS = {"train": "train", "val": "val.", "test": "test"}
MOST = 14  # sources with a row of their own; the others share one
LINES = 5  # profiles of a panel in colour
_PANELS = ("brain", "knee", "spine", "other MRI", "not MRI")


def distribution(counts: Sequence[Count], title: str) -> str:
    """A row for each source, three bars: one scale over all splits, coloured by class."""
    sizes = Counter[str]()
    for row in counts:
        sizes[row.source] += row.images
    own = [source for source, _ in sizes.most_common(MOST if len(sizes) > MOST + 1 else None)]
    labels = sorted({row.label for row in counts}, key=lambda label: -_images(counts, label=label))
    rows = {source: [row for row in counts if row.source == source] for source in own}
    if rest := [row for row in counts if row.source not in rows]:
        rows[f"{len(sizes) - len(own)} more sources"] = rest
    most = [max(max(_images(row, split=split) for row in rows.values()), 1) for split in SPLITS]
    columns = f"--cols:{' '.join(f'{n}fr' for n in most)}"
    head = "".join(f"<span>{name}</span>" for name in SPLITS.values())
    bars = "".join(_row(source, members, labels, most) for source, members in rows.items())
    key = legend(
        (f"s{i} is-solid", name_of(label), number(_images(counts, label=label))) for i, label in enumerate(labels, 1)
    )
    body = (
        f'<div class="exp-sources" style="{columns}"><div class="exp-source is-head"><b></b><p>{head}</p></div>'
        f"{bars}</div>"
    )
    patients = number(sum(row.patients for row in counts))
    note = quiet(
        f"{number(_images(counts))} images of {patients} patients or groups; every bar has the same scale. "
        "A patient is in one split only. Where a source holds one class, a network can learn the source instead."
    )
    return card(f"{escape(title)}: classes by source and split", body, key + note + _table(counts))


def profiles(greys: Sequence[GreyProfile]) -> str:
    """A panel for each body part: how often each grey level is taken, the darkest left out."""
    panels = "".join(
        _panel(group, members) for group in _PANELS if (members := [grey for grey in greys if grey.group == group])
    )
    note = quiet(
        "Mean histograms of at most 60 images a source, stretched as the networks see them; what is higher than the "
        "panel runs along its upper edge. The darkest of 32 bins, mostly background, is left out; its share stands "
        "beside the name. Sources differ where anatomy does not: that is what a network may take for a pattern."
    )
    return f'<section><h2 class="exp-title">Grey levels</h2><div class="exp-many">{panels}</div>{note}</section>'


def _images(counts: Sequence[Count], *, label: str | None = None, split: str | None = None) -> int:
    return sum(row.images for row in counts if label in (None, row.label) and split in (None, row.split))


def _row(source: str, members: Sequence[Count], labels: Sequence[str], most: Sequence[int]) -> str:
    bars, told = "", []
    for split, full in zip(SPLITS, most, strict=True):
        parts = [(i, _images(members, label=label, split=split)) for i, label in enumerate(labels, 1)]
        segments = "".join(f'<i class="c{i}" style="width:{100 * n / full:.2f}%"></i>' for i, n in parts if n)
        bars += f"<span>{segments}</span>"
        told += [f"{split} {n} {name_of(labels[i - 1])}" for i, n in parts if n]
    alt = escape(f"{source}: {', '.join(told)}", quote=True)
    return (
        f'<div class="exp-source" title="{alt}"><b>{escape(source)}</b><p role="img" aria-label="{alt}">{bars}</p>'
        f"<small>{number(_images(members))}</small></div>"
    )


def _table(counts: Sequence[Count]) -> str:
    rows = "".join(
        f"<tr><th scope=row>{escape(row.source)}</th><td>{escape(name_of(row.label))}</td><td>{row.split}</td>"
        f"<td>{row.images}</td><td>{row.patients}</td></tr>"
        for row in counts
    )
    return (
        '<details class="exp-fold"><summary>The same as a table</summary><div class="mri-scroll" tabindex="0" '
        'role="group" aria-label="The same as a table"><table>'
        "<thead><tr><th scope=col>source</th><th scope=col>class</th><th scope=col>split</th><th scope=col>images</th>"
        f"<th scope=col>patients</th></tr></thead><tbody>{rows}</tbody></table></div></details>"
    )


def _panel(group: str, members: Sequence[GreyProfile]) -> str:
    top = 1.1 * max(max(grey.shares[1:-1]) for grey in members[:LINES])  # white borders and margins would flatten all
    axes = Axes(270, 190, 0, 1, 0, top)
    bins = len(members[0].shares)
    levels = [(i + 1.5) / (bins + 1) for i in range(bins)]
    kinds = [f"s{i}" for i in range(1, LINES + 1)] + ["is-faint"] * len(members)
    drawn = [([min(part, top) for part in grey.shares], kind) for grey, kind in zip(members, kinds, strict=False)]
    lines = "".join(axes.line(levels, shares, kind) for shares, kind in reversed(drawn))
    drawing = axes.grid((0, 0.5, 1), (0,), ("grey level, black to white", ""), "") + lines
    alt = f"Mean grey levels, {group}: " + ", ".join(f"{g.source} {share(g.dark, 0)} darkest" for g in members)
    keys = [(f"s{i}", grey.source, share(grey.dark, 0)) for i, grey in enumerate(members[:LINES], 1)]
    if others := members[LINES:]:
        keys.append(("is-faint", ", ".join(grey.source for grey in others), ""))
    return card(f"{group[:1].upper()}{group[1:]}", axes.svg(drawing, alt), legend(keys))
