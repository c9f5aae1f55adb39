"""Report and context → the document's tree; all numbers are formatted here, once for every renderer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from mri_models.advice import SECTIONS, Advice, rules_digest
from mri_models.contour import drawn
from mri_models.document.tree import (
    SIDE,
    Block,
    ColourKey,
    Document,
    Figure,
    Figures,
    Measurement,
    Measurements,
    Section,
    Statements,
    Table,
)
from mri_models.explain import COOL, HEAT, WARM, heat, on_grid, overlay, picture, shrunk
from mri_models.report import DOUBTS, UNABLE, tone
from mri_models.types import Anomaly, Mask, Report, Scan
from mri_models.wording import Wording

STAGES = ("gate", "body_part", "diagnosis")
_AGAINST_FOR = (COOL, (11, 16, 20), WARM)  # the overlay's two colours over black


def compose(report: Report, advice: Advice) -> Document:
    """Everything that is said about one file, in reading order and in the advice's language."""
    wording = Wording(advice.language)
    blocks: dict[str, tuple[Block, ...]] = {"picture": tuple(_picture(report, wording))}
    blocks |= {"verdict": (Measurements(tuple(_measurements(report, wording))),)}
    blocks |= {name: (Statements(getattr(advice, name)),) for name in SECTIONS if getattr(advice, name)}
    blocks |= {"stages": tuple(_stages(report, wording))}
    blocks |= {
        "anomaly": (_triple(report.anomaly, wording), _limits(report.anomaly, wording)) if report.anomaly else ()
    }
    blocks |= {"models": tuple(_models(report, wording))}
    return Document(
        language=advice.language,
        title=wording.heading("title"),
        file=report.file,
        disclaimer=wording.disclaimer,
        headline=headline(report, wording),
        tone=tone(report),
        page_word=wording.phrase("page"),
        sections=tuple(Section(name, wording.heading(name), parts) for name, parts in blocks.items() if parts),
    )


def headline(report: Report, wording: Wording) -> str:
    """The verdict in plain words."""
    if report.rejection and report.rejection.code in UNABLE:
        return wording.phrase("unable")
    if report.rejection and report.rejection.code not in DOUBTS:
        return wording.phrase(f"refused_{report.rejection.stage}")
    if report.rejection or report.diagnosis is None:
        return wording.phrase("undetermined")
    return f"{wording.phrase('resembles')}: {wording.term(report.diagnosis.label)}"


def _picture(report: Report, wording: Wording) -> Iterator[Block]:
    """The scan, under the map where there is one."""
    if report.scan is None:
        return
    scan = shrunk(report.scan, SIDE)
    outline = tuple(_outline(scan, report.localization, wording))
    found = report.explanation
    if found is None:
        pixels = np.asarray(picture(scan).convert("L"))
        yield Figures((Figure(pixels, wording.phrase("plain"), wording.phrase("plain")), *outline))
        return
    target = wording.target(found.target)
    caption = f"{wording.phrase('overlay')} ({wording.term(found.method)})"
    key = ColourKey(_AGAINST_FOR, wording.phrase("against"), f"{wording.phrase('for')}: {target}")
    pixels = np.asarray(overlay(scan, on_grid(found, scan.shape)))
    yield Figures((Figure(pixels, caption, caption), *outline), key)


def _outline(scan: Scan, mask: Mask | None, wording: Wording) -> Iterator[Figure]:
    """The scan with what was outlined, where something was."""
    if mask and mask.found:
        caption = f"{wording.phrase('outline')}: {wording.outlines(mask)}"
        yield Figure(np.asarray(drawn(scan, _thinned(mask, scan.shape))), caption, caption)


def _thinned(mask: Mask, shape: tuple[int, int]) -> Mask:
    """The outline on a coarser grid: of each of its pixels the label at the middle."""
    sides = zip(mask.values.shape, shape, strict=True)
    middles = np.ix_(*(((np.arange(few) + 0.5) * many / few).astype(int) for many, few in sides))
    return dataclasses.replace(mask, values=mask.values[middles], probability=mask.probability[middles])


def _measurements(report: Report, wording: Wording) -> Iterator[Measurement]:
    for stage in STAGES:
        if found := getattr(report, stage):
            answer = f"{wording.term(found.label)} {wording.score(found.confidence)}"
            yield Measurement(f"{stage}.confidence", wording.phrase(stage), found.confidence, answer)
    if anomaly := report.anomaly:
        answer = f"{wording.term(anomaly.category)} {wording.score(anomaly.score)}"
        yield Measurement("anomaly.score", wording.phrase("anomaly_score"), anomaly.score, answer)
        share = wording.share(anomaly.percentile)
        yield Measurement("anomaly.percentile", wording.phrase("percentile"), anomaly.percentile, share)
    if (mask := report.localization) and mask.found and mask.expected_dice is not None:
        answer = wording.score(mask.expected_dice)
        yield Measurement("localization.expected_dice", wording.phrase("expected_dice"), mask.expected_dice, answer)
    if report.explanation and (gap := report.explanation.completeness_gap) is not None:
        yield Measurement("explanation.completeness_gap", wording.phrase("gap"), gap, wording.share1(gap))


def _stages(report: Report, wording: Wording) -> Iterator[Block]:
    """Answer, score and both thresholds of every stage that ran."""
    rows = tuple(
        (
            wording.phrase(stage),
            wording.term(found.label),
            wording.score(found.confidence),
            wording.threshold(found.threshold),
            wording.share1(found.ood_score),
            wording.share1(found.ood_threshold),
            wording.phrase("yes" if found.accepted else "no"),
        )
        for stage in STAGES
        if (found := getattr(report, stage))
    )
    names = ("stage", "answer", "score", "threshold", "unfamiliar", "limit", "accepted")
    if rows:
        yield Table(tuple(map(wording.column, names)), rows)


def _limits(found: Anomaly, wording: Wording) -> Measurements:
    """The scores at which the category changes."""
    limits = {"borderline": found.borderline, "anomalous": found.threshold}
    items = (
        Measurement(f"anomaly.{name}_from", wording.phrase(name), value, wording.score(value))
        for name, value in limits.items()
    )
    return Measurements(tuple(items))


def _triple(found: Anomaly, wording: Wording) -> Figures:
    """Image, reconstruction and their difference on its fixed scale."""
    pictures = {
        "seen": _grey(found.image),
        "reconstruction": _grey(found.reconstruction),
        "error": np.asarray(heat(found.error_map, found.error_scale)),
    }
    figures = tuple(Figure(pixels, wording.phrase(name), wording.phrase(name)) for name, pixels in pictures.items())
    return Figures(figures, ColourKey(HEAT, "0", wording.phrase("error_key").format(wording.score(found.error_scale))))


def _models(report: Report, wording: Wording) -> Iterator[Block]:
    digests = {**report.models, "rules": rules_digest(), "input": report.input_sha256 or wording.phrase("no_input")}
    yield Table(tuple(map(wording.column, ("model", "sha256"))), tuple(digests.items()), codes=(0, 1))


def _grey(values: np.ndarray) -> np.ndarray:
    """(S, S) in [0, 1] → uint8."""
    return (np.clip(values, 0, 1) * 255).round().astype(np.uint8)
