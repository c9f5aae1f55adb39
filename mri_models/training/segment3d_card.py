"""Model card of the volume network, written from its config."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mri_models.hub import CONFIG
from mri_models.training.card import CITATIONS
from mri_models.types import DISCLAIMER
from mri_models.volumetric import MAX_SLICES

LIMITS = (
    "Learned from T2 SPACE volumes of one hospital group: thin slabs around the midline, 13 to 30 slices 1 mm apart. "
    "Farther to the side, and on T1, other scanners, thick slices, scoliosis, metal or a cervical spine, no labels "
    "exist here to measure it by; thick slices, inverted contrast, blur and coil shading were only simulated. The "
    "sacrum is background, as in the readers' labels. It outlines the readers' structures and grades nothing."
)


def write_card(folder: Path) -> None:
    """Write FOLDER/README.md from FOLDER/config.json."""
    config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    mri = config["mri"]
    cited = "\n".join(f"- {CITATIONS.get(source.removesuffix('_space'), source)}" for source in mri["sources"])
    steps = ", ".join(f"{point['dice']:.3f}" for point in mri["curve"])
    answers = ", ".join(f"{label} {value:.3f}" for label, value in mri["validation"]["dice"].items())
    (folder / "README.md").write_text(
        f"""---
library_name: pytorch
pipeline_tag: image-segmentation
tags: [mri, medical-imaging, segmentation, volumes, monai]
license: other
license_name: research-and-teaching-only
---
# {mri["name"]}

Labels vertebrae, discs and the spinal canal in a volume of the lumbar spine. {DISCLAIMER}

**Network** 3D U-Net of MONAI's residual blocks, {_times(config["widths"], ", ")} channels wide, on a lattice of
{_times(config["fold"])} voxels a point. **Labels** {", ".join(config["labels"])}. **Input** one volume, 0.5-99.5
percentile stretched to [0, 1], resampled to {_times(mri["spacing_mm"])} mm (right to left, head to foot, front to
back), looked at in patches of {_times(mri["patch"])} voxels that overlap by {mri["overlap"]:.0%}, blended by a Gaussian
(MONAI's `SlidingWindowInferer`). **Output** the most probable label of each voxel on the input's own grid, and its
probability; parts of a label below {mri["least_ml"]} ml are dropped. {_joined(mri)}

**Limits** {LIMITS} Any decision about a person is out of scope.

**Chosen on validation patients** {mri["rule"]}: temperature {mri["temperature"]:.2f}, least part {mri["least_ml"]} ml.
Dice on their {mri["validation"]["volumes"]} volumes: {answers}.

**Training** {mri["volumes"]["train"]} volumes, {mri["patches"]["seen"]:,} patches of {_times(mri["patches"]["size"])}
voxels, most of them around a labelled voxel, seed {mri["seed"]}; validation Dice during the run: {steps}.
Split hash `{mri["split_hash"][:16]}`.

## Results on test patients

<!-- results:{mri["name"]} -->
<!-- /results:{mri["name"]} -->

## Data

{cited}
""",
        encoding="utf-8",
    )


def _joined(mri: Mapping[str, Any]) -> str:
    slicer, share = mri.get("slicer", ""), mri.get("slices", 0.0)
    if not share:
        return "The network looks alone."
    return (
        f"Of a volume of up to {MAX_SLICES} sagittal slices each is looked at by `{slicer}` as well, whose "
        f"probabilities count {share:.0%}."
    )


def _times(numbers: list[float], between: str = " x ") -> str:
    return between.join(f"{number:g}" for number in numbers)
