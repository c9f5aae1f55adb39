"""The bundled examples as a gallery of buttons, thumbnails included."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mri_models.errors import InputError
from mri_models.types import Scan

SIDE = 144  # px: twice the tile's size on screen
_DRAWN = (  # a torn sheet, for files that no picture can be made of
    '<svg viewBox="0 0 72 72" role="img" aria-label="{alt}"><path d="M22 12h19l10 10v11l-7 5-8-5-7 5-7-4z"/>'
    '<path d="M22 43l7 4 7-5 8 5 7-5v18H22z"/><path d="M41 12v10h10"/></svg>'
)
# One listener for all tiles; the name is looked up among the known examples before anything is opened.
SELECT_JS = """
element.addEventListener('click', (event) => {
  const tile = event.target.closest('[data-example]');
  if (tile) trigger('select', {name: tile.dataset.example});
});
"""


@dataclass(frozen=True, slots=True)
class Example:
    """One file below examples/ and what is expected of it (expected.json)."""

    path: Path
    caption: str
    alt: str
    stage: str | None
    licence: str = ""

    @property
    def answered(self) -> bool:
        """Whether the way leads to the pattern stage."""
        return self.stage in (None, "diagnosis")


def load_examples(folder: Path) -> Mapping[str, Example]:
    """Examples by file name, in the order of expected.json; none when the folder has no such file."""
    listing = folder / "expected.json"
    entries = json.loads(listing.read_text(encoding="utf-8")) if listing.is_file() else {}
    return {
        name: Example(folder / name, entry["caption"], entry["alt"], entry["stage"], entry.get("licence", ""))
        for name, entry in entries.items()
    }


def gallery(examples: Mapping[str, Example], read: Callable[[Path], Scan], what: str = "Images") -> str:
    """Two groups of tiles, without empty ones; `read` opens what Pillow can't show as it is (DICOM, 16 bit)."""
    groups = ((f"{what} to answer", True), (f"{what} to refuse", False))
    return "".join(
        f'<section class="mri-gallery"><h3>{title}</h3><div class="mri-tiles">'
        + "".join(_tile(example, read) for example in examples.values() if example.answered is answered)
        + "</div></section>"
        for title, answered in groups
        if any(example.answered is answered for example in examples.values())
    )


def _tile(example: Example, read: Callable[[Path], Scan]) -> str:
    shown = picture(example.path, read)
    alt = escape(example.alt, quote=True)
    tile = f'<img src="{data_uri(shown)}" alt="{alt}">' if shown else _DRAWN.format(alt=alt)
    name = escape(example.path.name, quote=True)
    return f'<button type="button" data-example="{name}">{tile}<span>{escape(example.caption)}</span></button>'


def picture(path: Path, read: Callable[[Path], Scan]) -> Image.Image | None:
    """The file as 8-bit picture, or None for one that can't be opened."""
    try:
        with Image.open(path) as image:
            if image.mode in ("L", "RGB", "RGBA", "P"):
                return image.convert("RGB")
    except OSError:
        pass  # DICOM, broken or no picture at all: the intake decides
    try:
        return Image.fromarray((read(path).pixels * 255).astype(np.uint8)).convert("RGB")
    except InputError:
        return None


def data_uri(picture: Image.Image) -> str:
    """The picture as a square JPEG of SIDE px inside a data: address."""
    stream = io.BytesIO()
    ImageOps.fit(picture, (SIDE, SIDE)).save(stream, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"
