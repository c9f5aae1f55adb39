"""A volume's report → HTML: progress, verdict, measures and files to take away. Pure functions."""

from __future__ import annotations

import base64
import json
from html import escape
from pathlib import PurePath

from mri_models.page import levels, render
from mri_models.page.marks import mark
from mri_models.page.text import scored
from mri_models.report import OUTLINED, UNUSUAL, reason, score, tone
from mri_models.types import VolumeReport
from mri_models.volumes.files import stem
from mri_models.volumes.nifti import mask_nifti
from mri_models.volumes.pipeline import Progress
from mri_models.volumes.pool import numbers


def invitation() -> str:
    """What stands where the verdict will be."""
    return (
        f'<div class="mri-verdict is-idle">{render.OUTLINE}<h2>Drop a volume, or choose an example</h2>'
        "<p>Its slices go through the five checks one after the other; the answers of those that pass are averaged. "
        f"Slices that disagree are said, not hidden.</p>{render.disclaimer()}</div>"
    )


def progress(step: Progress) -> str:
    """What is being done, and how far it is; not read aloud, for it changes with every slice."""
    counted = f": {step.done + 1} of {step.total}" if step.total > 1 else " …"
    return (
        f'<div class="mri-verdict vol-progress" aria-live="off"><p class="mri-busy">{escape(step.what)}{counted}</p>'
        f'<progress max="{step.total}" value="{step.done}" aria-label="{escape(step.what, quote=True)}"></progress>'
        "</div>"
    )


def verdict(report: VolumeReport) -> str:
    """Headline, reason or next step, timing and disclaimer of one volume."""
    state = tone(report)
    return (
        f'<div class="mri-verdict is-{state}" data-status="{report.status}">'
        f'<p class="mri-kicker">{escape(_subject(report))}<span>{escape(report.file)}</span></p>'
        f"<h2>{mark(state)}{escape(headline(report))}</h2>"
        f"<p>{_because(report)}</p>{_warnings(report)}{_timing(report)}{render.disclaimer()}</div>"
    )


def headline(report: VolumeReport) -> str:
    """The verdict in plain words."""
    if report.rejection and report.rejection.stage == "file":
        return "Refused: not a readable volume"
    return render.headline(report)


def measures(report: VolumeReport) -> str:
    """What was looked at, how unusual it is, and what was outlined, as a table; empty where nothing was read."""
    volume = report.volume
    if volume is None:
        return ""
    slices, rows, columns = volume.shape
    looked = len(report.slices)
    entries = [
        ("Slices", f"{slices} {volume.plane}, {rows} × {columns} pixels"),
        ("Voxel", " × ".join(f"{mm:.2f}" for mm in volume.spacing_mm) + " mm"),
        (
            "Analysed",
            f"{looked} slices" if looked == slices else f"{looked} of them, evenly spaced through the anatomy",
        ),
        ("Counted", f"{report.accepted} slices passed every check ({report.accepted / looked:.0%})"),
    ]
    if pooled := report.pooled.get("diagnosis"):
        label = report.diagnosis.label
        entries.append(("Spread", f"{pooled.spread[label]:.2f} between slices ({render.name_of(label)})"))
        entries.append(("Clearest", numbers(pooled.telling)))
    if report.anomaly:
        found = report.anomaly
        said = f"{score(found.score)} on average, {score(found.highest)} at most ({numbers(found.telling[:1])})"
        entries.append(("Anomaly score", f"{said}. {UNUSUAL[found.category]}."))
    body = "".join(f"<tr><th scope=row>{name}</th><td>{escape(text)}</td></tr>" for name, text in entries)
    table = f"<table><tbody>{body}</tbody></table>"
    return f'<section class="vol-measures"><h3>The volume</h3>{table}{_outlined(report)}{_discs(report)}</section>'


def downloads(report: VolumeReport) -> str:
    """Links that hold their file: nothing is written on the server, and no second request is made."""
    name = escape(stem(PurePath(report.file)), quote=True)
    files = [("JSON", f"{name}.json", "application/json", json.dumps(report.to_dict(), indent=1).encode())]
    if report.mask and report.mask.found:
        mask = mask_nifti(report.mask, report.volume)
        files.append(("Mask (NIfTI, in the input's space)", f"{name}.mask.nii.gz", "application/gzip", mask))
    links = "".join(
        f'<a download="{file}" href="data:{kind};base64,{base64.b64encode(content).decode()}">{label}</a>'
        for label, file, kind, content in files
    )
    return f'<p class="mri-take"><span>Take away</span>{links}</p>'


def _outlined(report: VolumeReport) -> str:
    mask = report.mask
    if mask is None:
        return ""
    if not mask.found:
        return '<p class="mri-quiet">The outline network found nothing to outline.</p>'
    rows = ""
    for label, part in mask.to_dict()["labels"].items():
        if part["voxels"]:
            first, last = part["slices"]
            rows += (
                f"<tr><th scope=row>{escape(OUTLINED.get(label, label))}</th>"
                f"<td>{part['volume_ml']:.1f} ml</td><td>{scored(part['confidence'])}</td>"
                f"<td>{first} to {last}</td></tr>"
            )
    return (
        "<h3>Outlined</h3><table><thead><tr><th scope=col>structure</th><th scope=col>volume</th>"
        f"<th scope=col>confidence</th><th scope=col>slices</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def _discs(report: VolumeReport) -> str:
    return levels.table(report.spine, f"Disc by disc, slice {report.spine_slice}")


def _subject(report: VolumeReport) -> str:
    return "Volume" if report.volume is None else f"{render.subject(report)} volume".replace("Image volume", "Volume")


def _because(report: VolumeReport) -> str:
    if report.rejection:
        return escape(reason(report.rejection))
    found, pooled = report.diagnosis, report.pooled["diagnosis"]
    number, least = scored(found.confidence), scored(found.threshold)
    return (
        f'Mean class score <strong class="mri-number">{number}</strong> over {pooled.accepted} of '
        f"{pooled.reached} slices, accepted from {least}; clearest in {numbers(pooled.telling)}."
    )


def _warnings(report: VolumeReport) -> str:
    said = report.volume.warnings if report.volume else ()
    return "".join(f'<p class="mri-quiet">{escape(sentence)}</p>' for sentence in said)


def _timing(report: VolumeReport) -> str:
    total = sum(report.timing_ms.values()) / 1000
    return f'<p class="mri-quiet mri-timing">{total:.1f} s for {len(report.slices)} slices</p>' if report.slices else ""
