"""What a document is made of; renderers know nothing else.

Sections, statements with their rule, measurements and coded names stay apart from layout, so that a renderer for DICOM
SR (highdicom: one container a section, TEXT and NUM items below it) can be added without touching the others.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mri_models.advice import Sentence

TONES = ("passed", "unsure", "stopped")
SIDE = 640  # px, the longer side of a figure at most: 200 dpi at the largest size in print


@dataclass(frozen=True, slots=True)
class Statements:
    """Sentences, each with the rule that made it."""

    sentences: tuple[Sentence, ...]


@dataclass(frozen=True, slots=True)
class Measurement:
    """A number with a stable name for programs, a label for people and the same number as people read it."""

    name: str
    label: str
    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Measurements:
    """Numbers one below the other."""

    items: tuple[Measurement, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; `codes` says which columns are hashes or identifiers, not words."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    codes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class ColourKey:
    """What the colours of a figure mean: RGB stops from left to right, and a word at either end."""

    stops: tuple[tuple[int, int, int], ...]
    low: str
    high: str


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """pixels: (H, W) or (H, W, 3) uint8, at most SIDE a side; `alt` says what is to be seen."""

    pixels: np.ndarray
    caption: str
    alt: str


@dataclass(frozen=True, slots=True, eq=False)
class Figures:
    """Pictures side by side, with the key to their colours."""

    items: tuple[Figure, ...]
    key: ColourKey | None = None


Block = Statements | Measurements | Table | Figures


@dataclass(frozen=True, slots=True, eq=False)
class Section:
    """name: a stable word for programs."""

    name: str
    heading: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """tone: how the verdict is meant, one of TONES; page_word: "Page" in the document's language."""

    language: str
    title: str
    file: str
    disclaimer: str
    headline: str
    tone: str
    page_word: str
    sections: tuple[Section, ...]

    def section(self, name: str) -> Section | None:
        """The section of that name, where there is one."""
        return next((section for section in self.sections if section.name == name), None)
