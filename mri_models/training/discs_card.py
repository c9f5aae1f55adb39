"""The model card of the disc grader, written from its config."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mri_models.hub import CONFIG
from mri_models.training.card import CITATIONS
from mri_models.types import DISCLAIMER


def write_card(folder: Path) -> None:
    """Write FOLDER/README.md from FOLDER/config.json."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    mri = config["mri"]
    rule, taught, checked = mri["rule"], mri["taught_by"], mri["validation"]
    least = ", ".join(f"{label} {stated(value)}" for label, value in rule["overall"].items())
    cited = "\n".join(f"- {CITATIONS[source]}" for source in mri["sources"])
    steps = ", ".join(f"{point['nll']:.3f}" for point in mri["curve"])
    told = f"; log loss on left-out patients during the run: {steps}" if steps else ""
    channels = ", ".join(map(str, config["trunk_args"]["channels"]))
    grades = f"stated from a calibrated probability of {stated(rule['threshold'])}; below it,"
    if rule["threshold"] > 1:
        grades = "never stated alone, since no probability reached what the rule asks; instead"
    height, width = mri["input_size"]
    (folder / "README.md").write_text(
        f"""---
library_name: pytorch
pipeline_tag: image-classification
tags: [mri, medical-imaging, spine, timm]
license: other
license_name: research-and-teaching-only
---
# discs

Grades each intervertebral disc of a sagittal lumbar slice, T1 or T2: Pfirrmann 1 to 5 (Pfirrmann 2001), and scores for
narrowing, bulging and herniation. {DISCLAIMER}

**Network** {config["members"]} of `{config["trunk"]}` ({channels} channels) whose answers are averaged, trained from
random weights, each without one of {mri["folds"]} parts of the patients, over crops of {width} x {height} px,
{mri["wide"]} disc distances wide and turned so that the disc lies level; each crop is stretched between its own 0.5 and
99.5 percentile. The output is linear in the disc's features, their mean over the slice's discs, and the level. Served
as the mean over an image and its mirror.
**Discs** are outlined by `{mri["finder"]}` and counted from the sacrum upwards: the lowest of the chain is called
L5/S1. An extra or missing lumbar vertebra shifts every name.

**Limits** One reader graded 191 people of one hospital group. Only the middle slice is seen: findings beside it, as
many herniations are, are not. Few discs with a herniation. Any decision about a person is out of scope.

## When an answer is accepted

A disc's grade is {grades} the range of grades that holds {rule["mass"]:.2f} of the probability, on discs of left-out
patients {checked["range_width"]:.1f} grades wide. The worst disc's class: {least}.
Rule: {mri["threshold_rule"]}. Temperature {rule["temperature"]}; the answer is the {rule["answer"]} grade. The worst
disc's class is the product of the discs' cumulative probabilities to the power {rule["power"]}, since neighbours err
together.

On the {checked["patients"]} patients that chose all this, training's and validation's, each judged by the networks
that never saw them ({checked["discs"]} graded discs of {checked["slices"]} slices): exact {checked["exact"]:.3f},
within one {checked["within_one"]:.3f}, weighted kappa {checked["kappa"]:.3f}, stated {checked["stated"]:.3f}; worst
disc's class, balanced accuracy {checked["overall_balanced_accuracy"]:.3f}, accepted
{checked["overall_accepted"]:.3f}{beside(checked["image_classifier"])}. All networks together, which are served, are a
little surer than those that a left-out patient is judged by.

**Training** {taught["patients"]} patients, {taught["slices"]} slices, {taught["discs"]} graded discs; boxes of
{taught["boxes: table"]} slices from the tables, of {taught["boxes: pair"]} from the patient's other sequence on the
same grid, of {taught["boxes: found"]} found. Slices where the discs found on two sequences of one grid lie apart taught
nothing. Seed {mri["seed"]}{told}. Split hash `{mri["split_hash"][:16]}`.

## Results on test patients

<!-- results:discs -->
<!-- /results:discs -->

## Data

{cited}
""",
        encoding="utf-8",
    )


def stated(threshold: float) -> str:
    return "never" if threshold > 1 else f"{threshold:.2f}"


def beside(image: dict[str, Any] | None) -> str:
    """The whole-image classifier's number, where there is one."""
    if not image:
        return ""
    return (
        f" (on the {image['slices']} slices of validation patients {image['discs']:.3f}, where the classifier of whole "
        f"slices reaches {image['balanced_accuracy']:.3f})"
    )
