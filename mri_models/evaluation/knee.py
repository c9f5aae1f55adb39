"""The knee's answer: torn against intact, hits of the outline, and false alarms on every source of knees there is."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from tqdm.auto import tqdm

from mri_models.classify import Classifier
from mri_models.errors import WeightsError
from mri_models.evaluation.metrics import Outcomes, summarise
from mri_models.evaluation.outlines import Upright, as_scan, left_alone
from mri_models.evaluation.segmentation import by_patient
from mri_models.evaluation.tables import cell, table, update_readme
from mri_models.knee import LABELS, NAME, NO_TEAR, TEAR, TearRule
from mri_models.localize import Segmenter
from mri_models.orientation import mask_as_it_came
from mri_models.pipeline import BODY_PART, Pipeline
from mri_models.training.exams import INTACT, PARTIAL, TORN, find_exams, middle, read_slices
from mri_models.training.knee import exchange, notch
from mri_models.training.knee_rule import chooses
from mri_models.training.outlines import EXTERNAL, NOTED, Outlined, knees
from mri_models.types import Mask, Prediction, Scan

LONGEST = 448  # px: the corpus' own size
BATCH = 8
NEIGHBOURS = 3  # slices that an exam's score is the mean of: a tear shows on more than one
NOTE = (
    'Tear pattern and no tear seen: share of images that get this as an accepted answer; what remains is "unable to '
    "determine\". Hit: the most probable pixel lies inside the reader's outline. Every image as if it had been "
    "accepted as a knee. Sources without test patients are shown with the images there are; the last column says "
    "what those did before: taught the outline, taught only the trunk that it started from (as knees), or chose the "
    "threshold of a tear. Brackets: 95 % interval over patients (bootstrap), none below 5 patients."
)


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """What answers about a knee: the outline network, its rule, and the body part's network for unfamiliarity.

    upright: what turns an image that lies.
    """

    segmenter: Segmenter
    rule: TearRule
    parts: Classifier
    upright: Upright = left_alone

    @classmethod
    def of(cls, pipeline: Pipeline) -> Self:
        """What this pipeline serves.

        Raises WeightsError where its weights hold no knee model.
        """
        if NAME not in pipeline.outlines:
            raise WeightsError("no_model", f"The weights hold no {NAME}; train and export segment_acl first.")
        return cls(pipeline.outlines[NAME], pipeline.specialists.tear, pipeline.models[BODY_PART], pipeline.upright)

    def __call__(self, scans: Sequence[Scan]) -> list[tuple[Mask, Prediction]]:
        """Outline, on the grid of the scan as it came, and answer of each."""
        stands = [self.upright(scan) for scan in scans]
        masks = self.segmenter.masks([scan for scan, _ in stands])
        return [
            (mask_as_it_came(mask, lay), self.rule(mask, self.parts(scan)))
            for mask, (scan, lay) in zip(masks, stands, strict=True)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One image with its answer."""

    picture: Outlined
    mask: Mask
    answer: Prediction

    def gets(self, label: str) -> bool:
        return self.answer.accepted and self.answer.label == label


def measure_knee(reader: Reader, data: Path, split: str, limit: int | None) -> dict[str, Any]:
    """{"stage": torn against intact, "swapped": the same in each other's knees, "hits", "groups": by source}."""
    pictures = list(shown(knees(data, LONGEST), split))
    if limit and len(pictures) > limit:
        pictures = pictures[:: len(pictures) // limit + 1]
    rows = read(reader, pictures)
    known = [row for row in rows if row.picture.split == split and row.picture.kind in ("torn", "intact")]
    torn = [row for row in known if row.picture.kind == "torn"]
    hits = by_patient([hit(row) for row in torn], [row.picture.patient for row in torn])
    return {
        "stage": torn_against_intact(known),
        "swapped": torn_against_intact(read(reader, list(swapped([row.picture for row in known])))),
        "hits": hits and hits.to_dict(),
        "groups": list(groups(rows)),
    }


def read(reader: Reader, pictures: Sequence[Outlined]) -> list[Row]:
    """Every picture with its answer."""
    rows = []
    for start in tqdm(range(0, len(pictures), BATCH), desc="knee", leave=False):
        part = pictures[start : start + BATCH]
        answers = reader([as_scan(p) for p in part])
        rows += [Row(p, mask, answer) for p, (mask, answer) in zip(part, answers, strict=True)]
    return rows


def torn_against_intact(rows: Sequence[Row]) -> dict[str, Any]:
    """`StageMetrics` of knees of known state, as plain values."""
    owners = [(row.picture.patient, row.picture.source) for row in rows]
    torn = [row.picture.kind == "torn" for row in rows]
    return summarise(outcomes([row.answer for row in rows], torn, owners)).to_dict()


def swapped(pictures: Sequence[Outlined], seed: int = 0) -> Iterator[Outlined]:
    """Each ligament inside a knee of the other kind, whose source then speaks for the wrong answer."""
    rng = np.random.default_rng(seed)
    for donor in pictures:
        others = [p for p in pictures if p.kind != donor.kind]
        knee, ligament = (
            notch(p.pixels.astype(np.float32) / 255, p.mask, rng) for p in (others[rng.integers(len(others))], donor)
        )
        pixels, mask = exchange(knee, [ligament], rng)
        yield dataclasses.replace(donor, pixels=(pixels * 255).round().astype(np.uint8), mask=mask)


def shown(pictures: Sequence[Outlined], split: str) -> Iterator[Outlined]:
    """The split's images; of sources and kinds that it lacks, all."""
    there = {(p.source, p.kind) for p in pictures if p.split == split}
    return (p for p in pictures if p.split == split or (p.source, p.kind) not in there)


def groups(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    """What each source and kind of knees is told."""
    for source, kind in sorted({(row.picture.source, row.picture.kind) for row in rows}):
        here = [row for row in rows if (row.picture.source, row.picture.kind) == (source, kind)]
        patients = [row.picture.patient for row in here]
        shares = {label: by_patient([row.gets(label) for row in here], patients).to_dict() for label in LABELS}
        yield (
            {"source": source, "kind": kind, "images": len(here), "patients": len(set(patients))}
            | shares
            | {"used_for": used_for([row.picture for row in here])}
        )


def used_for(pictures: Sequence[Outlined]) -> list[str]:
    """What else these images did: taught the outline, or the trunk it started from alone; chose its thresholds."""
    used = []
    if any(p.split == "train" for p in pictures):
        used.append("trunk" if pictures[0].kind in (EXTERNAL, NOTED) else "outline")
    return used + (["threshold"] if any(map(chooses, pictures)) else [])


def hit(row: Row) -> bool:
    """Whether the most probable pixel lies inside the reader's outline."""
    return bool(row.picture.mask.ravel()[row.mask.probability.argmax()])


def outcomes(answers: Sequence[Prediction], torn: Sequence[bool], owners: Sequence[tuple[str, str]]) -> Outcomes:
    """Answers about knees of known state; owners: (patient, source) of each."""
    return Outcomes(
        probabilities=np.array([[answer.probabilities[label] for label in LABELS] for answer in answers]),
        labels=np.where(torn, LABELS.index(TEAR), LABELS.index(NO_TEAR)),
        classes=LABELS,
        patients=np.array([patient for patient, _ in owners]),
        sources=np.array([source for _, source in owners]),
        accepted=np.array([answer.accepted for answer in answers]),
        ood=np.array([answer.ood_score for answer in answers]),
    )


def measure_exams(reader: Reader, folder: Path, split: str, limit: int | None) -> dict[str, Any]:
    """MRNet or KneeMRI: one answer an exam, from the three neighbouring slices of the highest mean score."""
    exams = [exam for exam in find_exams(folder) if exam.split == split]
    exams = exams[:: len(exams) // limit + 1] if limit and len(exams) > limit else exams
    answers = [exam_answer(reader, read_slices(exam)) for exam in tqdm(exams, desc=folder.name, leave=False)]
    told = {
        name: {"exams": len(here), "called_torn": sum(a.accepted and a.label == TEAR for a in here)}
        for name, grade in (("intact", INTACT), ("partial", PARTIAL), ("torn", TORN))
        if (here := [a for a, exam in zip(answers, exams, strict=True) if exam.grade == grade])
    }
    known = [(a, exam) for a, exam in zip(answers, exams, strict=True) if exam.grade in (INTACT, TORN)]
    if not known:
        return {"split": split, "told": told, "stage": None}
    torn, owners = [exam.grade == TORN for _, exam in known], [(exam.patient, exam.source) for _, exam in known]
    return {"split": split, "told": told, "stage": summarise(outcomes([a for a, _ in known], torn, owners)).to_dict()}


def exam_answer(reader: Reader, slices: np.ndarray) -> Prediction:
    """(S, H, W) in [0, 1] → the answer at the slice around which the scores are highest."""
    chosen = middle(slices, max(NEIGHBOURS, 2 * len(slices) // 3))  # the outer ones miss the notch
    scans = [Scan(one) for one in chosen]
    masks = reader.segmenter.masks(scans)
    scores = np.array([mask.score for mask in masks])
    width = min(NEIGHBOURS, len(scores))
    means = np.convolve(scores, np.full(width, 1 / width), "valid")
    best = int(means.argmax()) + width // 2
    middling = Mask(
        masks[best].values, masks[best].probability, masks[best].labels, float(means.max()), masks[best].threshold
    )
    return reader.rule(middling, reader.parts(scans[best]))


def knee_table(found: Mapping[str, Any]) -> str:
    """`measure_knee` → Markdown."""
    stage, swaps = found["stage"], found["swapped"]
    line = (
        f"Torn against intact, {stage['patients']} patients, {stage['images']} images: AUROC {cell(stage['auroc'])}, "
        f"balanced accuracy {cell(stage['balanced_accuracy'])}, ECE {cell(stage['ece'])} (by chance "
        f"{cell(stage['ece_by_chance'])}), answered {cell(stage['coverage'])}; outline hits "
        f"{cell(found['hits'])}. Each ligament pasted into a knee of the other source: AUROC "
        f"{cell(swaps['auroc'])} (1: the ligament answers, 0: the source does)."
    )
    head = ["source", "ligament", "images", "patients", "tear pattern", "no tear seen", "used for"]
    rows = [
        [
            *(group[key] for key in ("source", "kind", "images", "patients")),
            *(cell(group[label]) for label in LABELS),
            ", ".join(group["used_for"]) or "–",
        ]
        for group in found["groups"]
    ]
    return f"{line}\n\n{table(head, rows)}"


def write_knee_tables(found: Mapping[str, Any], readme: Path, card: Path) -> None:
    """Into the section "knee" of README and model card."""
    for path in (readme, card):
        update_readme(path, "knee", f"{knee_table(found)}\n\n{NOTE}")


def write_exams(found: Mapping[str, Any], out: Path) -> None:
    """OUT/exams.json, and a line for each grade on standard output."""
    out.mkdir(parents=True, exist_ok=True)
    (out / "exams.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for grade, told in found["told"].items():
        print(f"{grade}: {told['called_torn']} of {told['exams']} exams called an ACL tear pattern")
    if found["stage"]:
        print(f"torn against intact: AUROC {cell(found['stage']['auroc'])}")
