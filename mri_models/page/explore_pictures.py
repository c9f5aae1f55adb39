"""A montage: the bundled examples, and images of the corpus where it is on this machine and their licence allows it.

The corpus is read only when MRI_CORPUS names it. Nothing of it is written anywhere.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

from mri_models.page.explore_plot import quiet
from mri_models.page.gallery import Example, data_uri, picture
from mri_models.page.render import name_of
from mri_models.types import Scan

OPEN = ("CC0", "CC BY 3.0", "CC BY 4.0", "CC BY-SA 3.0", "CC BY-SA 4.0", "MIT", "Apache-2.0")
EACH = 6  # images of a class
ASK = (
    "With the training corpus on this machine, <code>MRI_CORPUS=FOLDER python app.py</code> adds its images whose "
    "licence allows it."
)


@dataclass(frozen=True, slots=True)
class Picture:
    """One image of the corpus; `source` and `licence` are told below it."""

    path: Path
    part: str
    label: str
    patient: str
    source: str
    licence: str


def montage(examples: Mapping[str, Example], read: Callable[[Path], Scan], corpus: Path | None = None) -> str:
    """Bundled examples first, then the corpus by body part and label."""
    tiles = [
        _tile(shown, example.alt, escape(example.caption), escape(example.licence))
        for example in examples.values()
        if (shown := picture(example.path, read))
    ]
    bundled = _group("Bundled examples", tiles) if tiles else quiet("There are no bundled examples here.")
    chosen = pick(open_pictures(corpus)) if corpus else {}
    groups = "".join(
        _group(_title(part, label), [_corpus_tile(p) for p in found]) for (part, label), found in chosen.items()
    )
    return f"{bundled}{groups or quiet(ASK)}"


def open_pictures(corpus: Path) -> list[Picture]:
    """MRI images of the corpus whose licence, as its manifest states it, allows it; none without a manifest."""
    manifest = corpus / "manifest.csv"
    if not manifest.is_file():
        return []
    with manifest.open(newline="", encoding="utf-8") as stream:
        return [
            Picture(corpus / row["path"], row["body_part"], row["label"], row["patient"], row["source"], row["licence"])
            for row in csv.DictReader(stream)
            if row["modality"] == "mri" and row["licence"] in OPEN
        ]


def pick(pictures: Iterable[Picture]) -> dict[tuple[str, str], list[Picture]]:
    """At most EACH of every body part and label, of as many patients, spread evenly; largest groups first."""
    groups: defaultdict[tuple[str, str], dict[str, Picture]] = defaultdict(dict)
    for one in pictures:
        groups[one.part, one.label].setdefault(one.patient, one)
    ordered = sorted(groups, key=lambda key: (key[0], -len(groups[key])))
    return {key: _spread(list(groups[key].values())) for key in ordered}


def _spread(found: list[Picture]) -> list[Picture]:
    step = max(1, len(found) // EACH)
    return found[::step][:EACH]


def _title(part: str, label: str) -> str:
    return f"{part[:1].upper()}{part[1:]}: {name_of(label)}" if label else f"{part[:1].upper()}{part[1:]}"


def _corpus_tile(one: Picture) -> str:
    with Image.open(one.path) as image:
        shown = image.convert("RGB")
    alt = f"{one.part} MRI, {name_of(one.label) if one.label else 'without label'}, from {one.source}"
    return _tile(shown, alt, escape(one.source), escape(one.licence))


def _group(title: str, tiles: Iterable[str]) -> str:
    return f'<section><h2 class="exp-title">{escape(title)}</h2><div class="exp-tiles">{"".join(tiles)}</div></section>'


def _tile(shown: Image.Image, alt: str, caption: str, licence: str) -> str:
    return (
        f'<figure><img src="{data_uri(shown)}" alt="{escape(alt, quote=True)}" loading="lazy">'
        f"<figcaption>{caption}<small>{licence}</small></figcaption></figure>"
    )
