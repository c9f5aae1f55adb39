"""The anomaly score on a split: AUROC of every component, of both combinations, and of the autoencoder not served."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mri_models.anomaly import AnomalyDetector
from mri_models.autoencoder import read_autoencoder
from mri_models.evaluation.collect import Read, as_stored, thin
from mri_models.evaluation.metrics import Estimate, Outcomes, summarise
from mri_models.evaluation.tables import cell, update_readme
from mri_models.evaluation.tables import table as markdown_table
from mri_models.hub import CONFIG
from mri_models.normals import COMPONENTS, Z_LIMIT, Evidence
from mri_models.training.anomaly import Curve
from mri_models.training.anomaly_export import VARIANT
from mri_models.training.anomaly_fit import Measured, gather, measure, probability, redrawn
from mri_models.training.brains import NORMAL
from mri_models.training.corpus import IGNORE, TASKS, Sample
from mri_models.types import CATEGORIES

WITHIN = ("nickparvar2021", "tcia_btp")  # sources with normal and abnormal slices; of tcia_btp, those without a tumour
LESION = TASKS["brain"].index("other_abnormality")
TUMOUR_SLICES = "tcia_btp"
NAMES = {"all": "all components", "without_outlines": "without outline and tumour"}


def measure_anomaly(
    detector: AnomalyDetector, samples: Sequence[Sample], split: str, limit: int | None, read: Read = as_stored
) -> dict[str, Any]:
    """The part of metrics.json about the anomaly score."""
    chosen = thin([s for s in samples if s.split == split and _useful(s)], limit)
    evidence = gather(detector.observer, map(read, chosen), len(chosen))
    measured = measure(detector.memory, evidence, chosen)
    mri = json.loads((detector.folder / CONFIG).read_text(encoding="utf-8"))["mri"]
    scored = scores(detector, measured, evidence, mri)
    shown = scored[f"score: {NAMES[mri['combination']]}"]
    return {
        "split": split,
        "images": {"normal": int((measured.labels == NORMAL).sum()), "abnormal": int(measured.abnormal.sum())},
        "shown": NAMES[mri["combination"]],
        "auroc": {name: columns(values, measured) for name, values in scored.items()},
        "against all normals": against_normals(shown, measured),
        "categories": categories(detector, shown, measured),
        "curves": mri["curves"],
    }


def _useful(sample: Sample) -> bool:
    """Labelled brains, and the slices of one source that its outline leaves without a tumour."""
    brain = sample.modality == "mri" and sample.body_part == "brain"
    return brain and (sample.targets["brain"] != IGNORE or sample.source == TUMOUR_SLICES)


def scores(
    detector: AnomalyDetector, measured: Measured, evidence: Sequence[Evidence], mri: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """(N,) scores of each row of the table, by its name."""
    z = np.clip((measured.values - detector.rule.means) / detector.rule.spreads, -Z_LIMIT, Z_LIMIT)
    found = {}
    for name, fitted in mri["combinations"].items():
        weights = np.array([fitted["weights"].get(part, 0.0) for part in COMPONENTS])
        found[f"score: {NAMES[name]}"] = probability(z, weights, fitted["intercept"])
    found |= {
        f"{name} ({mri['autoencoder']})" if i < 3 else name: measured.values[:, i] for i, name in enumerate(COMPONENTS)
    }
    if "variant" in mri:
        name, network = mri["variant"]["name"], read_autoencoder(mri["variant"], detector.folder / VARIANT)
        rows = [detector.memory.measure(one) for one in redrawn(evidence, network)]
        found |= {f"{part} ({name})": np.array([row[part] for row in rows]) for part in ("pixel", "structure")}
    return found


def columns(values: np.ndarray, measured: Measured) -> dict[str, Any]:
    """AUROC over all labelled images, then within each source that has both kinds."""
    found = {"all": auroc(values, measured, measured.labels != IGNORE)}
    return found | {source: auroc(values, measured, compared(measured, source)) for source in WITHIN}


def compared(measured: Measured, source: str) -> np.ndarray:
    """(N,) bool: the images of a source's own column: tumour or none in a slice, else other lesions or none."""
    here = measured.sources == source
    return here if source == TUMOUR_SLICES else here & np.isin(measured.labels, (NORMAL, LESION))


def against_normals(values: np.ndarray, measured: Measured) -> dict[str, Any]:
    """AUROC of each source's abnormal images against the normal images of all sources."""
    normal = measured.labels == NORMAL
    sources = np.unique(measured.sources[measured.abnormal])
    return {str(s): auroc(values, measured, normal | (measured.abnormal & (measured.sources == s))) for s in sources}


def auroc(values: np.ndarray, measured: Measured, chosen: np.ndarray) -> dict[str, float | None] | None:
    """Area under the curve with its interval over patients; None without both classes.

    Only the order counts, so ranks stand in for the probabilities that `Outcomes` wants.
    """
    truth = measured.abnormal[chosen].astype(int)
    if len(set(truth.tolist())) < 2:
        return None
    ranks = np.unique(values[chosen], return_inverse=True)[1] / len(truth)
    n = len(truth)
    outcomes = Outcomes(
        probabilities=np.column_stack([1 - ranks, ranks]),
        labels=truth,
        classes=("normal", "abnormal"),
        patients=measured.patients[chosen],
        sources=measured.sources[chosen],
        accepted=np.ones(n, bool),
        ood=np.zeros(n),
    )
    found: Estimate | None = summarise(outcomes).auroc
    return found and found.to_dict()


def categories(detector: AnomalyDetector, values: np.ndarray, measured: Measured) -> dict[str, dict[str, int]]:
    """Images of each category by source and truth."""
    named = np.array([detector.rule.category(value) for value in values])
    kinds = np.where(
        measured.abnormal, "abnormal", np.where(measured.labels == NORMAL, "normal", "no tumour in this slice")
    )
    rows = np.char.add(np.char.add(measured.sources, ", "), kinds)
    return {str(row): {name: int((named[rows == row] == name).sum()) for name in CATEGORIES} for row in np.unique(rows)}


def table(found: Mapping[str, Any]) -> str:
    """Markdown of `measure_anomaly`'s result."""
    head = ["what is measured", "all sources", "within nickparvar2021", "within tcia_btp"]
    rows = [
        [
            f"**{name}** (shown)" if name == f"score: {found['shown']}" else name,
            *(cell(row[c]) for c in ("all", *WITHIN)),
        ]
        for name, row in found["auroc"].items()
    ]
    apart = [[source, cell(estimate)] for source, estimate in found["against all normals"].items()]
    named = [[row, *(str(count) for count in counts.values())] for row, counts in found["categories"].items()]
    parts = [
        markdown_table(head, rows),
        "AUROC; brackets: 95 % interval over patients (bootstrap). All sources: no_tumor "
        f"({found['images']['normal']} images) against tumours and other_lesion ({found['images']['abnormal']}). "
        "Within nickparvar2021: other_lesion against no_tumor. Within tcia_btp: slices with a tumour against slices "
        "without one, of the same six patients.",
        markdown_table(["abnormal images of", "shown score against all normals"], apart),
        markdown_table(["images", *CATEGORIES], named),
        learning(found["curves"]),
    ]
    return "\n\n".join(parts)


def learning(curves: Mapping[str, Any]) -> str:
    """How the autoencoders learned, and how much larger their error is on patients that they never saw."""
    head = ["autoencoder", "epochs", "kept", "first loss", "kept loss", "training error", "validation error", "gap"]
    rows = []
    for name, values in curves.items():
        run = Curve(**values)
        numbers = (run.loss[0], run.loss[run.kept], run.train_error[run.kept], run.val_error[run.kept])
        rows.append([name, len(run.loss), run.kept + 1, *(f"{number:.4f}" for number in numbers), f"{run.gap:+.1%}"])
    return markdown_table(head, rows)


def write_anomaly_tables(found: Mapping[str, Any], readme: Path, card: Path) -> None:
    """The same table in README and model card."""
    for path in (readme, card):
        update_readme(path, "anomaly", table(found))
