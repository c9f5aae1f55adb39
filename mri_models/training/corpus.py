"""The manifest as samples with targets: which image teaches which task, and how often it is drawn."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from mri_models.errors import DataError
from mri_models.intake import read_scan
from mri_models.pixels import stretch
from mri_models.training.inspected import read_mislabelled, read_overturned

# The label spaces, in the order of each network's outputs.
TASKS: dict[str, tuple[str, ...]] = {
    "gate": ("mri", "not_mri"),
    "body_part": ("brain", "knee", "spine", "other"),
    "brain": ("glioma", "meningioma", "pituitary", "no_tumor", "other_abnormality"),
    "spine": ("low", "moderate", "severe"),
}
IGNORE = -100  # torch's cross-entropy skips it
PFIRRMANN = 5  # grades of a disc, 1 to 5
_BRAIN = {"other_lesion": "other_abnormality"} | {name: name for name in TASKS["brain"]}
_SPINE = {f"max_pfirrmann_{grade}": "low" for grade in (1, 2, 3)}
_SPINE |= {"max_pfirrmann_4": "moderate", "max_pfirrmann_5": "severe"}
# Brain images that nobody labelled still say something: the patterns that may be there, by source.
_POSSIBLE = {
    "open_ms": ("no_tumor", "other_abnormality"),  # multiple sclerosis; not each slice shows a lesion
    "medpix": ("glioma", "meningioma", "pituitary", "other_abnormality"),  # teaching cases, mostly abnormal
}


@dataclass(frozen=True, slots=True)
class Disc:
    """One graded disc: its box in shares of the image (y0, x0, y1, x1) and its Pfirrmann grade, 1 to 5."""

    box: tuple[float, float, float, float]
    grade: int


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of the corpus; targets[task] is a class index or IGNORE."""

    path: Path
    mask: Path | None
    patient: str
    source: str
    split: str
    modality: str
    body_part: str
    targets: dict[str, int]
    note: str
    possible: tuple[str, ...] = ()  # brain labels that an unlabelled image may have; () when nothing is known
    discs: tuple[Disc, ...] = ()  # all discs of the slice, or () where they are not known
    lies: int = 0  # quarters of a turn against the clock by which it was put into the corpus, up to left and right
    mislabelled: str = ""  # the modality that was seen by eye, or "nothing", where the manifest's is wrong


def targets_of(row: dict[str, str]) -> dict[str, int]:
    """What a manifest row says about each task."""
    is_mri = row["modality"] == "mri"
    part = row["body_part"]
    names = {
        "gate": "mri" if is_mri else "not_mri",
        "body_part": (part if part in TASKS["body_part"] else "other") if is_mri else None,
        "brain": _BRAIN.get(row["label"]) if is_mri and part == "brain" else None,
        "spine": _SPINE.get(row["label"]) if is_mri and part == "spine" else None,
    }
    return {task: classes.index(names[task]) if names[task] else IGNORE for task, classes in TASKS.items()}


def possible_patterns(row: dict[str, str]) -> tuple[str, ...]:
    """The brain labels that an unlabelled brain image of this source may have; () when nothing is known."""
    unlabelled = row["modality"] == "mri" and row["body_part"] == "brain" and not row["label"]
    return _POSSIBLE.get(row["source"], ()) if unlabelled else ()


def read_corpus(data: Path) -> list[Sample]:
    """All rows of DATA/manifest.csv.

    Raises DataError when the folder or a column is missing.
    """
    manifest = data / "manifest.csv"
    if not manifest.is_file():
        raise DataError(
            "no_manifest", f"{data} holds no manifest.csv; give --data a folder laid out like DATA.md says."
        )
    with manifest.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    if missing := {"path", "modality", "body_part", "label", "patient", "split", "source"} - set(
        rows[0] if rows else {}
    ):
        raise DataError("bad_manifest", f"{manifest} lacks the columns {sorted(missing)}.")
    discs = read_discs(data / "tables" / "spider_disc_boxes.csv")
    overturned, mislabelled = read_overturned(), read_mislabelled()
    return [
        Sample(
            path=data / row["path"],
            mask=data / row["mask"] if row.get("mask") else None,
            patient=row["patient"],
            source=row["source"],
            split=row["split"],
            modality=row["modality"],
            body_part=row["body_part"],
            targets=targets_of(row),
            note=row.get("note", ""),
            possible=possible_patterns(row),
            discs=scaled(discs.get(Path(row["path"]).stem, ()), row) if row["source"] == "spider" else (),
            lies=2 if overturned(row["source"], Path(row["path"]).stem) else 0,
            mislabelled=mislabelled.get((row["source"], Path(row["path"]).stem), ""),
        )
        for row in rows
    ]


def read_discs(table: Path) -> dict[str, tuple[Disc, ...]]:
    """The discs of each slice by its name, boxes in pixels of the original; empty when there is no such table."""
    found: defaultdict[str, list[Disc]] = defaultdict(list)
    if table.is_file():
        with table.open(newline="") as stream:
            for row in csv.DictReader(stream):
                box = tuple(float(row[edge]) for edge in ("y0", "x0", "y1", "x1"))
                found[row["img"]].append(Disc(box, int(row["Pfirrman grade"])))
    return {name: tuple(discs) for name, discs in found.items()}


def scaled(discs: Sequence[Disc], row: dict[str, str]) -> tuple[Disc, ...]:
    """Boxes in shares of the image; the manifest's note tells the original's size ("orig WxH")."""
    original = re.match(r"orig (\d+)x(\d+)", row.get("note", ""))
    if not discs or not original:
        return ()
    width, height = map(int, original.groups())
    return tuple(
        dataclasses.replace(disc, box=tuple(np.array(disc.box) / (height, width, height, width))) for disc in discs
    )


def split_hash(samples: Sequence[Sample]) -> str:
    """SHA-256 over (patient, split): two runs with the same hash saw the same division of patients."""
    lines = sorted({f"{sample.patient}\t{sample.split}" for sample in samples})
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def trainable(sample: Sample, leave_out: Sequence[str] = ()) -> bool:
    """Training rows only, without left-out sources, without slices that resemble other patients' (`sim_`), and without
    those that are not what the manifest says."""
    known = sample.split == "train" and sample.source not in leave_out
    return known and "sim_" not in sample.note and not sample.mislabelled


def read_pixels(path: Path, longest: int = 256) -> np.ndarray:
    """(H, W) uint8 as served: coloured marks painted over, percentile-stretched; longest side at most `longest`."""
    pixels = Image.fromarray((stretch(read_scan(path).pixels) * 255).round().astype(np.uint8))
    pixels.thumbnail((longest, longest), Image.Resampling.BICUBIC)
    return np.asarray(pixels)


def read_mask(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8 0/255 outline on the grid of `shape`."""
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize((shape[1], shape[0]), Image.Resampling.NEAREST))


def draw_discs(discs: Sequence[Disc], shape: tuple[int, int]) -> np.ndarray:
    """(H, W) uint8: the grade inside the middle half of each disc's box, 0 elsewhere."""
    drawn = np.zeros(shape, np.uint8)
    height, width = shape
    for disc in sorted(discs, key=lambda disc: disc.grade):
        y0, x0, y1, x1 = disc.box
        dy, dx = (y1 - y0) / 4, (x1 - x0) / 4
        rows = slice(int((y0 + dy) * height), int(np.ceil((y1 - dy) * height)))
        drawn[rows, int((x0 + dx) * width) : int(np.ceil((x1 - dx) * width))] = disc.grade
    return drawn


def draw_weights(
    samples: Sequence[Sample], mix: dict[str, float], favoured: Mapping[str, float] | None = None
) -> np.ndarray:
    """(N,) probability of drawing each sample: `mix` over tasks, equal over a task's classes, and
    inside a class by the square root of each source's size (non-MRI counts modality as part of the source), times what
    `favoured` gives its body part.

    Brain images of which only the possible patterns are known are drawn like one more class of that task."""
    favoured = favoured or {}
    weights = np.zeros(len(samples))
    for task, share in mix.items():
        cells = [
            (_draw_class(sample, task), sample.source, sample.modality, sample.body_part)
            if _draw_class(sample, task) != IGNORE
            else None
            for sample in samples
        ]
        sizes = Counter(cell for cell in cells if cell)
        roots = {cell: np.sqrt(size) * favoured.get(cell[-1], 1) for cell, size in sizes.items()}
        whole: Counter[int] = Counter()
        for (label, *_), root in roots.items():
            whole[label] += root
        for i, cell in enumerate(cells):
            if cell:
                weights[i] += share / len(whole) * roots[cell] / whole[cell[0]] / sizes[cell]
    return weights / weights.sum()


def _draw_class(sample: Sample, task: str) -> int:
    if task == "brain" and sample.possible:
        return len(TASKS[task])
    return sample.targets[task]
