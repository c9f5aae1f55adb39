"""Whether a map may be believed, in words: a badge, and the reasons behind it."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from mri_models.explain.checks import GAP
from mri_models.types import Attribution, Check

ADDS_UP = {  # of methods without a completeness gap
    "grad_cam": "Grad-CAM shows coarse regions and only evidence for the class; it has no check of completeness.",
    "layer_cam": "LayerCAM shows only evidence for the class; it has no check of completeness.",
    "consensus": "SHAP weighted by Grad-CAM shows where both agree; it does not add up to the score.",
    "occlusion": "Occlusion shows what the score loses without a region; overlapping windows do not add up to it.",
}
STUDY = {
    "completeness": "adding up",
    "deletion": "deletion",
    "random_weights": "random weights",
    "location": "pointing at the tumour",
}
BADGES = {
    "passed": "Passed its checks",
    "doubt": "Read with care",
    "failed": "Fails on test patients",
    "waiting": "Not checked yet",
}


def state(attribution: Attribution) -> str:
    """waiting, passed, doubt (this map failed a check) or failed (the method did, on test patients)."""
    if attribution.failed_study:
        return "failed"
    if not all(check.passed for check in attribution.checks):
        return "doubt"
    return "passed" if is_checked(attribution) else "waiting"


def is_checked(attribution: Attribution) -> bool:
    """Whether every quick check has been made, not only those that cost nothing."""
    return any(check.name == "deletion" for check in attribution.checks)


def badge(attribution: Attribution) -> str:
    """The state as a small label."""
    found = state(attribution)
    return f'<span class="mri-badge is-{found}">{BADGES[found]}</span>'


def adds_up(attribution: Attribution) -> str:
    """How far the map accounts for the score, in one sentence."""
    gap = attribution.completeness_gap
    if gap is None:
        return ADDS_UP.get(attribution.method, "This method has no check of completeness.")
    if gap <= GAP:
        return f"The map adds up: it accounts for the score to within {gap:.1%} (completeness gap)."
    return f"The map misses the score by {gap:.0%} (completeness gap, good below 5%)."


def reasons(attribution: Attribution) -> str:
    """Every check with its numbers, and what test patients say of the method, as a list."""
    lines = [*map(_sentence, attribution.checks), *_study(attribution)]
    items = "".join(f'<li class="is-{"passed" if good else "doubt"}">{escape(text)}</li>' for good, text in lines)
    return f'<ul class="mri-reasons">{items}</ul>' if items else ""


def _sentence(check: Check) -> tuple[bool, str]:
    value, limit = check.value, check.limit
    texts = {
        "completeness": f"Misses the score by {value:.1%}; {limit:.0%} would do.",
        "deletion": (
            f"Veiling its strongest regions first lowers the score {'faster' if check.passed else 'no faster'} than a "
            f"random order: area {value:.2f}, random {limit:.2f}."
        ),
        "random_head": (
            f"With a random last layer the map {'changes' if check.passed else 'hardly changes'}: "
            f"correlation {value:.2f}, limit {limit:.2f}."
        ),
    }
    return check.passed, texts.get(check.name, f"{check.name}: {value:.2f}, limit {limit:.2f}.")


def _study(attribution: Attribution) -> Iterator[tuple[bool, str]]:
    failed = attribution.failed_study
    if failed is None:
        yield False, "These weights' explanations were not measured on test patients."
    elif failed:
        names = ", ".join(STUDY.get(name, name) for name in failed)
        yield False, f"On test patients this method fails: {names}."
    else:
        yield True, "On test patients this method passes every check."
