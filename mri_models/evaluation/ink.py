"""What becomes of an image that somebody drew on: in colour, left so and as served, painted over; and in white."""

from __future__ import annotations

import io
import string
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from mri_models.evaluation.collect import thin
from mri_models.evaluation.tables import cell, table, update_readme
from mri_models.evaluation.turned import answers, asked_of, over_patients
from mri_models.intake import read_scan
from mri_models.pipeline import BODY_PART, BRAIN, GATE, Pipeline
from mri_models.pixels import stretch, to_grey, to_unit
from mri_models.report import MRI
from mri_models.training.corpus import Sample
from mri_models.training.orientation import four_ways, standing

NAME = "ink"
JUDGES = (GATE, BODY_PART, BRAIN)
WAYS = ("nothing drawn", "in colour", "in colour, left so", "in white")
COLOURS = ((255, 0, 0), (255, 255, 0), (0, 255, 0), (0, 128, 255), (255, 128, 0), (255, 0, 255), (0, 255, 255))
QUALITY = 90  # of the JPEG file that is made of every drawn image
NOTE = (
    "Test patients' MRI, upright, on which we drew at random: one to three arrows that point at tissue, on half of the "
    "images a ring, on half letters; saved as JPEG. As served, coloured marks painted over; had they been left; and "
    "drawn in white, which nothing removes. Questions as in the table of turned images. Brackets: 95 % interval over "
    "patients (bootstrap)."
)


@dataclass(frozen=True, slots=True)
class Row:
    """One image. said: by question, (4,) bool, how it is answered in each of WAYS. noticed: whether its coloured marks
    were."""

    sample: Sample
    said: Mapping[str, np.ndarray]
    noticed: bool


def measure_ink(pipeline: Pipeline, samples: Sequence[Sample], split: str, limit: int | None) -> dict[str, Any]:
    """The part of metrics.json about marks: "models" (hashes), "questions" with an estimate for each of WAYS,
    "noticed", the share of images whose coloured marks were, and "strangers", what is painted over that is no MRI."""
    mri, others = standing(samples, split), [s for s in samples if s.split == split and s.modality != MRI]
    rows = [look(pipeline, sample) for sample in tqdm(thin(mri, limit), desc=NAME, leave=False)]
    return {
        "models": {name: pipeline.hashes[name] for name in JUDGES},
        "questions": [{"question": q} | answered(q, found) for q, found in asked_of(rows).items() if found],
        "noticed": over_patients(rows, {"share": [row.noticed for row in rows]}),
        "strangers": strangers(pipeline, thin(others, limit)),
    }


def look(pipeline: Pipeline, sample: Sample) -> Row:
    """One image in all ways."""
    pixels = four_ways(sample)[0]
    colour, white = (as_jpeg(picture) for picture in drawn_on(pixels, zlib.crc32(sample.path.name.encode())))
    scan = read_scan(colour)
    ways = [pixels, scan.pixels, left_so(colour), read_scan(white).pixels]
    return Row(sample, answers(pipeline, [stretch(way) for way in ways], sample), scan.painted)


def drawn_on(pixels: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) float32 in [0, 1] → the same marks in one colour and in white: two (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    marks = np.zeros(pixels.shape, np.uint8)
    rows, columns = np.nonzero(pixels > 0.1)
    for _ in range(rng.integers(1, 4)):
        at = rng.integers(len(rows)) if len(rows) else None
        tip = (columns[at], rows[at]) if at is not None else (pixels.shape[1] / 2, pixels.shape[0] / 2)
        draw_arrow(marks, np.array(tip, float), rng)
    side = min(pixels.shape)
    if rng.random() < 0.5:
        centre, axes = rng.uniform(0.3, 0.7, 2) * pixels.shape[::-1], rng.uniform(0.05, 0.2, 2) * side
        cv2.ellipse(marks, centre.astype(int), axes.astype(int), 0, 0, 360, 255, line(rng, side), cv2.LINE_AA)
    if rng.random() < 0.5:
        words = "".join(rng.choice(list(string.ascii_letters + string.digits), rng.integers(1, 9)))
        corner = (rng.uniform((0.05, 0.1), (0.6, 0.95)) * pixels.shape[::-1]).astype(int)
        cv2.putText(marks, words, corner, 0, rng.uniform(0.0015, 0.003) * side, 255, line(rng, side), cv2.LINE_AA)
    alpha = to_unit(marks)[..., None]
    ground, colour = pixels[..., None] * np.full(3, 255.0), COLOURS[rng.integers(len(COLOURS))]
    in_colour, in_white = (np.rint(ground + alpha * (ink - ground)).astype(np.uint8) for ink in (np.array(colour), 255))
    return in_colour, in_white


def draw_arrow(marks: np.ndarray, tip: np.ndarray, rng: np.random.Generator) -> None:
    """Filled, from a random side; three in ten are heads without a shaft."""
    side, angle = min(marks.shape), rng.uniform(0, 2 * np.pi)
    along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    long, wide = rng.uniform(0.05, 0.16) * side, max(1.0, rng.uniform(0.005, 0.02) * side)
    head = min(0.6 * long, wide * rng.uniform(2.5, 4.5))
    neck, tail = tip - along * head, tip - along * long
    outline = [tip, neck + across * head / 2, neck + across * wide / 2, tail + across * wide / 2]
    outline += [tail - across * wide / 2, neck - across * wide / 2, neck - across * head / 2]
    if rng.random() < 0.3:
        outline = [outline[0], outline[1], outline[-1]]
    cv2.fillPoly(marks, [np.rint(np.array(outline) * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)  # 1/16 px


def line(rng: np.random.Generator, side: int) -> int:
    """A line's width in pixels."""
    return max(1, round(rng.uniform(0.003, 0.012) * side))


def as_jpeg(picture: np.ndarray) -> bytes:
    """(H, W, 3) uint8 → a file."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=QUALITY)
    return file.getvalue()


def left_so(file: bytes) -> np.ndarray:
    """(H, W) float32 in [0, 1], its marks turned to grey with the rest."""
    return to_grey(np.asarray(Image.open(io.BytesIO(file))))[0]


def answered(question: str, rows: Sequence[Row]) -> dict[str, Any]:
    """The share of images that are answered so, in each of WAYS."""
    return over_patients(rows, {way: [row.said[question][at] for row in rows] for at, way in enumerate(WAYS)})


def strangers(pipeline: Pipeline, samples: Sequence[Sample]) -> dict[str, int]:
    """What is painted over that is no MRI, and how much of it the gate lets in."""
    painted = [scan for s in tqdm(samples, desc=f"{NAME}, no MRI", leave=False) if (scan := read_scan(s.path)).painted]
    answers = [pipeline.models[GATE](scan) for scan in painted]
    let_in = sum(answer.accepted and answer.label == MRI for answer in answers)
    return {"images": len(samples), "painted": len(painted), "let_in": let_in}


def render(found: Mapping[str, Any]) -> str:
    """Markdown of `measure_ink`'s result."""
    asked = [[one["question"], one["number"], *(cell(one[way]) for way in WAYS)] for one in found["questions"]]
    no_mri = found["strangers"]
    said = (
        f"Coloured marks were noticed on {cell(found['noticed']['share'])} of these images. Of {no_mri['images']} "
        f"images that are no MRI, {no_mri['painted']} hold colour that was painted over; {no_mri['let_in']} got in."
    )
    return f"{table(['question', 'images', *WAYS], asked)}\n\n{NOTE} {said}"


def write_ink_table(found: Mapping[str, Any], readme: Path) -> None:
    """Into the README."""
    update_readme(readme, NAME, render(found))
