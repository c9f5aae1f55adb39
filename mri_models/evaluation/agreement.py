"""Tumour patterns as they are served: named only where a tumour is outlined too; and what that spares healthy heads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from mri_models.classify import Classifier
from mri_models.evaluation.collect import Read, as_stored, thin
from mri_models.evaluation.metrics import Outcomes
from mri_models.evaluation.outlines import Upright, left_alone
from mri_models.localize import Segmenter
from mri_models.report import HEALTHY, TUMOURS
from mri_models.training.brains import healed_brains
from mri_models.training.corpus import Sample

HEALED = "contrast-enhanced heads whose tumour was taken out"


def agreed(stage: Outcomes, samples: Sequence[Sample], tumours: Segmenter, read: Read = as_stored) -> Outcomes:
    """The brain stage's answers on `samples`, those no longer accepted for which nothing could be outlined."""
    accepted = stage.accepted.copy()
    named = np.isin(stage.predicted, [stage.classes.index(name) for name in TUMOURS])
    for i in np.flatnonzero(accepted & named):
        accepted[i] = tumours(read(samples[i])).found
    return replace(stage, accepted=accepted)


def healed_heads(
    brain: Classifier,
    tumours: Segmenter,
    samples: Sequence[Sample],
    split: str,
    limit: int | None,
    upright: Upright = left_alone,
) -> dict[str, dict[str, float | int]]:
    """{question: {"share", "images"}} on the split's tumour slices whose sick half was replaced (heal.py).

    No hospital of the corpus scanned healthy heads with contrast medium, which is how tumours are scanned.
    """
    outlined = thin([sample for sample in samples if sample.split == split and sample.mask], limit)
    scans = [upright(scan)[0] for _, scan in healed_brains(outlined, split)]
    if not scans:
        return {}
    accepted = [(scan, answer.label) for scan in scans if (answer := brain(scan)).accepted]
    named = [scan for scan, label in accepted if label in TUMOURS]
    healthy = sum(label == HEALTHY for _, label in accepted)
    counts = {
        f"{HEALED}, accepted as healthy": healthy,
        f"{HEALED}, accepted as a tumour": sum(tumours(scan).found for scan in named),
        f"{HEALED}, accepted as a tumour if outlines were not asked": len(named),
    }
    return {question: {"share": round(n / len(scans), 4), "images": len(scans)} for question, n in counts.items()}
