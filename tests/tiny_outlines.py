"""A small outline network with random weights, in a folder as serving loads it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from safetensors.torch import save_file

from mri_models.unet import ResUNet

MRI = {
    "version": 1,
    "input_size": 64,
    "mean": [0.5] * 3,
    "std": [0.5] * 3,
    "pixel_threshold": 0.45,
    "peak_threshold": 0.7,
    "outlined_when": {"part": "brain", "labels": ["glioma"], "least": 0.6},
}


def write(folder: Path, **changes: object) -> Path:
    """config.json and model.safetensors in FOLDER; `changes` are of config.json's "mri"."""
    folder.mkdir(parents=True, exist_ok=True)
    network = ResUNet("resnet10t", ["tumour"], widths=(16, 16, 8, 8))
    weights = folder / "model.safetensors"
    save_file({name: value.contiguous() for name, value in network.state_dict().items()}, weights)
    mri = MRI | {"sha256": hashlib.sha256(weights.read_bytes()).hexdigest()} | changes
    (folder / "config.json").write_text(json.dumps(network.shape | {"mri": mri}))
    return folder
