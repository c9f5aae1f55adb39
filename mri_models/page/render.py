"""Report → HTML. Pure functions; every string that came from outside is escaped here."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from mri_models.page.marks import mark, turn
from mri_models.page.text import scored
from mri_models.page.trust import adds_up, badge, is_checked
from mri_models.report import DOUBTS, ENGLISH, MRI, PARTS, PATTERNS, UNABLE, lay, reason, score, tone
from mri_models.types import DISCLAIMER, STAGES, Attribution, Prediction, Report

QUESTIONS = {
    "file": "Can it be read?",
    "quality": "Anything to see?",
    "gate": "Is it an MRI at all?",
    "body_part": "Brain, knee or spine?",
    "diagnosis": "What does it resemble?",
}
STEPS = {"file": "File", "quality": "Quality", "gate": "MRI?", "body_part": "Body part", "diagnosis": "Pattern"}
TIMED = {
    "file": "reading",
    "orientation": "which way is up",
    "gate": "MRI check",
    "body_part": "body part",
    "diagnosis": "pattern",
    "anomaly": "comparison with normal brains",
    "localization": "outline",
}
MODEL_PARTS = {"acl": "ACL", "spine3d": "Spine 3D"}
MODEL_STAGES = ("gate", "body_part", "diagnosis")
REFUSALS = {
    "file": "Refused: not a readable image",
    "quality": "Refused: nothing to analyse in it",
    "gate": "Refused: not an MRI",
    "body_part": "Refused: another body part",
    "diagnosis": "Refused",
}
SHORT = {
    "mri": "MRI",
    "not_mri": "not an MRI",
    "other": "other body part",
    "no_tumor": "no tumour pattern",
    "acl_tear": "ACL tear",
    "no_acl_tear_seen": "no ACL tear seen",
}
METHOD_NAMES = {
    "integrated_gradients": "Integrated Gradients",
    "grad_cam": "Grad-CAM",
    "layer_cam": "LayerCAM",
    "consensus": "Consensus",
    "shap": "SHAP",
    "occlusion": "Occlusion",
}
OUTLINE = (  # an axial head, as a placeholder for the image
    '<svg class="mri-outline" viewBox="0 0 80 96" aria-hidden="true"><ellipse cx="40" cy="48" rx="36" ry="44"/>'
    '<ellipse cx="40" cy="48" rx="31" ry="39"/><path d="M40 9v22M40 66v21M36 38c-7-4-9 4-4 9s3 9-1 13M44 38c7-4 9 4 4 9'
    "s-3 9 1 13M20 30c4 3 7 0 9-4M60 30c-4 3-7 0-9-4M15 52c4-1 6 2 8 5M65 52c-4-1-6 2-8 5"
    'M24 76c2-4 6-4 9-2M56 76c-2-4-6-4-9-2"/></svg>'
)
UNFINISHED = "The analysis stopped before it was done. Try again."
_STATE_WORDS = {"passed": "passed", "stopped": "stopped here", "unsure": "unsure", "waiting": "not reached"}


def invitation() -> str:
    """What stands where the verdict will be."""
    return (
        f'<div class="mri-verdict is-idle">{OUTLINE}<h2>Drop an image, or choose an example</h2>'
        "<p>It goes through the five checks above. The first one that it does not pass ends the way and says why. "
        f"No answer is ever forced.</p>{disclaimer()}</div>"
    )


def way(report: Report | None = None) -> str:
    """The stages as a path, each with its state as icon and words."""
    items = "".join(_step(stage, report) for stage in STAGES)
    return f'<ol class="mri-way" aria-label="Stages of the analysis">{items}</ol>'


def verdict(report: Report) -> str:
    """Headline, reason or next step, timing and disclaimer of one report."""
    state = tone(report)
    return (
        f'<div class="mri-verdict is-{state}" data-status="{report.status}">'
        f'<p class="mri-kicker">{escape(subject(report))}<span>{escape(report.file)}</span></p>'
        f"<h2>{mark(state)}{escape(headline(report))}</h2>"
        f"<p>{_explanation_line(report)}</p>{_warnings(report)}{_timing(report)}{disclaimer()}</div>"
    )


def headline(report: Report) -> str:
    """The verdict in plain words."""
    if report.rejection is None and report.diagnosis:
        return f"Resembles: {PATTERNS.get(report.diagnosis.label, report.diagnosis.label).removeprefix('a ')}"
    if report.rejection is None:
        return "Nothing to add"
    if report.rejection.code in UNABLE:
        return "Temporarily unable"
    return "Unable to determine" if report.rejection.code in DOUBTS else REFUSALS[report.rejection.stage]


def scores(report: Report) -> str:
    """Class scores of the deepest stage reached as bars, the earlier stages folded away."""
    reached = [(stage, getattr(report, stage)) for stage in reversed(MODEL_STAGES)]
    panels = [_bars(stage, prediction) for stage, prediction in reached if prediction]
    if not panels:
        why = missing(report, "No model saw this image, so it has no scores.")
        return f'<div class="mri-scores"><p class="mri-quiet">{why}</p></div>'
    earlier = f"<details><summary>Earlier stages</summary>{''.join(panels[1:])}</details>" if panels[1:] else ""
    return f'<div class="mri-scores">{panels[0]}{earlier}</div>'


def map_note(attribution: Attribution | None, following: str | None = None) -> str:
    """Colour bar, a plain sentence on how far the map adds up, its badge; `following` is the method still to come."""
    if attribution is None:
        return '<div class="mri-map"><p class="mri-quiet mri-busy">Working out where the model looked …</p></div>'
    checked = badge(attribution) if is_checked(attribution) else ""
    coming = f'<p class="mri-quiet mri-busy">{METHOD_NAMES[following]} follows …</p>' if following else ""
    target = escape(name_of(attribution.target), quote=True)
    return (
        f'<div class="mri-map" data-method="{escape(attribution.method)}">'
        f'<div class="mri-bar" role="img" aria-label="Colours: blue speaks against {target}, red speaks for it"></div>'
        f'<p class="mri-ends"><span>speaks against</span><span>for “{target}”</span></p>'
        f"<p><b>{METHOD_NAMES[attribution.method]}</b> {checked}</p><p>{escape(adds_up(attribution))}</p>{coming}</div>"
    )


def no_map(why: str) -> str:
    """Stands in for the map's note where there is no map."""
    return f'<div class="mri-map"><p class="mri-quiet">{escape(why)}</p></div>'


def missing(report: Report, why: str) -> str:
    """Why something is not there, unless the service failed before it came to that."""
    return UNFINISHED if report.rejection and report.rejection.code in UNABLE else why


def _step(stage: str, report: Report | None) -> str:
    state = _state(stage, report)
    lines = f"<small>{QUESTIONS[stage]}</small>" if report is None else f"<em>{_STATE_WORDS[state]}</em>"
    if report and stage in MODEL_STAGES and (prediction := getattr(report, stage)):
        lines += f"<small>{escape(f'{name_of(prediction.label)} {score(prediction.confidence)}')}</small>"
    return f'<li class="is-{state}">{mark(state)}<span class="mri-step"><b>{STEPS[stage]}</b>{lines}</span></li>'


def _state(stage: str, report: Report | None) -> str:
    """passed, stopped, unsure or waiting."""
    if report is None:
        return "waiting"
    if report.rejection is None:
        return "passed"
    here, stop = STAGES.index(stage), STAGES.index(report.rejection.stage)
    if here == stop:
        return tone(report)
    return "passed" if here < stop else "waiting"


def subject(report: Report) -> str:
    """What is known about the image at most: "Brain MRI", "MRI" or "Image"."""
    part = report.body_part
    if part and part.accepted and part.label != "other":
        return f"{PARTS[part.label].capitalize()} MRI"
    return "MRI" if report.gate and report.gate.accepted and report.gate.label == MRI else "Image"


def _explanation_line(report: Report) -> str:
    if report.rejection:
        return escape(reason(report.rejection))
    if report.diagnosis is None:
        return ""
    found = report.diagnosis
    number, like = scored(found.confidence), min(99, round(found.confidence * 100))
    return (
        f'Class score <strong class="mri-number">{number}</strong>, accepted from {scored(found.threshold)}. '
        f"Of validation images that scored like this, about {like} in 100 carried this label."
    )


def model_name(model: str) -> str:
    """A model's folder in words: "diagnosis/brain" is "Brain patterns", "segmentation/acl" is "ACL outline"."""
    stage, _, part = model.partition("/")
    if part:
        return f"{MODEL_PARTS.get(part, part.capitalize())} {'outline' if stage == 'segmentation' else 'patterns'}"
    return {"gate": "MRI or not"}.get(stage, stage.replace("_", " ").capitalize())


def name_of(label: str) -> str:
    """A class label in words."""
    return SHORT.get(label, label.replace("_", " "))


def _bars(stage: str, prediction: Prediction) -> str:
    rows = "".join(_rows(prediction))
    least = f"accepted from {score(prediction.threshold)}" if prediction.threshold <= 1 else "never accepted so far"
    return (
        f'<section><h3>{STEPS[stage].rstrip("?")}: class scores</h3><ul class="mri-bars">{rows}</ul>'
        f'<p class="mri-quiet"><i class="mri-tick" aria-hidden="true"></i>{escape(least)}</p>'
        f"<p>{escape(familiarity(prediction))}</p></section>"
    )


def _rows(prediction: Prediction) -> Iterator[str]:
    """One bar a class, largest first; the threshold is that of the winning class, so only its bar carries the line."""
    for label, share in sorted(prediction.probabilities.items(), key=lambda item: -item[1]):
        best = label == prediction.label
        line = f'<i class="mri-tick" style="left:{prediction.threshold:.1%}"></i>' if best else ""
        yield (
            f'<li class="{"is-best" if best else ""}"><span>{escape(name_of(label))}</span>'
            f'<span class="mri-track" aria-hidden="true"><i style="width:{share:.1%}"></i>{line}</span>'
            f"<b>{scored(share)}</b></li>"
        )


def familiarity(prediction: Prediction) -> str:
    """The out-of-distribution score in words."""
    nearer = f"{ENGLISH.share(prediction.ood_score)} of validation images lie nearer to the training images"
    if prediction.ood_score > prediction.ood_threshold:
        return f"Unlike anything the model was trained on: {nearer}."
    if prediction.ood_score > 0.8:
        return f"Somewhat unusual for this model: {nearer}."
    return f"Familiar to this model: {nearer}."


def _timing(report: Report) -> str:
    if not report.timing_ms:
        return ""
    shown = {stage: ms for stage, ms in report.timing_ms.items() if ms >= 1}  # a shared look costs its first stage only
    parts = [f"{TIMED.get(stage, stage)} {ms:.0f} ms" for stage, ms in shown.items()]
    total = sum(report.timing_ms.values())
    return f'<p class="mri-quiet mri-timing">{total:.0f} ms in all: {escape(", ".join(parts))}</p>'


def _warnings(report: Report) -> str:
    turned = lay(report.orientation)
    said = "".join(f'<p class="mri-quiet mri-turned">{turn(report.orientation)}{escape(line)}</p>' for line in turned)
    others = [sentence for sentence in report.warnings if sentence not in turned]
    return said + "".join(f'<p class="mri-quiet">{escape(sentence)}</p>' for sentence in others)


def disclaimer() -> str:
    """What stands below every verdict."""
    return f'<p class="mri-disclaimer">{escape(DISCLAIMER)}</p>'
