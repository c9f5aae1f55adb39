"""Upright MRI, turned → a small network that tells by how much (rotation prediction, Gidaris et al. 2018)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from scipy.special import log_softmax
from torch import nn
from torch.utils.data import Dataset
from transformers import EvalPrediction, set_seed

from mri_models.intake import read_scan
from mri_models.orientation import ARCHITECTURE, QUARTERS, turned
from mri_models.pixels import stretch
from mri_models.preprocess import InputSpec, letterbox, normalise
from mri_models.training.augment import augment, text
from mri_models.training.corpus import Sample, read_corpus, read_pixels
from mri_models.training.course import begin, best_weights, by_steps, keep
from mri_models.training.data import HISTOGRAM_SHARE
from mri_models.training.fit import MEAN, STD, BalancedTrainer
from mri_models.training.quick import quicken
from mri_models.training.recipe import read_values, strict
from mri_models.training.starts import lite_state

KIND = "orientation"
NEITHER = ("phantom", "fetus")  # have no upright
LETTERED = 0.2  # share of images that get letters after they were turned: those of `augment` turn with the image, and
# neither may tell which way is up
LITE = 1  # number of the EfficientNet-Lite whose ImageNet weights a run starts from


@dataclass(frozen=True, slots=True)
class OrientationRecipe:
    """How the network is trained; see the comments in recipes/orientation.toml for the reasons."""

    kind: str
    name: str
    mix: dict[str, float]  # share of the training draws by body part, "other" for all that are not named
    size: int = 128  # input, pixels
    images: int = 32000  # turned images seen in all
    batch: int = 64
    lr: float = 4e-4
    warmup: float = 0.1
    weight_decay: float = 0.02
    smoothing: float = 0.05
    longest: int = 192  # px; images are kept at this size in memory
    evaluations: int = 8
    upright_kept: float = 0.995  # of upright validation images must stay as they are
    seed: int = 0


class Turner(nn.Module):
    """pixel_values (B, 3, S, S), labels (B,) quarters of a turn → {"loss", "logits" (B, 4)}."""

    def __init__(self, smoothing: float = 0.0):
        super().__init__()
        self.timm_model = timm.create_model(ARCHITECTURE, pretrained=False, num_classes=QUARTERS, drop_rate=0.2)
        self.smoothing = smoothing

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor | None = None) -> dict[str, torch.Tensor]:
        logits = self.timm_model(pixel_values.contiguous(memory_format=torch.channels_last)).float()
        if labels is None:
            return {"logits": logits}
        smoothing = self.smoothing if self.training else 0.0
        return {"loss": F.cross_entropy(logits, labels, label_smoothing=smoothing), "logits": logits}


class Turned(Dataset):
    """Upright images, each turned by 0 to 3 quarters against the clock: at random and augmented where `train`, else by
    its place in the list."""

    def __init__(self, samples: Sequence[Sample], spec: InputSpec, longest: int, *, train: bool):
        cv2.setNumThreads(0)  # the loader's processes are the parallelism
        self.spec, self.train = spec, train
        self.pixels = [turned(read_pixels(sample.path, longest), -sample.lies) for sample in samples]

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        image, quarters = self.pixels[index].astype(np.float32) / 255, index % QUARTERS
        if self.train:
            rng = np.random.default_rng(int(torch.randint(2**31, ())))
            quarters = int(rng.integers(QUARTERS))
            canvas = self._varied(image, quarters, rng)
        else:
            canvas = turned(letterbox(image, self.spec.size), quarters)
        return {"pixel_values": normalise(canvas, self.spec), "labels": torch.tensor(quarters)}

    def _varied(self, image: np.ndarray, quarters: int, rng: np.random.Generator) -> np.ndarray:
        """Augmented, then turned: a mirror image of one that lies to the left would lie to the right."""
        other = None
        if rng.random() < HISTOGRAM_SHARE:
            other = self.pixels[rng.integers(len(self))].astype(np.float32) / 255
        canvas, _ = augment(image, np.zeros(image.shape, np.uint8), self.spec.size, rng, other, lying=0)
        canvas = turned(canvas, quarters)
        return text(canvas, rng) if rng.random() < LETTERED else canvas


def load_orientation_recipe(name_or_path: str, changes: Iterable[str] = ()) -> OrientationRecipe:
    """Read recipes/NAME.toml or a path, then apply "key=value" changes."""
    return strict(OrientationRecipe, *read_values(name_or_path, changes))


def standing(samples: Sequence[Sample], split: str) -> list[Sample]:
    """The MRI of a split that have an upright; which of them do not stand so in the corpus, `Sample.lies` says."""
    return [s for s in samples if s.split == split and s.modality == "mri" and s.body_part not in NEITHER]


def four_ways(sample: Sample) -> list[np.ndarray]:
    """The image as networks see it, (H, W) float32 in [0, 1]: upright, and turned by 90, 180 and 270 degrees against
    the clock."""
    pixels = stretch(read_scan(sample.path).pixels)
    return [turned(pixels, quarters - sample.lies) for quarters in range(QUARTERS)]


def shares(samples: Sequence[Sample], mix: dict[str, float]) -> np.ndarray:
    """(N,) probability of drawing each: `mix` over body parts, in a part by the square root of each source's size."""
    places = [(s.body_part if s.body_part in mix else "other", s.source) for s in samples]
    sizes = Counter(places)
    roots: Counter[str] = Counter()
    for (part, _), size in sizes.items():
        roots[part] += size**0.5
    weights = np.array([mix[part] / roots[part] / sizes[part, source] ** 0.5 for part, source in places])
    return weights / weights.sum()


def start(recipe: OrientationRecipe) -> Turner:
    """The network with ImageNet weights and a last layer of zeros."""
    model = Turner(recipe.smoothing)
    state = {key: value for key, value in lite_state(LITE).items() if not key.startswith("classifier.")}
    model.timm_model.load_state_dict(state, strict=False)
    nn.init.zeros_(model.timm_model.classifier.weight)
    nn.init.zeros_(model.timm_model.classifier.bias)
    return model


def judge(prediction: EvalPrediction) -> dict[str, float]:
    """Log loss and accuracy of validation images."""
    scores, labels = log_softmax(prediction.predictions.astype(np.float64), 1), prediction.label_ids
    told = float((scores.argmax(1) == labels).mean())
    return {"nll": -float(scores[np.arange(len(labels)), labels].mean()), "accuracy": told}


def train(recipe: OrientationRecipe, data: Path, runs: Path, *, resume: bool = True) -> Turner:
    """Train on split train; the checkpoint of least log loss on split val is kept; a finished run stays.

    Writes recipe.json, best.safetensors and history.json into RUNS/NAME.
    """
    set_seed(recipe.seed)
    samples = read_corpus(data)
    run = begin(recipe, samples, runs, resume=resume)
    if run.done:
        return load_turner(runs, recipe.name)
    seen, spec = standing(samples, "train"), InputSpec(recipe.size, MEAN, STD)
    model = start(recipe).to(memory_format=torch.channels_last)
    quicken(model.timm_model, recipe.images // recipe.batch)
    trainer = BalancedTrainer(
        model=model,
        args=by_steps(recipe, run.folder, recipe.images, metric="nll", greater_is_better=False),
        train_dataset=Turned(seen, spec, recipe.longest, train=True),
        eval_dataset=Turned(standing(samples, "val"), spec, recipe.longest, train=False),
        compute_metrics=judge,
        draws=shares(seen, recipe.mix),
        count=recipe.images,
    )
    trainer.train(resume_from_checkpoint=run.checkpoint)
    keep(model, run.folder, samples, {"log": trainer.state.log_history})
    return model.eval()


def load_turner(runs: Path, name: str) -> Turner:
    """The best network of a finished run; RecipeError when there is none."""
    model = Turner()
    model.load_state_dict(load_file(best_weights(runs, name)))
    return model.eval()
