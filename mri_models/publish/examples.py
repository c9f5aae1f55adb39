"""The bundled examples, and images of a corpus whose licence lets them be shown again, with credit.

Nothing of a corpus is written anywhere: a chosen image is decoded and encoded again in memory, which leaves only its
pixels, and goes from there to the Hub.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from mri_models.errors import DataError, InputError, PublishError
from mri_models.intake import read_scan
from mri_models.publish.plan import Upload
from mri_models.quality import check_quality

LISTING, SOURCES, VOLUMES = "expected.json", "SOURCES.md", "volumes"
LICENCES = ("CC BY 4.0", "CC BY 3.0", "CC0")  # exactly these words, so that "CC BY 4.0 (not confirmed)" is none
_RULES = Path(__file__).with_name("examples.toml")
_COLUMNS = {"path", "modality", "body_part", "label", "patient", "split", "source", "licence", "note"}
_DOUBTS = ("sim_", "unsure", "box_iou")  # the manifest's words for near-duplicates and doubtful labels
_CREDITS = """
## Added when this Space was published

The files below are images of the test patients of the training corpus, and so what is said above of the corpus does
not hold for them: no model learned from these patients. One image for each label of its source, the first by the
SHA-256 of its path in the corpus, whatever the models make of it. The label is the source's.

| file | what it shows | origin | licence | changes |
|---|---|---|---|---|
"""


@dataclass(frozen=True, slots=True)
class Chosen:
    """One image of a corpus as the Space shows it: `png` holds its pixels and nothing else."""

    name: str
    caption: str
    alt: str
    label: str
    credit: str
    licence: str
    png: bytes

    def entry(self) -> dict[str, str | None]:
        """Its place in expected.json; no refusal is expected of it, which is what `stage` means."""
        shown = {"caption": self.caption, "alt": self.alt, "licence": f"{self.licence}, {self.credit}"}
        return {"stage": None, "label": self.label} | shown


def example_files(folder: Path, chosen: Sequence[Chosen] = ()) -> list[Upload]:
    """The images and volumes that the expected.json of `folder` and of its volumes/ list, and SOURCES.md.

    `chosen` stands behind them in the listing and in SOURCES.md. Raises PublishError for a listed file that is missing
    or that SOURCES.md does not name.
    """
    try:
        listing = json.loads((folder / LISTING).read_text("utf-8"))
        volumes = folder / VOLUMES / LISTING
        names = [*listing, *(f"{VOLUMES}/{name}" for name in json.loads(volumes.read_text("utf-8")))]
        sources = (folder / SOURCES).read_text("utf-8")
    except (OSError, ValueError) as error:
        raise PublishError("no_examples", f"The examples can't be told from their lists: {error}.") from error
    if wrong := [name for name in names if not (folder / name).is_file() or f"`{name}`" not in sources]:
        raise PublishError("no_examples", f"{wrong[0]} is listed, but missing or not credited in {folder / SOURCES}.")
    files = [Upload(f"examples/{name}", folder / name) for name in (*names, f"{VOLUMES}/{LISTING}")]
    files += [Upload(f"examples/{image.name}", image.png) for image in chosen]
    if chosen:
        listing |= {image.name: image.entry() for image in chosen}
        sources = sources.rstrip() + "\n" + _CREDITS + "".join(f"{_row(image)}\n" for image in chosen)
    listed = json.dumps(listing, indent=2, ensure_ascii=False) + "\n"
    return [*files, Upload(f"examples/{LISTING}", listed.encode()), Upload(f"examples/{SOURCES}", sources.encode())]


def choose(corpus: Path, first: int) -> list[Chosen]:
    """One image for each class of examples.toml; file names count up from `first`.

    Only MRI of test patients under a licence of LICENCES, as both the manifest and examples.toml state it, and each
    patient once. A class without such an image is left out. Raises DataError for a manifest that lacks something.
    """
    rules = tomllib.loads(_RULES.read_text("utf-8"))
    rows = [row for row in _rows(corpus) if _allowed(row, rules["sources"])]
    rows.sort(key=lambda row: hashlib.sha256(row["path"].encode()).hexdigest())
    chosen: list[Chosen] = []
    patients: set[str] = set()
    for wanted in rules["classes"]:
        fitting = (r for r in rows if (r["body_part"], r["label"]) == (wanted["body_part"], wanted["label"]))
        for row, png in _readable(corpus, (row for row in fitting if row["patient"] not in patients)):
            patients.add(row["patient"])
            chosen.append(_chosen(f"{first + len(chosen):02d}", wanted, row, rules["sources"][row["source"]], png))
            break
    return chosen


def _rows(corpus: Path) -> list[dict[str, str]]:
    try:
        with (corpus / "manifest.csv").open(newline="", encoding="utf-8") as stream:
            rows = list(csv.DictReader(stream))
    except OSError as error:
        raise DataError("no_manifest", f"{corpus} holds no readable manifest.csv ({error.strerror}).") from error
    if missing := _COLUMNS - set(rows[0] if rows else {}):
        raise DataError("bad_manifest", f"{corpus / 'manifest.csv'} lacks the columns {sorted(missing)}.")
    return rows


def _allowed(row: Mapping[str, str], sources: Mapping[str, Any]) -> bool:
    source = sources.get(row["source"])
    licensed = source is not None and row["licence"] == source["licence"] and row["licence"] in LICENCES
    doubtful = any(word in row["note"] for word in _DOUBTS)
    return licensed and not doubtful and row["split"] == "test" and row["modality"] == "mri"


def _readable(corpus: Path, rows: Iterable[dict[str, str]]) -> Iterator[tuple[dict[str, str], bytes]]:
    """Rows with their image as PNG, without those that our own intake would refuse."""
    for row in rows:
        path = corpus / row["path"]
        if not path.resolve().is_relative_to(corpus.resolve()):
            raise DataError("bad_manifest", f"The manifest names {row['path']}, which lies outside {corpus}.")
        try:
            check_quality(read_scan(path))
        except InputError:
            continue
        stream = io.BytesIO()
        with Image.open(path) as picture:
            Image.frombytes("L", picture.size, picture.convert("L").tobytes()).save(stream, "PNG", optimize=True)
        yield row, stream.getvalue()


def _chosen(number: str, wanted: Mapping[str, str], row: Mapping[str, str], source: Any, png: bytes) -> Chosen:
    name = f"{number}_{row['source']}_{row['label']}.png"
    caption = f"{wanted['caption']} ({source['name']})"
    return Chosen(name, caption, wanted["alt"], row["label"], source["credit"], row["licence"], png)


def _row(image: Chosen) -> str:
    changes = "one slice, 8 bit, scaled to at most 448 px, metadata removed"
    return f"| `{image.name}` | {image.alt} | {image.credit} | {image.licence} | {changes} |"
