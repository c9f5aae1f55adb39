"""Shares that a single accuracy hides: what passes that should not, and what is kept that should be."""

from __future__ import annotations

import numpy as np

from mri_models.evaluation.collect import Outputs
from mri_models.evaluation.inventory import PARTS
from mri_models.evaluation.metrics import Outcomes
from mri_models.report import HEALTHY, MRI, TUMOURS

Masks = dict[str, tuple[np.ndarray, np.ndarray]]  # question -> (N,) bool it happened, (N,) bool among these images


def questions(task: str, stage: Outcomes, outputs: Outputs) -> dict[str, dict[str, float | int]]:
    """Shares that a single accuracy hides: {question: {"share", "images"}}."""
    named = {
        "gate": gate_questions,
        "body_part": body_part_questions,
        "brain": brain_questions,
    }.get(task)
    masks = named(stage, outputs) if named else {}
    return {
        question: {"share": round(float(hit[among].mean()), 4), "images": int(among.sum())}
        for question, (hit, among) in masks.items()
        if among.any()
    }


def gate_questions(stage: Outcomes, outputs: Outputs) -> Masks:
    let_in = stage.accepted & (stage.predicted == stage.classes.index(MRI))
    modality = np.array([s.modality for s in outputs.samples])
    part = np.array([s.body_part for s in outputs.samples])
    in_scope = (modality == MRI) & np.isin(part, PARTS)
    return {"brain, knee and spine MRI kept": (let_in, in_scope)} | {
        f"{name} let in": (let_in, modality == name) for name in sorted(set(modality) - {MRI})
    }


def body_part_questions(stage: Outcomes, outputs: Outputs) -> Masks:
    other = stage.classes.index("other")
    supported = stage.accepted & (stage.predicted != other)
    part = np.array([s.body_part for s in outputs.samples])
    masks = {
        f"{name} accepted as {name}": (
            supported & (stage.predicted == i),
            stage.labels == i,
        )
        for i, name in enumerate(stage.classes)
        if i != other
    }
    masks["other body parts let in"] = (supported, stage.labels == other)
    return masks | {f"{name} let in": (supported, part == name) for name in sorted(set(part[stage.labels == other]))}


def brain_questions(stage: Outcomes, outputs: Outputs) -> Masks:
    four = np.isin(stage.labels, [stage.classes.index(name) for name in (*TUMOURS, HEALTHY)])
    masks = {}
    for question, (hit, among) in mistaken(stage).items():
        masks |= {question: (hit, among), f"{question}, accepted": (hit & stage.accepted, among)}
    return masks | {
        "coverage on the four main classes": (stage.accepted, four),
        "right among accepted, four main classes": (stage.correct, four & stage.accepted),
    }


def mistaken(stage: Outcomes) -> Masks:
    """The brain's two worst mistakes, accepted or not."""
    tumours, healthy = [stage.classes.index(name) for name in TUMOURS], stage.classes.index(HEALTHY)
    return {
        "tumours called no tumour": (stage.predicted == healthy, np.isin(stage.labels, tumours)),
        "healthy called a tumour": (np.isin(stage.predicted, tumours), stage.labels == healthy),
    }
