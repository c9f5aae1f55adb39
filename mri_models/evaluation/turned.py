"""What becomes of an image that lies on its side or stands on its head: left so, and as served, turned upright."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from tqdm.auto import tqdm

from mri_models.evaluation.collect import thin
from mri_models.evaluation.inventory import PARTS
from mri_models.evaluation.segmentation import by_patient
from mri_models.evaluation.tables import cell, table, update_readme
from mri_models.intake import read_scan
from mri_models.orientation import NAME as ORIENTATION
from mri_models.orientation import QUARTERS, Compass
from mri_models.pipeline import BODY_PART, BRAIN, GATE, Pipeline
from mri_models.preprocess import to_batch
from mri_models.report import HEALTHY, MRI, TUMOURS
from mri_models.training.corpus import IGNORE, TASKS, Sample
from mri_models.training.orientation import four_ways, standing

NAME = "turned"
JUDGES = (ORIENTATION, GATE, BODY_PART, BRAIN)
FOUR = (*TUMOURS, HEALTHY)
WAYS = {"upright": [0], "on its side": [1, 3], "on its head": [2]}  # quarters of a turn
LEFT = {f"{way}, left so": quarters for way, quarters in WAYS.items() if way != "upright"}
COMPASS = {
    "told": "turns told at one look",
    "disturbed": "upright, but turned",
    "righted": "lying, turned upright",
    "otherwise": "lying, turned to another side",
}
NOTE = (
    "Test patients' MRI as it is, turned by 90 and 270 degrees, and by 180, as served; and in the last two columns, "
    "had nothing been turned back. Accepted: by the gate and, as that part, by the next stage. Patterns: glioma, "
    "meningioma, pituitary and no tumour, accepted after both, before outlines are asked. Brackets: 95 % interval over "
    "patients (bootstrap)."
)


class About(Protocol):
    """What is known about one image."""

    @property
    def sample(self) -> Sample: ...


R = TypeVar("R", bound=About)


@dataclass(frozen=True, slots=True)
class Row:
    """One image. ways: (4, 4) logits of how it lies, in each way that it was put. said: by question, (4,) bool, how
    each way is answered when nothing is turned back. served: (4,) the way in which each way is judged."""

    sample: Sample
    ways: np.ndarray
    said: Mapping[str, np.ndarray]
    served: np.ndarray


def measure_turned(pipeline: Pipeline, samples: Sequence[Sample], split: str, limit: int | None) -> dict[str, Any]:
    """The part of metrics.json about turned images: "models" (hashes), "questions", "compass" by body part and source,
    and "strangers", what is turned that is no MRI."""
    mri, others = standing(samples, split), [s for s in samples if s.split == split and s.modality != MRI]
    rows = [look(pipeline, sample) for sample in tqdm(thin(mri, limit), desc=NAME, leave=False)]
    sources = {row.sample.source: [] for row in sorted(rows, key=lambda row: row.sample.source)}
    for row in rows:
        sources[row.sample.source].append(row)
    told = by_part(rows) | sources
    return {
        "models": {name: pipeline.hashes[name] for name in JUDGES},
        "questions": [{"question": q} | answered(q, found) for q, found in asked_of(rows).items() if found],
        "compass": [{"images": name} | judged(found) for name, found in told.items() if found],
        "strangers": strangers(pipeline, thin(others, limit)),
    }


def by_part(rows: Sequence[R]) -> dict[str, list[R]]:
    """Rows by the body part that their image shows."""
    parts = {part: [row for row in rows if row.sample.body_part == part] for part in PARTS}
    return parts | {"other body parts": [row for row in rows if row.sample.body_part not in PARTS]}


def asked_of(rows: Sequence[R]) -> dict[str, list[R]]:
    """Questions, as `answers` names them, and the rows that each is asked of."""
    parts = by_part(rows)
    asked = {f"{part} accepted as {part}": parts[part] for part in PARTS}
    asked["other body parts let in"] = parts["other body parts"]
    four = [row for row in rows if pattern_of(row.sample) in FOUR]
    return asked | {"brain patterns accepted and right": four, "brain patterns accepted and wrong": four}


def look(pipeline: Pipeline, sample: Sample) -> Row:
    """One image in four ways, upright first."""
    images = four_ways(sample)
    ways, said = pipeline.compass.logits(images), answers(pipeline, images, sample)
    served = [way(pipeline.compass, ways, quarters, said[MRI]) for quarters in range(QUARTERS)]
    return Row(sample, ways, said, np.array(served))


def way(compass: Compass, logits: np.ndarray, quarters: int, mri: np.ndarray) -> int:
    """In which way an image is judged that came turned by so many quarters, as `Pipeline.verdict` would have it.

    logits: (4, 4), the upright image first. mri: (4,) bool, in which ways the gate takes it for an MRI.
    """
    if logits[quarters].argmax() == 0:
        return quarters
    found = compass.judge(np.roll(logits, -quarters, axis=0))
    stands = (quarters - found.turn_deg // 90) % QUARTERS
    return stands if found.lies and mri[stands] else quarters


def answers(pipeline: Pipeline, images: Sequence[np.ndarray], sample: Sample) -> dict[str, np.ndarray]:
    """{question: (n,) bool} of n variants of an image, (H, W) float32 in [0, 1], and whether each is an MRI."""
    features: dict[object, np.ndarray] = {}
    named = []
    for model in (pipeline.models[name] for name in (GATE, BODY_PART, BRAIN)):
        if model.features_key not in features:
            features[model.features_key] = model.features(to_batch(images, model.spec))
        seen = features[model.features_key]
        found = model.decide(model.logits(seen), seen)
        named.append(np.array([answer.label if answer.accepted else None for answer in found], dtype=object))
    gate, part, pattern = named
    mri = gate == MRI
    accepted = {f"{name} accepted as {name}": mri & (part == name) for name in PARTS}
    given = accepted["brain accepted as brain"] & np.array([name is not None for name in pattern])
    right = pattern == pattern_of(sample)
    return accepted | {
        MRI: mri,
        "other body parts let in": np.any(list(accepted.values()), axis=0),
        "brain patterns accepted and right": given & right,
        "brain patterns accepted and wrong": given & ~right,
    }


def pattern_of(sample: Sample) -> str | None:
    """A brain's label, where it is known."""
    target = sample.targets["brain"]
    return None if target == IGNORE else TASKS["brain"][target]


def answered(question: str, rows: Sequence[Row]) -> dict[str, Any]:
    """The share of images that are answered so, by the way in which they lie: as served, and left so."""
    served = {way: [row.said[question][row.served[quarters]].mean() for row in rows] for way, quarters in WAYS.items()}
    left = {way: [row.said[question][quarters].mean() for row in rows] for way, quarters in LEFT.items()}
    return over_patients(rows, served | left)


def judged(rows: Sequence[Row]) -> dict[str, Any]:
    """What the compass says of upright images and of those that lie."""
    every = np.arange(QUARTERS)
    measures = {
        "told": [(row.ways.argmax(1) == every).mean() for row in rows],
        "disturbed": [row.served[0] != 0 for row in rows],
        "righted": [(row.served[1:] == 0).mean() for row in rows],
        "otherwise": [((row.served != 0) & (row.served != every))[1:].mean() for row in rows],
    }
    return over_patients(rows, measures)


def over_patients(rows: Sequence[About], measures: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Each measure's mean with its interval over patients, and the number of images."""
    patients = [f"{row.sample.source}/{row.sample.patient}" for row in rows]
    estimates = {name: by_patient([*map(float, values)], patients).to_dict() for name, values in measures.items()}
    return {"number": len(rows)} | estimates


def strangers(pipeline: Pipeline, samples: Sequence[Sample]) -> dict[str, int]:
    """What is turned that is no MRI, and how much of it the gate lets in that it would have refused as it came."""
    found = []
    for sample in tqdm(samples, desc=f"{NAME}, no MRI", leave=False):
        scan = read_scan(sample.path)
        if pipeline.upright(scan)[1]:
            came = pipeline.models[GATE](scan)
            found.append(not (came.accepted and came.label == MRI))
    return {"images": len(samples), "turned": len(found), "let_in": sum(found)}


def render(found: Mapping[str, Any]) -> str:
    """Markdown of `measure_turned`'s result."""
    columns = (*WAYS, *LEFT)
    asked = [[one["question"], one["number"], *(cell(one[way]) for way in columns)] for one in found["questions"]]
    told = [[one["images"], one["number"], *(cell(one[key]) for key in COMPASS)] for one in found["compass"]]
    first, second = table(["question", "images", *columns], asked), table(["images", "number", *COMPASS.values()], told)
    no_mri = found["strangers"]
    said = (
        f"Of {no_mri['images']} images that are no MRI, {no_mri['turned']} were turned, and {no_mri['let_in']} got in "
        "that the gate would have refused as they came."
    )
    folded = f"<details><summary>Which way is up, by body part and source</summary>\n\n{second}\n\n</details>"
    return f"{first}\n\n{NOTE} {said}\n\n{folded}"


def write_turned_tables(found: Mapping[str, Any], readme: Path, card: Path) -> None:
    """Into the README, and into the compass' model card."""
    for path in (readme, card):
        update_readme(path, NAME, render(found))
