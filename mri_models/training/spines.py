"""Graded spines of the corpus: every slice with the places of its discs, as varied crops for the grader."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from mri_models.discs import crop_tensor
from mri_models.errors import DataError
from mri_models.levels import LEAST, Place, places, to_crop
from mri_models.training.augment import GENTLE, Rng, text
from mri_models.training.corpus import read_pixels
from mri_models.training.inspected import read_overturned
from mri_models.types import Scan
from mri_models.types.discs import LEVELS

SOURCE = "spider"
GRADINGS, BOXES = "tables/spider_gradings.csv", "tables/spider_disc_boxes.csv"
COLUMNS = ("Pfirrman grade", "Disc narrowing", "Disc bulging", "Disc herniation")
UNKNOWN = (-1, -1, -1, -1)
STRENGTH = 0.6  # of the gentle augmentation: half of a grade is a disc's grey beside the fluid's
SAME = 0.3  # of the spacing: discs of two sequences of a patient that lie closer are the same disc

Boxes = list[tuple[float, float, float, float]]  # top, left, bottom, right in pixels, from L5/S1 upwards
Finder = Callable[[Scan], Sequence[Sequence[float]]]


@dataclass(frozen=True, slots=True, eq=False)
class Spine:
    """One sagittal slice: pixels (H, W) uint8, its discs from L5/S1 upwards and what readers said about each.

    labels: (n, 4) grade 1 to 5, narrowing, bulging, herniation 0 or 1; -1 where nobody graded that level.
    boxes: where its places come from: "table", "pair" (the other sequence's on the same grid) or "found".
    trusted: false where the boxes found on two sequences of one grid disagree; such a slice teaches nothing.
    """

    name: str
    pixels: np.ndarray
    places: tuple[Place, ...]
    labels: np.ndarray
    patient: str
    split: str
    sequence: str
    boxes: str
    worst: int  # grade of the worst disc of the patient's lumbar spine
    trusted: bool = True


@dataclass(frozen=True, slots=True)
class Slice:
    """A row of the manifest; grid: the original's (width, height); lies: whether it stands on its head."""

    path: Path
    patient: str
    split: str
    sequence: str
    worst: int
    grid: tuple[int, int]
    lies: bool = False

    def pixels(self, longest: int) -> np.ndarray:
        """(H, W) uint8 at most `longest` px a side, upright."""
        pixels = read_pixels(self.path, longest)
        return np.ascontiguousarray(np.rot90(pixels, 2)) if self.lies else pixels


def read_spines(data: Path, finder: Finder | None, longest: int) -> list[Spine]:
    """Every graded slice whose discs are in the tables, or lie where its twin's do, or are found by `finder`."""
    slices, tabled, graded = read_slices(data), read_boxes(data / BOXES), read_gradings(data / GRADINGS)
    spines = []
    for one in slices:
        pixels = one.pixels(longest)
        boxes, origin = known_boxes(one, slices, tabled)
        if boxes:
            share = pixels.shape[1] / one.grid[0]
            boxes = [tuple(edge * share for edge in box) for box in boxes]
        elif finder:
            boxes = list(finder(Scan(pixels.astype(np.float32) / 255)))[: len(LEVELS)]
        if len(boxes) < LEAST:
            continue
        number = int(one.patient.partition(":")[2])
        labels = np.array([graded.get((number, level), UNKNOWN) for level in range(1, 1 + len(boxes))])
        where = tuple(places(boxes))
        spines.append(
            Spine(one.path.stem, pixels, where, labels, one.patient, one.split, one.sequence, origin, one.worst)
        )
    return without_doubt(spines, {one.path.stem: one.grid for one in slices})


def known_boxes(one: Slice, slices: Sequence[Slice], tabled: dict[str, Boxes]) -> tuple[Boxes, str]:
    """The table's boxes of a slice, else those of a slice of the same patient and grid, and where they come from.

    None of a slice that is turned first: the tables say where its discs were before.
    """
    if one.lies:
        return [], "found"
    if one.path.stem in tabled:
        return tabled[one.path.stem], "table"
    for other in slices:
        same = other.patient == one.patient and other.grid == one.grid and not other.lies
        if same and other.path.stem in tabled:
            return tabled[other.path.stem], "pair"
    return [], "found"


def without_doubt(spines: Sequence[Spine], grids: dict[str, tuple[int, int]]) -> list[Spine]:
    """The same spines, those marked whose found discs lie elsewhere than on the other sequence of the same grid."""
    by_grid: defaultdict[tuple[str, tuple[int, int]], list[Spine]] = defaultdict(list)
    for spine in spines:
        by_grid[spine.patient, grids[spine.name]].append(spine)
    return [
        replace(spine, trusted=all(agree(spine, other) for other in by_grid[spine.patient, grids[spine.name]]))
        for spine in spines
    ]


def agree(one: Spine, other: Spine) -> bool:
    """Whether the discs of two slices of one grid lie at the same places, as far up as both go."""
    pairs = zip(one.places, other.places, strict=False)
    return all(np.hypot(*np.subtract(a.centre, b.centre)) < SAME * a.spacing for a, b in pairs)


def read_slices(data: Path) -> list[Slice]:
    """The graded slices of the manifest; DataError when a note lacks the original's size."""
    with (data / "manifest.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["source"] == SOURCE]
    found, overturned = [], read_overturned()
    for row in rows:
        grid = re.match(r"orig (\d+)x(\d+)", row["note"])
        if not grid:
            raise DataError("bad_manifest", f'{row["path"]}: its note should begin with "orig WxH", see DATA.md.')
        size = (int(grid[1]), int(grid[2]))
        worst = int(row["label"].rpartition("_")[2])
        path = data / row["path"]
        lies = overturned(SOURCE, path.stem)
        found.append(Slice(path, row["patient"], row["split"], row["sequence"], worst, size, lies))
    return found


def read_boxes(table: Path) -> dict[str, Boxes]:
    """Boxes of each slice by its name, in pixels of the original, from L5/S1 upwards."""
    found: defaultdict[str, dict[int, tuple[float, float, float, float]]] = defaultdict(dict)
    with table.open(newline="") as stream:
        for row in csv.DictReader(stream):
            edges = (float(row["y0"]), float(row["x0"]), float(row["y1"]), float(row["x1"]))
            found[row["img"]][int(row["IVD label"])] = edges
    return {name: [levels[i] for i in sorted(levels)] for name, levels in found.items()}


def read_gradings(table: Path) -> dict[tuple[int, int], tuple[int, ...]]:
    """(patient, level from 1 = L5/S1) → grade, narrowing, bulging, herniation."""
    with table.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {(int(r["Patient"]), int(r["IVD label"])): tuple(int(float(r[c])) for c in COLUMNS) for r in rows}


class Spines(Dataset):
    """Items: pixel_values (n, 3, H, W), levels (n,), labels (n, 4) of one slice; `train` switches augmentation on."""

    def __init__(self, spines: Sequence[Spine], size: tuple[int, int], wide: float, *, train: bool):
        cv2.setNumThreads(0)  # the loader's processes are the parallelism
        self.spines, self.size, self.wide, self.train = spines, size, wide, train

    def __len__(self) -> int:
        return len(self.spines)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        spine = self.spines[index]
        pixels = spine.pixels.astype(np.float32) / 255
        rng = np.random.default_rng(int(torch.randint(2**31, ()))) if self.train else None
        crops = self.varied(pixels, spine.places, rng) if rng else self.plain(pixels, spine.places)
        return {
            "pixel_values": torch.stack(crops),
            "levels": torch.arange(len(crops)),
            "labels": torch.from_numpy(spine.labels),
        }

    def plain(self, pixels: np.ndarray, where: Sequence[Place]) -> list[torch.Tensor]:
        """Crops as serving makes them."""
        return [crop_tensor(pixels, to_crop(place, self.size, self.wide), self.size) for place in where]

    def varied(self, pixels: np.ndarray, where: Sequence[Place], rng: Rng) -> list[torch.Tensor]:
        """Crops of a slice that is mirrored or not, each a little off its place and of other contrast."""
        mirrored = rng.random() < 0.5
        zoom = np.exp(rng.normal(0, 0.08))
        crops = []
        for place in where:
            affine = to_crop(jittered(place, zoom, rng), self.size, self.wide)
            if mirrored:
                affine = np.array([[-1, 0, self.size[1] - 1], [0, 1, 0]]) @ np.vstack([affine, [0, 0, 1]])
            crops.append(crop_tensor(pixels, affine, self.size, lambda crop: vary(crop, rng)))
        return crops


def jittered(place: Place, zoom: float, rng: Rng) -> Place:
    """A place as another outline might have given it."""
    shift = rng.normal(0, 0.05, 2) * place.spacing
    middle = (place.centre[0] + shift[0], place.centre[1] + shift[1])
    return Place(middle, place.tilt + rng.normal(0, 0.09), place.spacing * zoom * np.exp(rng.normal(0, 0.04)))


def coarser(crop: np.ndarray, rng: Rng) -> np.ndarray:
    """As if scanned with fewer pixels."""
    small = cv2.resize(crop, None, fx=(share := rng.uniform(0.4, 0.9)), fy=share, interpolation=cv2.INTER_AREA)
    return cv2.resize(small, crop.shape[::-1], interpolation=cv2.INTER_LINEAR)


STEPS = ((0.2, coarser), *(step for step in GENTLE if step[1] is not text))  # nobody writes across a disc


def vary(crop: np.ndarray, rng: Rng) -> np.ndarray:
    """Another scanner's grey levels; nothing that would wipe a disc out."""
    for probability, step in STEPS:
        if rng.random() < STRENGTH * probability:
            crop = np.clip(step(crop, rng), 0, 1)
    return crop.astype(np.float32)
