"""One language's words: terms with their articles, bands of confidence, numbers; fills the sentences of the rules."""

from __future__ import annotations

import functools
import string
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mri_models.types import Disc, Mask

LANGUAGES = ("en", "de")
_WORDS = Path(__file__).with_name("rules") / "words.toml"
_AND = {"en": "and", "de": "und"}


@functools.cache
def vocabulary() -> Mapping[str, Any]:
    """rules/words.toml as it is."""
    return tomllib.loads(_WORDS.read_text(encoding="utf-8"))


class Wording(string.Formatter):
    """Fills sentences like "It resembles {diagnosis.label:a}" in one language; facts are named in full, dots included.

    Forms after the colon: score, share, share1, whole (numbers); above (a share of the held-out normal brains); band (a
    class score in words and its range); name, a, to (a term's forms, Name capitalised); list (several terms); outlines,
    sizes (of a mask); grades (of discs); one|many (chosen by a number or by how many there are).
    """

    def __init__(self, language: str):
        if language not in LANGUAGES:
            raise ValueError(f"language must be one of {LANGUAGES}, got {language!r}")
        self.language = language
        numbers = {"score": self.score, "share": self.share, "share1": self.share1, "above": self.above}
        parts = {"outlines": self.outlines, "sizes": self.sizes, "grades": self.grades}
        self._forms = numbers | parts | {"band": self.band}

    def fill(self, sentence: str, facts: Mapping[str, Any]) -> str:
        """The sentence with its facts; KeyError for a fact that is not known."""
        return self.vformat(sentence, (), {"bands": self.legend(), **facts})

    def get_field(self, field_name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, str]:
        return kwargs[field_name], field_name

    def format_field(self, value: Any, format_spec: str) -> str:
        if "|" in format_spec:
            one, many = format_spec.split("|")
            return one if (value if isinstance(value, int | float) else len(value)) == 1 else many
        if format_spec in self._forms:
            return self._forms[format_spec](value)
        if format_spec == "whole":
            return str(round(value))
        if format_spec == "list":
            return self.join([self.term(part) for part in value])
        return self.term(value, format_spec) if format_spec else str(value)

    def score(self, value: float) -> str:
        """Two digits, without rounding to a certainty that no model has, in either direction."""
        if value > 0.99:
            return self._point(">0.99")
        return self._point("<0.01" if 0 < value < 0.005 else f"{value:.2f}")

    def threshold(self, value: float) -> str:
        """The least score that is accepted; "never" where none is."""
        return self.score(value) if value <= 1 else self.phrase("never")

    def share(self, value: float) -> str:
        """Whole per cent, 0 and 100 only where they are exact."""
        percent = round(value * 100)
        if percent == 100 and value < 1:
            return self._percent(">99")
        return self._percent("<1" if percent == 0 and value > 0 else str(percent))

    def above(self, value: float) -> str:
        """How an anomaly score compares with normal brains: higher than 92% of them, or than all."""
        return self.phrase("above_all") if value == 1 else self.phrase("above").format(self.share(value))

    def share1(self, value: float) -> str:
        """Per cent with one digit, for values near 100, which like 0 stands only where it is exact."""
        percent = f"{value * 100:.1f}"
        if percent == "100.0" and value < 1:
            percent = ">99.9"
        return self._percent(self._point("<0.1" if percent == "0.0" and value > 0 else percent))

    def band(self, confidence: float) -> str:
        """A class score in words with the range that the words stand for: "likely (0.80–0.95)"."""
        bands = vocabulary()["bands"]
        place = next(i for i, band in enumerate(bands) if confidence >= band["from"])
        return f"{bands[place][self.language]} ({self._range(place)})"

    def legend(self) -> str:
        """All bands of confidence in one line."""
        bands = vocabulary()["bands"]
        return "; ".join(f"{band[self.language]} {self._range(place)}" for place, band in enumerate(bands))

    def term(self, term: str, form: str = "name") -> str:
        """A term of words.toml in one of its forms; a label that is not there stands for itself."""
        known = vocabulary()["terms"].get(term)
        forms = known[self.language] if known else vocabulary()["unknown"][self.language]
        text = forms[form.lower()].format(term.replace("_", " "))
        return text[0].upper() + text[1:] if form == "Name" else text

    def target(self, target: str) -> str:
        """What a map is about: a class, or something at one level of a spine ("degeneration at L5/S1")."""
        what, at, level = target.partition(" at ")
        return f"{self.term(what)} {self.phrase('at')} {level}" if at else self.term(what)

    def outlines(self, mask: Mask) -> str:
        """Everything that a network outlines, found or not."""
        return self.join([self._outline(label) for label in mask.labels])

    def sizes(self, mask: Mask) -> str:
        """What was outlined and how large it is: "discs, 2310 mm²; spinal canal, 1480 mm²"."""
        return "; ".join(
            f"{self._outline(label)}, {_size(mask, label)}" for label in mask.labels if mask.area_px(label)
        )

    def grades(self, discs: Sequence[Disc]) -> str:
        """Each disc's grade or range of grades: "L5/S1 4, L4/L5 2 or 3"."""
        return ", ".join(f"{disc.level} {' '.join(map(self.term, disc.stated.split()))}" for disc in discs)

    def join(self, parts: Sequence[str]) -> str:
        """ "a", "a and b", "a, b and c"."""
        if len(parts) < 2:
            return "".join(parts)
        return f"{', '.join(parts[:-1])} {_AND[self.language]} {parts[-1]}"

    def heading(self, name: str) -> str:
        return vocabulary()["headings"][name][self.language]

    def column(self, name: str) -> str:
        return vocabulary()["columns"][name][self.language]

    def phrase(self, name: str) -> str:
        return vocabulary()["phrases"][name][self.language]

    @property
    def disclaimer(self) -> str:
        return vocabulary()["disclaimer"][self.language]

    def _outline(self, label: str) -> str:
        known = vocabulary()["outlines"].get(label)
        return known[self.language] if known else self.term(label)

    def _range(self, place: int) -> str:
        bands = vocabulary()["bands"]
        high = bands[place - 1]["from"] if place else 1.0
        return self._point(f"{bands[place]['from']:.2f}–{high:.2f}")

    def _point(self, number: str) -> str:
        return number.replace(".", ",") if self.language == "de" else number

    def _percent(self, number: str) -> str:
        return f"{number}\N{NO-BREAK SPACE}%" if self.language == "de" else f"{number}%"


def _size(mask: Mask, label: str) -> str:
    """Square millimetres, where the file stated the size of a pixel."""
    mm2 = mask.area_mm2(label)
    if mm2 is None:
        return f"{mask.area_px(label)} px"
    return f"{mm2:.0f} mm²" if mm2 >= 0.5 else "<1 mm²"


def trait(term: str, name: str) -> Any:
    """What words.toml says of a term beside its forms: group, region, urgent, nothing; None where it says nothing."""
    return vocabulary()["terms"].get(term, {}).get(name)
