"""What was seen by eye in the corpus: which images stand on their head, and which are not what the manifest says."""

from __future__ import annotations

import fnmatch
import re
import tomllib
from collections.abc import Callable
from pathlib import Path

UPSIDE_DOWN, MISLABELLED = (Path(__file__).with_name(f"{name}.toml") for name in ("upside_down", "mislabelled"))
NOTHING = "nothing"  # no image of anything


def read_overturned() -> Callable[[str, str], bool]:
    """Whether the image (source, stem of the file) stands on its head, as upside_down.toml lists them."""
    listed = tomllib.loads(UPSIDE_DOWN.read_text(encoding="utf-8"))
    known = {source: re.compile("|".join(map(fnmatch.translate, names))) for source, names in listed.items()}
    return lambda source, stem: source in known and known[source].match(stem) is not None


def read_mislabelled() -> dict[tuple[str, str], str]:
    """(source, stem of the file) → the modality that was seen, or NOTHING, where the manifest's is wrong."""
    listed = tomllib.loads(MISLABELLED.read_text(encoding="utf-8"))
    return {
        (source, stem): seen for seen, sources in listed.items() for source, stems in sources.items() for stem in stems
    }
