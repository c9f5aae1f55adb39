"""Model cards of the outline networks, written from their config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mri_models.hub import CONFIG
from mri_models.training.card import CITATIONS, averaged
from mri_models.training.knee_rule import stated
from mri_models.training.segment_start import RUN, SegmentRecipe
from mri_models.types import DISCLAIMER

PURPOSE = {
    "tumour": "Outlines what resembles a tumour on a brain slice.",
    "spine": "Outlines discs, vertebrae and the spinal canal on a sagittal slice of the lumbar spine.",
    "acl": "Outlines a torn anterior cruciate ligament on a sagittal slice of the knee.",
}
LIMITS = {
    "tumour": "Learned from contrast-enhanced T1 slices of three tumour types, one tumour a slice; from some of them "
    "once more with the tumour replaced by the mirrored other half of the head; and from other sources' tumours, "
    "outlined by an earlier network. It outlines the enhancing or solid part as that data's readers did, not oedema. "
    "Small metastases, operated brains, children and other sequences were hardly seen. The Dice that it expects of an "
    "outline is that of cheng2015's readers: elsewhere it can be far too high.",
    "spine": "Learned from T2 SPACE volumes of 28 people, one hospital group. On T1 and T2 slices of other scanners no "
    "outlines exist here to measure it by.",
    "acl": "Learned from the torn ligaments of 63 people of one source and the intact ones of 11 volunteers of another "
    "(93 and 17 with validation and test). Contrast, resolution, field of view and surroundings were made alike in "
    "training, but how it behaves on intact knees of the first source is unknown.",
}


def write_card(folder: Path, recipe: SegmentRecipe) -> None:
    """Write FOLDER/README.md from FOLDER/config.json."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    mri = config["mri"]
    asked = mri["outlined_when"]
    when = f"images accepted as {asked['part']}"
    if asked["labels"]:
        when += f" in which {', '.join(asked['labels'])} have a probability of at least {asked['least']} together"
    cited = "\n".join(f"- {CITATIONS.get(source, source)}" for source in mri["sources"])
    curve = ", ".join(f"{point['dice']:.3f}" for point in mri["curve"])
    sizes = " and ".join(str(size) for size in (mri["input_size"], *mri.get("finer_sizes", ())))
    steps = f"; validation Dice during the run: {curve}" if curve else ""
    (folder / "README.md").write_text(
        f"""---
library_name: pytorch
pipeline_tag: image-segmentation
tags: [mri, medical-imaging, segmentation, monai]
license: other
license_name: research-and-teaching-only
---
# {recipe.name}

{PURPOSE[recipe.subject]} {DISCLAIMER}

**Network** ResUNet: `{config["encoder"]}` going down, residual units of MONAI coming up; {_origin(recipe)}.
Served at {sizes} px, the mean over an image and its mirror. **Labels**
{", ".join(config["labels"])}. **Input** one grey image, 0.5-99.5 percentile stretched to [0, 1], letterboxed.

**Used on** {when}.

**Limits** {LIMITS[recipe.subject]} Any decision about a person is out of scope.

**Thresholds** {_edge(mri)}, something is outlined from a peak of
{mri["peak_threshold"]}. Rule: {mri["threshold_rule"]}. On validation patients: {_stated(mri["validation"])}.

**Training** {mri["images"]["train"]} images, seed {mri["seed"]}{steps}.
Split hash `{mri["split_hash"][:16]}`.

## Results on test patients

<!-- results:{recipe.name} -->
<!-- /results:{recipe.name} -->

{stated(mri["tear"]) if "tear" in mri else ""}
## Data

{cited}
""",
        encoding="utf-8",
    )


def _origin(recipe: SegmentRecipe) -> str:
    """Where the weights come from, in words."""
    if recipe.soup:
        return averaged(recipe.soup)
    if recipe.start.startswith(RUN):
        return f"goes on from the run `{recipe.start.removeprefix(RUN)}`"
    return f"the encoder started from `{recipe.start}`" if recipe.start else "trained from random weights"


def _edge(mri: Mapping[str, Any]) -> str:
    """Which pixels are drawn, in words."""
    if not (ranked := mri.get("rank_dice")):
        return f"a pixel is inside from {mri['pixel_threshold']}"
    slope, offset = ranked["slope"], ranked["offset"]
    return (
        "the pixels of largest expected Dice (RankDice, Dai & Li 2023) at temperature "
        f"{ranked['temperature']} in patches of at least {mri['pixel_threshold']}; the Dice that is stated as expected "
        f"is {slope} times the rule's own {'+' if offset >= 0 else '-'} {abs(offset)}, fitted on validation patients"
    )


def _stated(answers: dict[str, float]) -> str:
    text = f"Dice {answers['dice']:.3f} on {answers['images']} images, {answers['missed']:.1%} missed"
    if "outlined" in answers:
        text += f", {answers['outlined']:.1%} of {answers['empty_images']} images without the structure outlined"
    if "expected_dice_correlation" in answers:
        text += f"; expected and real Dice correlate at {answers['expected_dice_correlation']:.2f}"
    return text
