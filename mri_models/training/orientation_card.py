"""The model card of the orientation network, written from its config."""

from __future__ import annotations

import json
from pathlib import Path

from mri_models.hub import CONFIG
from mri_models.training.card import credits_of
from mri_models.types import DISCLAIMER


def write_card(folder: Path) -> None:
    """Write FOLDER/README.md from FOLDER/config.json."""
    mri = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["mri"]
    images, checked = mri["images"], mri["validation"]
    best = min(mri["curve"], key=lambda look: look["nll"])
    (folder / "README.md").write_text(
        f"""---
library_name: transformers
pipeline_tag: image-classification
license: other
license_name: research-and-teaching-only
tags: [mri, medical-imaging]
---
# orientation

Tells whether an MRI slice stands upright, lies on its side or stands on its head, so that the models see it as they
learned to. {DISCLAIMER}

**Network** EfficientNet-Lite1 (Tan & Le 2019), {mri["input_size"]} px, four classes: upright, turned by 90, 180 and 270
degrees against the clock. It looks at the image before the gate does. One that seems to stand costs that one look; one
that seems to lie is looked at in all four ways, and what they say together (the sum of the log-likelihoods) decides.

**Use** An image that surely lies (probability from {mri["threshold"]:.2f}) is turned, if the gate takes the turned
image for an MRI; everything after that is about the turned image. Slices of volumes are never turned: their files say
how they lie.

**Out of scope** Left and right: a mirror image is as good as the image. Angles between the quarters. Images of which
nobody could say which way is up: phantoms, an unborn child, a heart's long axis.

**Threshold** {mri["threshold_rule"]}:
{mri["threshold"]:.4f}. Temperature {mri["temperature"]:.2f}, of least log loss on the same images. On those
{images["val"]} validation images, each in all four ways: {checked["told_at_once"]:.3f} of the turns told at one look,
{checked["told"]:.3f} by all ways together; {checked["upright_turned"]:.4f} of the upright images turned,
{checked["righted"]:.3f} of the others turned upright, {checked["turned_wrongly"]:.4f} turned to another side.

**Training** {images["train"]} MRI slices of training patients, upright (the corpus holds some on their head:
`upside_down.toml` of the code lists those that were found), augmented, then turned at random
({images["shown"]:,} in all; rotation prediction, Gidaris 2018), from ImageNet weights. The checkpoint of least log loss
on validation patients was kept: {best["nll"]:.3f}, with {best["accuracy"]:.3f} of the turns told, after
{best["step"]} steps. Seed {mri["seed"]}, split hash `{mri["split_hash"][:16]}`.

## Results on test patients

<!-- results:turned -->
<!-- /results:turned -->

## Data

{credits_of(mri["sources"])}
""",
        encoding="utf-8",
    )
