"""What a volume's report says in sentences; no sentence claims a diagnosis."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from mri_models.report import PARTS, PATTERNS, UNUSUAL, score
from mri_models.types import VolumeReport
from mri_models.volumes.pool import numbers


def complete(report: VolumeReport) -> VolumeReport:
    """The same report with its findings written out."""
    return dataclasses.replace(report, findings=tuple(_sentences(report)))


def _sentences(report: VolumeReport) -> Iterator[str]:
    if report.volume:
        yield from _volume(report)
    if report.gate and report.gate.accepted:
        yield f"{_share(report, 'gate')} look like an MRI (mean score {score(report.gate.confidence)})."
    if report.body_part and report.body_part.accepted:
        part = PARTS[report.body_part.label]
        yield f"{_share(report, 'body_part')} show the {part} (mean score {score(report.body_part.confidence)})."
    if report.rejection:
        yield report.rejection.message
    elif report.diagnosis:
        yield _pattern(report)
    if report.anomaly:
        found = report.anomaly
        yield (
            f"{UNUSUAL[found.category]}: mean anomaly score {score(found.score)} over {sum(found.counts.values())} "
            f"slices, highest {score(found.highest)}; most unusual: {numbers(found.telling)}."
        )
    if report.mask:
        yield _mask(report)


def _volume(report: VolumeReport) -> Iterator[str]:
    volume = report.volume
    slices, rows, columns = volume.shape
    spacing = " x ".join(f"{mm:.2f}" for mm in volume.spacing_mm)
    looked = len(report.slices)
    seen = f"all {slices} were analysed" if looked == slices else f"{looked} of them, evenly spaced, were analysed"
    yield f"The volume has {slices} {volume.plane} slices of {rows} x {columns} pixels ({spacing} mm); {seen}."
    yield from volume.warnings


def _share(report: VolumeReport, stage: str) -> str:
    pooled = report.pooled[stage]
    return f"{pooled.accepted} of {pooled.reached} slices"


def _pattern(report: VolumeReport) -> str:
    found, pooled = report.diagnosis, report.pooled["diagnosis"]
    return (
        f"It resembles {PATTERNS.get(found.label, found.label)} (mean class score {score(found.confidence)}, spread "
        f"{pooled.spread[found.label]:.2f}, over {pooled.accepted} accepted of {pooled.reached} slices; "
        f"clearest in {numbers(pooled.telling)})."
    )


def _mask(report: VolumeReport) -> str:
    if not report.mask.found:
        return f"The outline network {report.mask.model} found nothing to outline."
    parts = [f"{label} {ml:.1f} ml" for label, ml in report.mask.ml.items() if ml]
    return f"Outlined by {report.mask.model}: {', '.join(parts)}."
