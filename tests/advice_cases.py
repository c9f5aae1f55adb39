"""Reports and what visitors told, with the rules that must speak about them and those that must not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from fakes import FakePipeline, anomaly_of, scan_png
from volume_cases import discs

from mri_models.advice import Context
from mri_models.ink import FILLED, PAINTED
from mri_models.lettering import WARNING
from mri_models.report import complete, lay, refusal
from mri_models.types import Attribution, Mask, Orientation, Prediction, Rejection, Report, SpineGrading

PIPELINE = FakePipeline()
SCAN = PIPELINE.read(scan_png("glioma"))
CHILD = Context("0-17", "diverse", ("no_history",), ("no_symptoms",))
MUDDLED = Context(history=("no_history", "head_surgery", "stroke", "tumour_elsewhere"), symptoms=("back_pain",))
ILL = Context("65+", "female", ("multiple_sclerosis",), ("seizure", "vision_change"))


def seen(outcome: str, **changes: Any) -> Report:
    return replace(PIPELINE.verdict(PIPELINE.read(scan_png(outcome)), "scan.png"), **changes)


def refused(code: str, stage: str = "file", report: Report | None = None) -> Report:
    return replace(report or Report("scan.png"), rejection=Rejection(stage, code, f"Refused for {code}."))


def pattern(label: str, confidence: float = 0.9, **changes: Any) -> Prediction:
    prediction = replace(seen("glioma").diagnosis, label=label, confidence=confidence)
    return replace(prediction, probabilities={label: confidence, "other_abnormality": 1 - confidence}, **changes)


def outlined(outcome: str, area_px: int, pixel_mm2: float | None = None, expected_dice: float | None = None) -> Report:
    values = np.zeros((20, 20), np.uint8)
    values.flat[:area_px] = 1
    spacing = pixel_mm2 and (1.0, pixel_mm2)
    mask = Mask(values, values.astype(np.float32), ("tumour",), 0.9, 0.5, spacing, expected_dice)
    return seen(outcome, localization=mask)


def bands(*labels: str, found: bool = True, spacing: tuple[float, float] | None = None) -> Mask:
    """One band of 40 pixels a label."""
    values = np.repeat(np.arange(len(labels) + 1, dtype=np.uint8), 2)[:, None].repeat(20, 1)
    score = 0.9 if found else 0.004
    return Mask(values, (values > 0).astype(np.float32), labels, score, 0.5, spacing)


def located(part: str, pattern: Prediction, mask: Mask, spine: SpineGrading | None = None) -> Report:
    """A knee or spine, whose pattern follows from what was outlined."""
    shown = replace(seen("knee").body_part, label=part)
    rejection = refusal("diagnosis", pattern, SCAN, shown)
    found = {"body_part": shown, "diagnosis": pattern, "rejection": rejection, "localization": mask, "spine": spine}
    return complete(seen("knee", **found))


_UNSURE = replace(seen("photo").gate, confidence=0.51, accepted=False, probabilities={"mri": 0.49, "not_mri": 0.51})
DOUBTFUL = complete(seen("photo", gate=_UNSURE, rejection=refusal("gate", _UNSURE, SCAN, None)))
_SURE, _NEAR, _WIDE = discs(3).discs
GRADED = SpineGrading(
    (_SURE, replace(_NEAR, accepted=False, span=(2, 3)), replace(_WIDE, accepted=False, span=(1, 3))),
    pattern("severe", threshold=1.01, accepted=False),
)
BACK = bands("disc", "vertebra", "canal", spacing=(0.5, 0.5))
SPINE = located("spine", GRADED.overall, BACK, GRADED)
SPINE_ANSWERED = located("spine", pattern("severe"), replace(BACK, spacing_mm=None), GRADED)
KNEE_TORN = located("knee", pattern("acl_tear"), bands("acl_tear", spacing=(0.1, 0.1)))
KNEE_INTACT = located("knee", pattern("no_acl_tear_seen"), bands("acl_tear", found=False))


# (report, context, rules that must speak, rules that must not)
CASES = {
    "tumour, unusual": (
        seen("glioma"),
        None,
        "F-mri F-part F-pattern F-unusual D-agree C-gate C-part C-pattern C-often C-familiar C-unusual C-words W-next "
        "W-threshold W-anomaly-down S-abnormal S-slices",
        "W-close X-unseen S-urgent S-disagree S-pattern",
    ),
    "none, usual, a muddled visitor": (
        seen("healthy"),
        MUDDLED,
        "F-usual D-agree-none C-usual W-anomaly-up X-history X-symptoms X-contradiction X-elsewhere X-treated "
        "X-no-pattern X-tumour-elsewhere X-unseen S-symptoms S-earlier S-right-part",
        "D-agree X-no-history X-age X-sex X-child S-urgent S-pattern",
    ),
    "none, usual, a child": (
        seen("healthy"),
        CHILD,
        "X-age X-sex X-no-history X-no-symptoms X-child X-unseen S-pattern",
        "X-history X-symptoms X-contradiction S-symptoms S-earlier",
    ),
    "none, yet unusual": (
        seen("healthy", anomaly=anomaly_of(SCAN, 0.9)),
        None,
        "D-none-but-unusual F-unusual S-disagree",
        "D-agree-none S-pattern S-unusual",
    ),
    "none, borderline, urgent": (
        seen("healthy", anomaly=anomaly_of(SCAN, 0.5)),
        ILL,
        "F-borderline C-borderline D-none-but-unusual W-anomaly-up S-urgent S-middle X-no-pattern",
        "S-disagree X-elsewhere",
    ),
    "tumour, yet usual": (
        seen("glioma", anomaly=anomaly_of(SCAN, 0.04)),
        None,
        "D-tumour-but-usual S-disagree",
        "D-agree S-abnormal",
    ),
    "a close call": (seen("glioma", diagnosis=pattern("glioma", 0.6)), None, "W-close W-next", "C-somewhat"),
    "no pattern, unusual": (
        seen("doubt"),
        None,
        "R-uncertain D-unnamed C-somewhat W-short S-unusual S-sharper S-upright",
        "F-pattern C-often W-threshold S-slices S-mri",
    ),
    "unfamiliar": (
        seen("unfamiliar"),
        None,
        "R-unfamiliar C-unlike W-unfamiliar S-original S-upright S-mri",
        "F-part C-part R-otherwise",
    ),
    "knee without a model": (seen("knee"), None, "R-no-model W-bar S-mri", "R-bar C-closed"),
    "model below its bar": (
        refused("no_model", "diagnosis", seen("knee", diagnosis=pattern("low", threshold=1.01, accepted=False))),
        None,
        "R-bar C-closed W-bar",
        "R-no-model C-pattern C-words",
    ),
    "another part": (seen("shoulder"), None, "R-other-part W-other-class S-body-part", "F-part"),
    "a photo, urgent": (seen("photo"), ILL, "R-not-mri W-other-class S-mr-image X-unseen", "F-mri S-mri S-urgent"),
    "perhaps no MRI": (DOUBTFUL, None, "R-uncertain C-gate W-short S-sharper", "R-not-mri W-other-class S-mr-image"),
    "header": (refused("header_modality", "gate", seen("photo")), None, "R-header W-header S-mr-image", "R-not-mri"),
    "map that misses": (
        seen("glioma", explanation=Attribution(SCAN.pixels * 1, "integrated_gradients", "glioma", 1.0, 0.3)),
        None,
        "C-map-gap",
        "R-otherwise",
    ),
    "outlined, size known": (outlined("glioma", 1, 0.8), None, "L-area", "L-pixels L-surplus"),
    "outlined, size unknown": (outlined("glioma", 200), None, "L-pixels", "L-area S-disagree C-edge C-edge-vague"),
    "outlined, clear edge": (outlined("glioma", 9, None, 0.86), None, "L-pixels C-edge", "C-edge-vague"),
    "outlined, vague edge": (outlined("glioma", 9, None, 0.55), None, "L-pixels C-edge-vague", "C-edge"),
    "tumour without outline": (
        refused("networks_disagree", "diagnosis", outlined("glioma", 0)),
        None,
        "R-disagree W-disagree S-disagree L-nothing",
        "L-pixels R-otherwise",
    ),
    "outline without tumour": (outlined("healthy", 90), None, "L-pixels L-surplus S-disagree", "R-disagree"),
    "spine, graded without a pattern": (
        SPINE,
        None,
        "F-discs C-discs S-discs L-area R-bar C-closed",
        "S-mri L-pixels L-surplus F-pattern",
    ),
    "spine, graded and answered": (SPINE_ANSWERED, None, "F-discs F-pattern L-pixels S-pattern", "S-discs L-area"),
    "knee, torn": (KNEE_TORN, None, "F-pattern L-area S-abnormal", "L-nothing F-discs L-surplus"),
    "knee, no tear": (KNEE_INTACT, None, "F-pattern L-nothing S-pattern", "L-area L-pixels L-surplus"),
    **{
        f"turned by {degrees}": (
            seen("glioma", orientation=(found := Orientation(degrees, 0.99, 0.9)), warnings=lay(found)),
            None,
            f"{rule} F-pattern",
            "F-lettering",
        )
        for degrees, rule in ((90, "F-turned-right"), (180, "F-turned-over"), (270, "F-turned-left"))
    },
    "turned and unsure": (
        seen("doubt", orientation=Orientation(180, 0.99, 0.9)),
        None,
        "R-uncertain F-turned-over",
        "S-upright",
    ),
    "burnt-in text": (seen("glioma", warnings=(WARNING,)), None, "F-lettering F-pattern", "R-otherwise"),
    "drawn on": (seen("glioma", warnings=(PAINTED,)), None, "F-painted F-pattern", "F-filled F-lettering"),
    "filled with colour": (seen("glioma", warnings=(FILLED,)), None, "F-filled F-pattern", "F-painted F-lettering"),
    "unknown reason": (refused("brand_new", "diagnosis"), None, "R-otherwise", "W-no-model-saw-it S-export"),
    **{
        code: (refused(code), None, f"{rule} W-no-model-saw-it {suggestion}", "R-otherwise F-mri C-words")
        for code, rule, suggestion in (
            ("empty", "R-empty", "S-export"),
            ("not_found", "R-unreadable", "S-export"),
            ("corrupt", "R-corrupt", "S-export"),
            ("unsupported", "R-unsupported", "S-export"),
            ("volume", "R-several", "S-single"),
            ("too_large", "R-large", "S-single"),
            ("time_limit", "R-unable", "S-again"),
        )
    },
    **{
        code: (refused(code, "quality"), None, f"{rule} W-no-model-saw-it {suggestion}", "R-otherwise")
        for code, rule, suggestion in (
            ("blank", "R-blank", "S-original"),
            ("noise", "R-noise", "S-sharper"),
            ("blurred", "R-blurred", "S-sharper"),
            ("too_small", "R-shape", "S-original"),
        )
    },
}
