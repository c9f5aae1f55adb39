"""The outline network's scores of knees → `knee.TearRule`: probability and thresholds, with what they come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit, logit

from mri_models.calibration import FLOOR
from mri_models.evaluation.calibration import NEVER
from mri_models.evaluation.outlines import as_scan
from mri_models.knee import LIMIT, NO_TEAR, TEAR
from mri_models.localize import Segmenter
from mri_models.training.outlines import EXTERNAL, Outlined, knees

FALSE_ALARMS = 0.10  # share of any source's knees that may be called torn
TAUGHT = 0.5  # of that share, where the source taught the network: on new images of it there will be more
MISSES = 0.10  # share of torn ligaments that may be called "no tear seen"
USEFUL = 0.5  # share of its own images that an answer must reach, or it is never given
STEP = 1e-4  # of a threshold
ENOUGH = 10  # unseen images from which a source is judged by those alone
RULE = (
    "least probability, at least 0.6 and on the outline's side of its peak threshold, at which a tear is named on"
    " at most 10 % of the images of every source of intact or unlabelled knees (those that training never saw, "
    "where a source has ten of them; else at most 5 % of all); no tear on at most 10 % of validation patients "
    "with one; each must still answer half of its validation images, or it is never given"
)


@dataclass(frozen=True, slots=True)
class Scored:
    """One knee image: score of `Mask`, whether its ligament is known to be torn, and where it comes from.

    torn: None for an unlabelled knee. unseen: whether neither it nor its patient taught the network.
    """

    score: float
    torn: bool | None
    source: str
    patient: str
    unseen: bool


def tear_rule(segmenter: Segmenter, data: Path, longest: int, peak: float) -> dict[str, Any]:
    """`fit_rule` on the corpus' knees outside the test split."""
    pictures = [p for p in knees(data, longest) if chooses(p)]
    masks = segmenter.masks([as_scan(p) for p in pictures])
    return fit_rule([scored(p, mask.score) for p, mask in zip(pictures, masks, strict=True)], peak)


def chooses(picture: Outlined) -> bool:
    """Whether the thresholds may look at it: known ligaments of validation patients; whoever nobody labelled, of
    training patients as well."""
    if picture.kind in ("torn", "intact"):
        return picture.split == "val"
    return picture.split != "test" and picture.kind in ("unlabelled", EXTERNAL)


def scored(picture: Outlined, score: float) -> Scored:
    """A picture with the score of its outline."""
    torn = {"torn": True, "intact": False}.get(picture.kind)
    unseen = picture.split != "train" or picture.kind == EXTERNAL
    return Scored(score, torn, picture.source, picture.patient, unseen)


def fit_rule(knees: Sequence[Scored], peak: float) -> dict[str, Any]:
    """The "tear" part of config.json, from images outside the test split; `peak`: the outline's own least score."""
    slope, offset = fit_probability([k for k in knees if k.unseen and k.torn is not None])
    probability = {id(k): float(expit(slope * _logit([k.score])[0] + offset)) for k in knees}
    outlined = float(expit(slope * _logit([peak])[0] + offset))
    groups = negatives(knees)
    torn = np.array([probability[id(k)] for k in knees if k.torn and k.unseen])
    intact = np.array([probability[id(k)] for k in knees if k.torn is False and k.unseen])
    others = {source: np.array([probability[id(k)] for k in group]) for source, group in groups.items()}
    tear = max(FLOOR, outlined)
    for source, group in groups.items():
        allowed = FALSE_ALARMS * (1 if all(k.unseen for k in group) else TAUGHT)
        tear = least({source: others[source]}, tear, allowed)
    no_tear = least({"torn": 1 - torn}, max(FLOOR, 1 - outlined), MISSES)
    found, cleared = float(np.mean(torn >= tear)), float(np.mean(1 - intact >= no_tear))
    thresholds = {TEAR: tear if found >= USEFUL else NEVER, NO_TEAR: no_tear if cleared >= USEFUL else NEVER}
    return {
        "slope": round(slope, 4),
        "offset": round(offset, 4),
        "thresholds": thresholds,
        "rule": RULE,
        "torn_found": round(found, 4),
        "torn_called_no_tear": round(float(np.mean(1 - torn >= no_tear)), 4),
        "intact_cleared": round(cleared, 4),
        "patients": _patients(knees),
        "false_alarms": {
            source: {
                "share": round(float(np.mean(values >= tear)), 4),
                "images": len(values),
                "patients": len({k.patient for k in groups[source]}),
                "unseen": all(k.unseen for k in groups[source]),
            }
            for source, values in others.items()
        },
    }


def negatives(knees: Sequence[Scored]) -> dict[str, list[Scored]]:
    """Intact and unlabelled knees by source; where a source has enough that training never saw, those alone."""
    groups = {}
    for source in sorted({k.source for k in knees if not k.torn}):
        here = [k for k in knees if k.source == source and not k.torn]
        unseen = [k for k in here if k.unseen]
        groups[source] = unseen if len(unseen) >= ENOUGH else here
    return groups


def fit_probability(knees: Sequence[Scored]) -> tuple[float, float]:
    """(slope, offset) of least log loss, torn and intact weighing the same.

    Targets are smoothed as Platt (1999) does, by the number of patients: three volunteers who are told apart without
    error do not make certainty.
    """
    truth = np.array([bool(k.torn) for k in knees])
    scores = _logit([k.score for k in knees])
    patients = [len({k.patient for k in knees if bool(k.torn) == side}) for side in (False, True)]
    targets = np.where(truth, (patients[1] + 1) / (patients[1] + 2), 1 / (patients[0] + 2))
    weights = np.where(truth, 0.5 / max(truth.sum(), 1), 0.5 / max((~truth).sum(), 1))

    def loss(line: np.ndarray) -> float:
        p = np.clip(expit(np.exp(line[0]) * scores + line[1]), 1e-9, 1 - 1e-9)
        return -float(weights @ (targets * np.log(p) + (1 - targets) * np.log(1 - p)))

    best = minimize(loss, np.zeros(2), method="Nelder-Mead").x
    return float(np.exp(best[0])), float(best[1])


def least(groups: Mapping[str, np.ndarray], floor: float, share: float) -> float:
    """The smallest threshold >= floor that at most `share` of each group's values reach."""
    threshold = floor
    for values in groups.values():
        above = np.sort(values)[::-1]
        allowed = int(np.floor(share * len(above)))
        if allowed < len(above):
            threshold = max(threshold, np.floor(above[allowed] / STEP) * STEP + STEP)
    return round(float(threshold), 4)


def _logit(scores: Sequence[float]) -> np.ndarray:
    return logit(np.clip(scores, LIMIT, 1 - LIMIT))


def _patients(knees: Sequence[Scored]) -> dict[str, int]:
    unseen = [k for k in knees if k.unseen]
    return {
        "torn": len({k.patient for k in unseen if k.torn}),
        "intact": len({k.patient for k in unseen if k.torn is False}),
        "unlabelled": len({k.patient for k in knees if k.torn is None}),
    }


def stated(tear: Mapping[str, Any]) -> str:
    """The model card's words about the rule."""
    people, thresholds = tear["patients"], tear["thresholds"]
    named = {
        label: f"accepted from {value:.2f}" if value <= 1 else "never given: it did not pass its bar"
        for label, value in thresholds.items()
    }
    alarms = "\n".join(
        f"- {source}: {one['share']:.1%} of {one['images']} images of {one['patients']} people"
        + ("" if one["unseen"] else ", which taught the network")
        for source, one in tear["false_alarms"].items()
    )
    return f"""## What it says about a knee

The outline's score becomes the probability of a tear pattern: logit(p) = {tear["slope"]:.2f} logit(score) +
{tear["offset"]:.2f}. **ACL tear pattern** is {named[TEAR]}; **no ACL tear pattern seen** is {named[NO_TEAR]}. What lies
between is "unable to determine".

**This rests on few people:** {people["torn"]} validation patients with a torn ligament, {people["intact"]} volunteers
with an intact one, {people["unlabelled"]} people whose ligament nobody labelled. Of the torn it finds
{tear["torn_found"]:.0%} and calls {tear["torn_called_no_tear"]:.0%} "no tear seen"; {tear["intact_cleared"]:.0%} of the
volunteers' slices get "no tear seen". Rule: {tear["rule"]}. Called an ACL tear pattern where none is known:

{alarms}

One sagittal slice through the notch is judged. A slice beside the ligament, a coronal or an axial one shows no tear
either. Partial tears were not outlined in the data.

<!-- results:knee -->
<!-- /results:knee -->
"""
