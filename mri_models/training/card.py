"""Model cards: README.md of a model folder, written from its config and recipe, never by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mri_models.calibration import ORDINARY
from mri_models.hub import CONFIG
from mri_models.training.recipe import Recipe, load_recipe
from mri_models.types import DISCLAIMER

PURPOSE = {
    "gate": "Decides whether an image is an MRI at all, so that nothing else is ever analysed.",
    "body_part": "Names the body part of an MRI: brain, knee, spine, or another one, which is refused.",
    "diagnosis/brain": "Names the pattern that a brain MRI slice resembles.",
    "diagnosis/spine": "Grades how degenerated the worst disc of a mid-sagittal lumbar slice looks.",
}
OUT_OF_SCOPE = {
    "gate": "It does not tell contrast or sequence, and a low score says nothing about an image's quality.",
    "body_part": "Whole-body, fetal and animal images; never a side: left and right are unreliable in its data.",
    "diagnosis/brain": "Any decision about a person. Tumour types other than three, children, post-operative brains, "
    "and sequences other than the ones listed were hardly seen.",
    "diagnosis/spine": "Any decision about a person. Axial, coronal, cervical and thoracic images, and single discs.",
}
CITATIONS = {
    "cheng2015": "Cheng, brain tumor dataset, figshare 1512427, CC BY 4.0",
    "nickparvar2021": "Nickparvar, Brain Tumor MRI Dataset, Kaggle 2021, CC0 (cleaned)",
    "ixi": "IXI dataset, brain-development.org, CC BY-SA 3.0",
    "oasis1": "Marcus et al. 2007, OASIS-1 cross-sectional; terms not confirmed",
    "open_ms": "Lesjak et al. 2017, open MS data, CC BY",
    "spider": "van der Graaf et al. 2024, SPIDER lumbar spine MRI, Zenodo 10159290, CC BY 4.0",
    "sudirman": "Sudirman et al. 2019, lumbar spine MRI dataset, CC BY 4.0",
    "cemrr_acl": "CEMRR ACL, Zenodo 18054534",
    "mridata_knee": "mridata.org 3D FSE knees, CC BY-NC 4.0",
    "medpix": "MedPix (NLM), contributors' copyright, research use",
}


def write_card(folder: Path, recipe: Recipe, taught: Recipe | None = None) -> None:
    """Write FOLDER/README.md from FOLDER/config.json; `taught` is the recipe of the run that the network comes from."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    mri, taught = config["mri"], taught or (load_recipe(recipe.run) if recipe.run else recipe)
    labels = config["label_names"]
    least = {label: "never accepted" if t > 1 else f"{t:.2f}" for label, t in mri["thresholds"].items()}
    thresholds = "\n".join(f"| {label} | {least[label]} |" for label in labels)
    (folder / "README.md").write_text(
        f"""---
library_name: transformers
pipeline_tag: image-classification
license: other
license_name: research-and-teaching-only
tags: [mri, medical-imaging, timm]
---
# {recipe.name}

{PURPOSE[recipe.name]} {DISCLAIMER}

**Network** `{recipe.network}`, {lessons(taught)}; served at {recipe.serve_size} px.

**Input** one grey image, 0.5-99.5 percentile stretched to [0, 1], letterboxed, repeated to three channels.
**Labels** {", ".join(f"`{label}`" for label in labels)}.

**Out of scope** {OUT_OF_SCOPE[recipe.name]}

## When an answer is accepted

| label | least calibrated score |
|---|---|
{thresholds}

Rule: {mri["threshold_rule"]}. Scores are divided by a temperature of {mri["temperature"]:.2f} fitted on the same
patients (Guo 2017). Images whose features lie farther from the training data than {mri["ood_threshold"]:.1%} of
validation images, many of them perturbed, are refused (Mahalanobis distance, Lee 2018).{_strange(mri)}

## Results

<!-- results:{recipe.name} -->
<!-- /results:{recipe.name} -->

## Data

Patients are divided once for all (split hash `{mri["split_hash"][:12]}`); test patients chose nothing. Several sources
forbid commercial use or have unconfirmed terms, so these weights are for research and teaching only.

{credits_of(mri["sources"])}

## Use

```python
from transformers import AutoModelForImageClassification
model = AutoModelForImageClassification.from_pretrained("weights/{recipe.name}")  # in a checkout
model = AutoModelForImageClassification.from_pretrained("OWNER/REPO", subfolder="{recipe.name}")  # from the Hub
```

or, with calibration and refusal, `mri_models.Pipeline.from_pretrained()("scan.png")`.
""",
        encoding="utf-8",
    )


def credits_of(sources: Sequence[str]) -> str:
    """The data of these sources as a Markdown list; those without a citation by name, in its last line."""
    others = ", ".join(source for source in sources if source not in CITATIONS)
    cited = [f"- {CITATIONS[source]}" for source in sources if source in CITATIONS]
    return "\n".join([*cited, *([f"- other sources: {others}"] if others else [])])


def lessons(recipe: Recipe) -> str:
    """How a run came about, in words."""
    if recipe.soup:
        return averaged(recipe.soup)
    start = {"grown": "initialised from EfficientNet-Lite (ImageNet)", "scratch": "trained from random weights"}.get(
        recipe.start, f"initialised from run `{recipe.start.removeprefix('run:')}`"
    )
    teacher = f", distilled from run `{recipe.teacher}`" if recipe.teacher else ""
    return f"{start}{teacher}; {recipe.images:,} augmented images at {recipe.size} px"


def _strange(mri: Mapping[str, Any]) -> str:
    """What distance adds to a label's logit, where it does."""
    if not (found := mri.get("strangeness")):
        return ""
    return (
        f" Each unit of that distance beyond {found['start']:.2f}, which {ORDINARY:.0%} of validation images of the "
        f"other label stay under, also adds {found['slope']:.1f} to the logit of `{found['label']}` before the "
        "temperature."
    )


def averaged(soup: Mapping[str, float]) -> str:
    """Shares of runs by name, in words."""
    parts = ", ".join(f"{share:.0%} `{name}`" for name, share in soup.items())
    where = "recipes in `mri_models/training/recipes/` of the code"
    return f"the average of the weights of related runs ({parts}; {where}; model soup, Wortsman 2022)"
