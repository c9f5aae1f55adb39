"""Rules → refusals, findings and text. All wording about results lives here; no rule claims a diagnosis."""

from __future__ import annotations

import dataclasses

from mri_models.types import (
    DISCLAIMER,
    Anomaly,
    Mask,
    Orientation,
    Prediction,
    Rejection,
    Report,
    Scan,
    SpineGrading,
    VolumeReport,
)
from mri_models.wording import Wording

PARTS = {"brain": "brain", "knee": "knee", "spine": "spine", "other": "another body part"}
PATTERNS = {
    "glioma": "a glioma pattern",
    "meningioma": "a meningioma pattern",
    "pituitary": "a pituitary tumour pattern",
    "no_tumor": "a brain without one of the three tumour patterns",
    "other_abnormality": "another abnormality, none of the three tumour patterns",
    "low": "low disc degeneration (worst disc Pfirrmann 1-3)",
    "moderate": "moderate disc degeneration (worst disc Pfirrmann 4)",
    "severe": "severe disc degeneration (worst disc Pfirrmann 5)",
    "acl_tear": "an ACL tear pattern",
    "no_acl_tear_seen": "a knee in which no ACL tear pattern is seen",
}
SUPPORTED = "brain, knee and spine"
HEALTHY = "no_tumor"
MRI = "mri"  # what the gate, and the manifest, call an image that goes on
TUMOURS = ("glioma", "meningioma", "pituitary")
# These say "I don't know", not "this is wrong"
DOUBTS = ("uncertain", "unfamiliar", "no_model", "networks_disagree", "slices_disagree")
UNABLE = ("stage_failed", "time_limit")  # these say that the service failed, and nothing about the image
OUTLINED = {
    "tumour": "what resembles a tumour",
    "acl_tear": "what resembles a torn anterior cruciate ligament",
    "disc": "discs",
    "vertebra": "vertebrae",
    "canal": "spinal canal",
}
UNUSUAL = {
    "normal": "It looks usual compared with normal brains",
    "borderline": "It is somewhat unusual compared with normal brains",
    "anomalous": "It is unusual compared with normal brains",
}
LAY = {  # by the degrees clockwise that brought it upright
    90: "The image lay on its side: it was turned by 90° clockwise before it was judged",
    180: "The image stood on its head: it was turned by 180° before it was judged",
    270: "The image lay on its side: it was turned by 90° counterclockwise before it was judged",
}
ENGLISH = Wording("en")  # formats every number of these texts, and of the page's
score = ENGLISH.score


def tone(report: Report | VolumeReport) -> str:
    """passed, stopped or unsure: answered, refused, or in doubt."""
    if report.rejection is None:
        return "passed"
    return "unsure" if report.rejection.code in (*DOUBTS, *UNABLE) else "stopped"


def reason(rejection: Rejection) -> str:
    """Its message without what a headline says already, as a sentence."""
    text = rejection.message
    for said in ("Unable to determine: ", "Temporarily unable to analyse this image: "):
        text = text.removeprefix(said)
    return text[:1].upper() + text[1:]


def refusal(stage: str, prediction: Prediction | None, scan: Scan, part: Prediction | None) -> Rejection | None:
    """Why the way ends after `stage`, or None when the stage accepted the image."""
    if stage == "gate" and scan.modality not in (None, "MR"):
        message = f"The DICOM header says modality {scan.modality}, not MR. Only MRI is analysed; send an MR image."
        return Rejection(stage, "header_modality", message)
    if prediction is None:
        name = PARTS[part.label] if part else "this body part"
        message = f"Unable to determine: no {name} model has passed its bar yet, so no pattern is named."
        return Rejection(stage, "no_model", message)
    best, enough = score(prediction.confidence), prediction.confidence >= prediction.threshold
    if stage == "gate" and prediction.label != MRI and enough:  # unfamiliar too: nothing but MRI is familiar
        return Rejection(stage, "not_mri", f"This does not look like an MRI (score {best}). Send an MR image.")
    if stage == "body_part" and prediction.label == "other" and enough:
        message = f"This looks like a body part outside {SUPPORTED} (score {best}). Send one of those."
        return Rejection(stage, "unsupported_body_part", message)
    if prediction.accepted:
        return None
    if prediction.threshold > 1:  # calibration found no score at which the model is right often enough
        name = PARTS[part.label] if part else stage
        message = (
            f"Unable to determine: the {name} model has not passed its bar on validation patients, so it names no "
            "pattern. Its scores are for study only."
        )
        return Rejection(stage, "no_model", message)
    if not enough:
        message = (
            f"Unable to determine: the best score, {_label(prediction)} {best}, is below the "
            f"{score(prediction.threshold)} that this stage asks for. Try a sharper, uncropped slice without "
            "annotations."
        )
        return Rejection(stage, "uncertain", message)
    message = (
        f"Unable to determine: this image is unlike those that the model knows (farther out than "
        f"{ENGLISH.share1(prediction.ood_score)} of validation images). Its score of {best} would mean nothing."
    )
    return Rejection(stage, "unfamiliar", message)


def lay(orientation: Orientation | None) -> tuple[str, ...]:
    """What is said about an image that was turned; nothing about others."""
    if orientation is None:
        return ()
    return (f"{LAY[orientation.turn_deg]}. Pictures and positions are those of the turned image.",)


def disagreement(pattern: Prediction | None, mask: Mask | None) -> Rejection | None:
    """Why an accepted tumour pattern is not named after all: the network that outlines tumours finds none.

    When it came in, that held back 21 of 25 validation patients' heads without a tumour (heal.py) that the scores
    called one.
    """
    if mask is None or mask.found or not pattern or not pattern.accepted or pattern.label not in TUMOURS:
        return None
    message = (
        f"Unable to determine: two networks disagree. The scores name {_label(pattern)} ({score(pattern.confidence)}), "
        f"but the network that outlines tumours finds nothing to outline (peak {score(mask.score)}, asked "
        f"{score(mask.threshold)}). Try a neighbouring slice."
    )
    return Rejection("diagnosis", "networks_disagree", message)


def complete(report: Report) -> Report:
    """The same report with its findings written out."""
    return dataclasses.replace(report, findings=tuple(_findings(report)))


def _findings(report: Report) -> list[str]:
    lines = []
    if report.gate and report.gate.accepted and report.gate.label == MRI:
        lines.append(f"The image looks like an MRI (score {score(report.gate.confidence)}).")
    if report.body_part and report.body_part.accepted and report.body_part.label != "other":
        lines.append(f"It shows the {PARTS[report.body_part.label]} (score {score(report.body_part.confidence)}).")
    if report.rejection:
        lines.append(report.rejection.message)
    elif report.diagnosis:
        lines.append(f"It resembles {_label(report.diagnosis)} (class score {score(report.diagnosis.confidence)}).")
    if report.anomaly:
        lines.append(f"{unusual(report.anomaly)}.")
    if report.localization:
        lines.append(f"{outlined(report.localization)}.")
    if report.spine:
        lines.append(f"{levels(report.spine)}.")
    return [*lines, *report.warnings]


def levels(spine: SpineGrading) -> str:
    """Each disc's grade or range of grades, without a full stop."""
    named = ENGLISH.grades(spine.discs)
    return f"Pfirrmann grades (or, where one is not sure enough, their range), counted from the lowest disc: {named}"


def outlined(mask: Mask) -> str:
    """What was outlined and how large it is, without a full stop."""
    if not mask.found:
        peak = f"peak {score(mask.score)}, asked {score(mask.threshold)}"
        return f"Nothing could be outlined as {ENGLISH.outlines(mask)} ({peak})"
    unsized = "" if mask.spacing_mm else "; the file states no size of a pixel"
    return f"Outlined: {ENGLISH.sizes(mask)}{unsized}"


def unusual(anomaly: Anomaly) -> str:
    """The anomaly score in words, without a full stop."""
    place = ENGLISH.above(anomaly.percentile)
    return f"{UNUSUAL[anomaly.category]}: anomaly score {score(anomaly.score)}, {place}"


def _label(prediction: Prediction) -> str:
    label = prediction.label
    return PATTERNS.get(label) or {MRI: "MRI", "not_mri": "not an MRI"}.get(label) or PARTS[label]


def markdown(report: Report) -> str:
    """A report for people: findings, scores of each stage, models used, disclaimer."""
    head = [f"# MRI analysis of {report.file}", "", *(f"- {line}" for line in report.findings)]
    rows = [
        f"| {stage} | {p.label} | {score(p.confidence)} | {ENGLISH.threshold(p.threshold)} | "
        f"{ENGLISH.share1(p.ood_score)} | {'yes' if p.accepted else 'no'} |"
        for stage, p in (("gate", report.gate), ("body part", report.body_part), ("pattern", report.diagnosis))
        if p
    ]
    table = [
        "",
        "| stage | answer | score | threshold | unfamiliarity | accepted |",
        "|---|---|---|---|---|---|",
        *rows,
    ]
    if report.anomaly:
        found = report.anomaly
        table += [
            "",
            f"Anomaly score {score(found.score)} ({found.category}; borderline from {score(found.borderline)}, "
            f"anomalous from {score(found.threshold)}; {ENGLISH.share(found.confidence)} of validation images so "
            "called were so).",
        ]
    models = ["", "Models: " + ", ".join(f"{name} `{digest[:12]}`" for name, digest in report.models.items())]
    return "\n".join([*head, *(table if rows else []), *(models if report.models else []), "", f"> {DISCLAIMER}", ""])
