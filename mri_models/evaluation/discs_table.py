"""Disc grades against the readers', as README and model card show them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mri_models.discs import OVERALL
from mri_models.evaluation.tables import cell, table, update_readme
from mri_models.types.discs import GRADES

NOTE = (
    "Exact, within one: share of graded discs whose answer is the reader's grade, or at most one off; kappa: quadratic "
    "weights (Cohen 1968). Discs are found and counted by the outline network, not taken from the tables; missed: "
    "graded levels without a disc found. Worst disc: at most grade 3 is low, 4 moderate, 5 severe; balanced accuracy: "
    "mean recall of the three. Brackets: 95 % interval over patients (bootstrap). One reader graded each disc once; "
    "two readers agree on about 70 % of such grades."
)


def disc_table(found: Mapping[str, Any]) -> str:
    """Markdown of `measure_discs`."""
    head = ["discs of", "discs", "patients", "exact", "within one", "weighted kappa"]
    rows = [
        [name, one["discs"], one["patients"], *(cell(one[m]) for m in ("exact", "within_one", "kappa"))]
        for name, one in found["grades"].items()
    ]
    findings = [[name, one["positive"], cell(one["auroc"])] for name, one in found["findings"].items()]
    overall, counted, ranged, alone = found["overall"], found["counted"], found["ranges"], found["stated"]
    right = f", of those {cell(alone['right'])} the reader's" if alone["right"] else ""
    words = (
        f"One grade is stated of {cell(alone['coverage'])} of the discs{right}; else a range. The range that each disc "
        f"has holds the reader's grade: {cell(ranged['right'])}, {ranged['width']:.2f} grades wide. Discs of a patient "
        f"err together: {found['shared']['part']:.2f} of the squared error is the patient's mean error, without which "
        f"{found['shared']['exact_without']:.3f} would be exact. Levels L5/S1 to L1/L2 missed: {found['missed']}. "
        f"Counted right from the sacrum: {counted['right']} of "
        f"{counted['slices']} slices with boxes in the tables.\n\nThe image's answer, its worst disc's class, on "
        f"{overall['slices']} slices: balanced accuracy {cell(overall['balanced_accuracy'])}, "
        f"ECE {cell(overall['ece'])} (by chance, if each were right with exactly the probability that it states, "
        f"{cell(overall['ece_by_chance'])}); accepted {overall['accepted']}, of those right "
        f"{overall['right_among_accepted']}."
    )
    classes = [[name, *map(str, row)] for name, row in zip(OVERALL, overall["confusion"], strict=True)]
    off = [[f"grade {g}", *map(str, row)] for g, row in zip(GRADES, found["confusion"], strict=True)]
    return "\n\n".join(
        [
            table(head, rows),
            table(["finding", "discs with it", "AUROC"], findings),
            words,
            table(["reader's worst disc", *(f"→ {name}" for name in OVERALL)], classes),
            table(["reader", *(f"→ {g}" for g in GRADES)], off),
            NOTE,
        ]
    )


def write_disc_tables(found: Mapping[str, Any], readme: Path, card: Path) -> None:
    """The same tables in README and model card."""
    for path in (readme, card):
        update_readme(path, "discs", disc_table(found))
