"""Slices -> one answer a stage, or why there is none. Numbers here are rules of prudence, not fitted to data."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from mri_models.report import HEALTHY, score
from mri_models.types import STAGES, AnomalySummary, Pooled, Prediction, Rejection, SliceAnomaly, SliceVerdict

LEAST_SCORE = 0.60  # the product's floor, also for a mean
LEAST_SLICES = 3  # accepted ones that an answer rests on, or all of a shorter volume
LEAST_SHARE = {"quality": 0.25, "gate": 0.5, "body_part": 0.5, "diagnosis": 0.2}  # of the slices that came to a stage
TELLING = 3
_FOR_ALL = ("no_model", "header_modality")  # refusals that are about all slices alike


@dataclasses.dataclass(frozen=True, slots=True)
class Outcome:
    """The pooled answers as far as the way went, and the refusal that ended it."""

    found: dict[str, Prediction]
    pooled: dict[str, Pooled]
    rejection: Rejection | None


def pool(slices: Sequence[SliceVerdict]) -> Outcome:
    """Stage by stage over the slices that are still on the way; the first stage that too few of them pass ends it."""
    found: dict[str, Prediction] = {}
    pooled: dict[str, Pooled] = {}
    here = [*slices]
    for stage in STAGES[1:]:
        passed = [verdict for verdict in here if _passed(verdict, stage)]
        if stage == "body_part":
            passed = _one_part(passed)
        saw = [verdict for verdict in here if stage != "quality" and getattr(verdict, stage)]
        if saw:
            found[stage], pooled[stage] = _mean(stage, passed or saw, len(here), len(passed))
        rejection = _too_few(stage, here, passed)
        if rejection is None and stage == "diagnosis":
            rejection = _disagreement(found[stage], slices) or _unsure(found[stage], len(passed))
        if rejection:
            return Outcome(_marked(found, stage), pooled, rejection)
        here = passed
    return Outcome(found, pooled, None)


def lesions(slices: Sequence[SliceVerdict]) -> tuple[int, ...]:
    """Numbers of slices accepted as a pattern other than healthy that have a neighbour of the same pattern.

    A single slice is no evidence: among many slices one errs.
    """
    runs = []
    for before, here, after in zip([None, *slices], slices, [*slices[1:], None], strict=False):
        label = _pattern(here)
        if label and label in (_pattern(before), _pattern(after)):
            runs.append(here.number)
    return tuple(runs)


def summarise(slices: Iterable[SliceAnomaly]) -> AnomalySummary | None:
    """The brain slices' anomaly scores in one; None without any."""
    ordered = sorted(slices, key=lambda found: -found.score)
    if not ordered:
        return None
    values = np.array([found.score for found in ordered])
    return AnomalySummary(
        score=float(values.mean()),
        spread=float(values.std()),
        highest=float(values.max()),
        borderline=ordered[0].borderline,
        threshold=ordered[0].threshold,
        counts=dict(Counter(found.category for found in ordered)),
        telling=tuple(found.number for found in ordered[:TELLING]),
    )


def _one_part(passed: Sequence[SliceVerdict]) -> list[SliceVerdict]:
    """Slices of the commonest part; those of another one do not count."""
    parts = Counter(verdict.body_part.label for verdict in passed)
    return [verdict for verdict in passed if verdict.body_part.label == parts.most_common(1)[0][0]]


def _passed(verdict: SliceVerdict, stage: str) -> bool:
    return verdict.rejection is None or STAGES.index(verdict.rejection.stage) > STAGES.index(stage)


def _mean(stage: str, counted: Sequence[SliceVerdict], reached: int, accepted: int) -> tuple[Prediction, Pooled]:
    """Mean calibrated scores, their spread, and the slices that speak most for the winner."""
    answers: list[Prediction] = [getattr(verdict, stage) for verdict in counted]
    names = list(answers[0].probabilities)
    table = np.array([[answer.probabilities[name] for name in names] for answer in answers])
    mean, spread = table.mean(0), table.std(0)
    best = int(mean.argmax())
    label = names[best]
    stated = [answer.threshold for answer in answers if answer.label == label] or [a.threshold for a in answers]
    prediction = Prediction(
        label,
        float(mean[best]),
        max(LEAST_SCORE, *stated),
        dict(zip(names, map(float, mean), strict=True)),
        float(np.mean([answer.ood_score for answer in answers])),
        answers[0].ood_threshold,
        accepted > 0,
    )
    order = np.argsort(-table[:, best], kind="stable")[:TELLING]
    telling = tuple(counted[i].number for i in order)
    return prediction, Pooled(reached, accepted, dict(zip(names, map(float, spread), strict=True)), telling)


def _too_few(stage: str, here: Sequence[SliceVerdict], passed: Sequence[SliceVerdict]) -> Rejection | None:
    """The commonest refusal speaks for the volume where too few slices passed."""
    needed = min(len(here), max(LEAST_SLICES, round(LEAST_SHARE[stage] * len(here))))
    if len(passed) >= needed and passed:
        return None
    refusals = [verdict.rejection for verdict in here if verdict.rejection and verdict.rejection.stage == stage]
    counted = f"{len(passed)} of {len(here)} slices passed this check, and at least {needed} have to."
    if 2 * len(refusals) <= len(here) - len(passed):  # the others passed, as another part
        return Rejection(stage, "slices_disagree", f"The slices do not show one body part: {counted} Send one part.")
    code, _ = Counter(refusal.code for refusal in refusals).most_common(1)[0]
    message = next(refusal.message for refusal in refusals if refusal.code == code)
    if code in _FOR_ALL:
        return Rejection(stage, code, message)
    return Rejection(stage, code, f"{counted} Of the others, most were refused like this one: {message}")


def _disagreement(prediction: Prediction, slices: Sequence[SliceVerdict]) -> Rejection | None:
    """A lesion fills few slices, so the mean may say "none" over slices that say otherwise."""
    against = lesions(slices) if prediction.label == HEALTHY else ()
    if not against:
        return None
    return Rejection(
        "diagnosis",
        "slices_disagree",
        f"Unable to determine: most slices resemble none of the patterns, but {numbers(against)} do. Look at these.",
    )


def _unsure(prediction: Prediction, count: int) -> Rejection | None:
    if prediction.confidence >= prediction.threshold:
        return None
    return Rejection(
        "diagnosis",
        "uncertain",
        f"Unable to determine: the mean score of {count} slices, {score(prediction.confidence)}, is below the "
        f"{score(prediction.threshold)} that this stage asks for. The slices do not agree on one pattern.",
    )


def numbers(slices: Sequence[int]) -> str:
    """ "slice 7", "slices 7, 8 and 10", "slices 7 to 9 and 12"; sorted."""
    runs: list[list[int]] = []
    for number in sorted(slices):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    words = [word for run in runs for word in ([f"{run[0]} to {run[-1]}"] if len(run) > 2 else map(str, run))]
    joined = ", ".join(words[:-1]) + (" and " if len(words) > 1 else "") + words[-1]
    return f"slice{'s' if len(slices) > 1 else ''} {joined}"


def _pattern(verdict: SliceVerdict | None) -> str | None:
    """The pattern a slice was accepted as, healthy not counted."""
    if verdict is None or verdict.rejection or verdict.diagnosis is None or verdict.diagnosis.label == HEALTHY:
        return None
    return verdict.diagnosis.label


def _marked(found: dict[str, Prediction], stage: str) -> dict[str, Prediction]:
    """The stage that refused is not accepted, whatever single slices said."""
    return {name: dataclasses.replace(p, accepted=False) if name == stage else p for name, p in found.items()}
