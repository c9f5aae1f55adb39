"""A head, a knee, a phantom and a photograph, and networks that accept what is brightest above."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
from orientation_cases import SPEC, compass
from PIL import Image

from mri_models.evaluation.turned import JUDGES
from mri_models.pipeline import Pipeline
from mri_models.preprocess import to_tensor
from mri_models.training.corpus import TASKS, Sample


class TopLight:
    """Accepts the given label of an image that is brightest above, and nothing of one that lies."""

    spec, features_key = SPEC, "the same trunk"

    def __init__(self, label: str):
        self.label = label

    def features(self, batch):
        return np.array([[float(image[0, :8].mean() - image[0].mean())] for image in batch])

    def logits(self, features):
        return features

    def decide(self, logits, _):
        return [SimpleNamespace(label=self.label, accepted=row[0] > 0.3) for row in logits]

    def look(self, scan):
        return self.features(to_tensor(scan, self.spec))

    def judge(self, look):
        return self.decide(look, None)[0]

    def __call__(self, scan):
        return self.judge(self.look(scan))


def samples_in(folder: Path) -> list[Sample]:
    pixels = np.zeros((64, 64), np.uint8)
    pixels[:12] = 255
    Image.fromarray(pixels).save(folder / "image.png")
    brain = {"brain": TASKS["brain"].index("glioma")}
    about = [("brain", "a", brain), ("brain", "b", brain), ("knee", "c", {"brain": -100}), ("phantom", "d", {})]
    made = [Sample(folder / "image.png", None, who, "s", "test", "mri", part, t, "") for part, who, t in about]
    Image.fromarray(np.rot90(pixels)).save(folder / "lying.png")
    photo = Sample(folder / "lying.png", None, "f", "t", "test", "photo", "", {}, "")
    return [*made, photo, Sample(folder / "image.png", None, "e", "s", "train", "mri", "brain", brain, "")]


def pipeline(part: str = "brain", pattern: str = "glioma", threshold: float = 0.9) -> SimpleNamespace:
    answers = {"gate": "mri", "body_part": part, "diagnosis/brain": pattern}
    served = Pipeline({name: TopLight(label) for name, label in answers.items()}, compass=compass(threshold))
    return SimpleNamespace(
        models=served.models, compass=served.compass, upright=served.upright, hashes=dict.fromkeys(JUDGES, "ab")
    )
