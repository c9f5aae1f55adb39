"""The model card of the anomaly score, written from its config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mri_models.hub import CONFIG
from mri_models.training.anomaly import Curve
from mri_models.training.anomaly_fit import MARGIN
from mri_models.training.card import credits_of
from mri_models.types import DISCLAIMER

MEANING = {
    "pixel": "mean absolute difference from the autoencoder's drawing, inside the head",
    "structure": "1 - SSIM of image and drawing (Wang 2004), inside the head",
    "latent": "Mahalanobis distance of the autoencoder's code from normal codes",
    "patches": "the tenth of the patches farthest from a coreset of normal patches (PatchCore, Roth 2022) in the brain "
    "network's middle layers",
    "pooled": "distance of the brain network's pooled features from the three nearest normal brains",
    "outline": "log-odds of a lesion in the highest tenth of the cells of the brain network's outline head",
    "tumour": "log-odds of a tumour where the network that outlines tumours is surest (0.1 % of the pixels)",
    "intensity": "the brightest 2 % after equalising the head's grey levels: the plain baseline (Meissen 2021)",
}


def write_card(folder: Path) -> None:
    """Write FOLDER/README.md from FOLDER/config.json."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    mri = config["mri"]
    low, high = mri["thresholds"]["borderline"], mri["thresholds"]["anomalous"]
    (folder / "README.md").write_text(
        f"""---
library_name: pytorch
tags: [mri, medical-imaging, anomaly-detection, autoencoder]
license: other
license_name: research-and-teaching-only
---
# anomaly

Says how unusual a brain slice is compared with normal brains, as a second opinion beside the named patterns.
{DISCLAIMER}

**Network** convolutional autoencoder, {config["size"]} px, levels of {config["channels"]} channels, a code of
{config["latent"]} channels; run `{mri["autoencoder"]}`, trained on {mri["images"]["train"]} normal brain slices only.
**Features** `{mri["encoder"]["model"]}`, from the verdict's own pass. That network learned from labelled tumours, so
`patches` and `pooled` are not blind to them; `outline` and `tumour` (`{mri["tumour"]["model"]}` at
{mri["tumour"]["size"]} px) are plainly supervised; only `pixel`, `structure`, `latent` and `intensity` never saw an
abnormal image. **Input** one grey image, 0.5-99.5 percentile stretched to [0, 1],
letterboxed.

**Out of scope** Any decision about a person, other body parts, children, operated brains. An unusual image can be an
unusual scanner. A normal score does not say that a brain is healthy: one slice can lie beside the lesion.

## What is measured

| component | meaning | mean of normals | their spread | weight |
|---|---|---:|---:|---:|
{_components(mri)}

Weights belong to the z-scores (capped at 6 spreads) in a logistic regression with weights that cannot be negative,
fitted on {mri["images"]["validation"]} validation images, {mri["images"]["healed"]} of their tumour slices without the
tumour (the healthy half of the head and its mirror image, as normal), and augmented copies of all, classes and sources
balanced.
The score is the probability that the image is no normal brain if half of all images were none.
{_combinations(mri)}

## When an image is called unusual

Normal below {low:.2f}, borderline from {low:.2f}, anomalous from {high:.2f}. Rule: {mri["threshold_rule"]}.

{_confidence(mri["confidence"])}

## How the autoencoder learned

{_curves(mri)}

## Results

<!-- results:anomaly -->
<!-- /results:anomaly -->

## Data

Patients are divided once for all (split hash `{mri["split_hash"][:12]}`); test patients chose nothing. Stored are
weights, features and scores of normal brains, never an image.

{credits_of(sorted({*mri["sources"], *mri["validation_sources"]}))}

## Use

```python
from mri_models.autoencoder import Autoencoder
model = Autoencoder.from_pretrained("weights/anomaly")
```

or, with the score, `mri_models.Pipeline.from_pretrained()("scan.png").anomaly`.
""",
        encoding="utf-8",
    )


def _components(mri: Mapping[str, Any]) -> str:
    weights = mri["combinations"][mri["combination"]]["weights"]
    return "\n".join(
        f"| {name} | {MEANING[name]} | {moments['mean']:.4g} | {moments['spread']:.3g} | {weights.get(name, 0):.2f} |"
        for name, moments in mri["components"].items()
    )


def _combinations(mri: Mapping[str, Any]) -> str:
    found = {name: fitted["validation_auroc"] for name, fitted in mri["combinations"].items()}
    named = ", ".join(f"{name.replace('_', ' ')} {auroc:.3f}" for name, auroc in found.items())
    return (
        f"Served: {mri['combination'].replace('_', ' ')}; fewer components would have to be better by more than "
        f"{MARGIN} on left-out validation patients. There: {named} (mean of the AUROC over all images and inside each "
        "source with both classes)."
    )


def _confidence(shares: Mapping[str, float]) -> str:
    said = {
        "normal": "were normal",
        "borderline": "belonged to the more frequent class",
        "anomalous": "were abnormal",
    }
    parts = ", ".join(f"of those called {name} {shares[name]:.0%} {words}" for name, words in said.items())
    return f"On left-out validation patients, classes counting alike: {parts}."


def _curves(mri: Mapping[str, Any]) -> str:
    """How far each run's loss fell, and the gap between patients seen and unseen; config.json has every epoch."""
    lines = []
    for name, curve in mri["curves"].items():
        run = Curve(**curve)
        auroc = mri["autoencoder_validation_auroc"][name]
        lines.append(
            f"- `{name}`: the loss went from {run.loss[0]:.4f} in the first epoch to {run.loss[run.kept]:.4f} in epoch "
            f"{run.kept + 1} of {len(run.loss)}, which is kept ({run.fall:.0%} of the first). There the error on plain "
            f"images is {run.train_error[run.kept]:.4f} for training and {run.val_error[run.kept]:.4f} for validation "
            f"brains ({run.gap:+.1%}). Its own components divide validation patients with AUROC {auroc:.3f}."
        )
    return "\n".join(lines)
