"""Outlined images → a trained ResUNet: balanced draws, early stopping, best checkpoint, resume, kept curves."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from monai.losses import DiceCELoss
from safetensors.torch import load_file
from torch import nn
from transformers import EarlyStoppingCallback, EvalPrediction, TrainingArguments, set_seed
from transformers.trainer_utils import get_last_checkpoint

from mri_models.errors import RecipeError
from mri_models.hub import WEIGHTS
from mri_models.preprocess import InputSpec
from mri_models.training.corpus import read_corpus
from mri_models.training.fit import MEAN, STD, BalancedTrainer, keep, run_folder
from mri_models.training.outlines import SUBJECTS, Outlines, draw_shares
from mri_models.training.recipe import read_values, strict
from mri_models.unet import ResUNet, read_unet

KIND = "segmentation"
RUN = "run:"
BEST = "best.safetensors"


@dataclass(frozen=True, slots=True)
class SegmentRecipe:
    """How one outline network is trained; see the comments in recipes/segment_*.toml for the reasons."""

    kind: str
    name: str  # folder below weights/
    subject: str  # of training/outlines.py: what is outlined, and the images
    encoder: str = "tf_efficientnet_b3"
    encoder_args: dict[str, object] = field(default_factory=dict)
    widths: list[int] = field(default_factory=lambda: [128, 64, 48, 32])
    exported: bool = True  # false: a run that another goes on from
    start: str = ""  # a model folder below weights/ for the encoder, "run:NAME" for the whole; "" for random weights
    soup: dict[str, float] = field(default_factory=dict)  # shares of finished runs to average instead of training
    frozen: int = 2  # the encoder's first stages that stay as they are
    size: int = 224  # training input, px
    serve_size: int = 256  # input when serving, px
    longest: int = 288  # px; images are kept at this size in memory
    images: int = 16000  # augmented images seen in all
    batch: int = 16
    lr: float = 5e-4  # peak of the decoder; AdamW, cosine
    encoder_lr: float = 0.3  # of the encoder, as a share of lr
    weight_decay: float = 0.02
    warmup: float = 0.05
    shares: dict[str, float] = field(default_factory=dict)  # of the draws by kind; empty: the subject's own
    hard: float = 0.5  # share of images varied by the classifiers' whole chain; the others keep their detail
    evaluations: int = 8
    patience: int = 4  # validations without progress before it ends
    seed: int = 0


def load_segment_recipe(name_or_path: str, changes: Iterable[str] = ()) -> SegmentRecipe:
    """Read recipes/NAME.toml or a path, then apply "key=value" changes."""
    path, values = read_values(name_or_path, changes)
    recipe = strict(SegmentRecipe, path, values)
    if recipe.subject not in SUBJECTS:
        raise RecipeError("bad_subject", f"{path.name}: subject must be one of {', '.join(SUBJECTS)}.")
    return recipe


class Lesson(nn.Module):
    """pixel_values (B, 3, S, S), labels (B, S, S) → {"loss"}; in evaluation also "dice" (B, labels).

    Loss: soft Dice over the batch (Milletari 2016) plus cross-entropy. Dice of an image: 1 where neither truth nor
    answer hold a pixel, so that an outline where there is nothing costs.
    """

    def __init__(self, recipe: SegmentRecipe, runs: Path, weights: Path):
        super().__init__()
        self.network = start_network(recipe, runs, weights)
        self.frozen = first_stages(self.network, recipe.frozen)
        for part in self.frozen:
            part.requires_grad_(False)
        self.criterion = DiceCELoss(softmax=True, to_onehot_y=True, include_background=False, batch=True)

    def train(self, mode: bool = True) -> Lesson:
        super().train(mode)
        for part in self.frozen:  # their statistics stay as well
            part.eval()
        return self

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        logits = self.network(pixel_values).float()
        output = {"loss": self.criterion(logits, labels[:, None])}
        if not self.training:
            output["dice"] = overlap(logits.argmax(1), labels, logits.shape[1] - 1)
        return output


def overlap(answer: torch.Tensor, truth: torch.Tensor, count: int) -> torch.Tensor:
    """(B, H, W) classes → (B, count) Dice of classes 1 to count; 1 where both are empty."""
    found = []
    for label in range(1, 1 + count):
        a, b = (answer == label).flatten(1), (truth == label).flatten(1)
        both, sizes = (a & b).sum(1), a.sum(1) + b.sum(1)
        found.append(torch.where(sizes > 0, 2 * both / sizes.clamp(min=1), 1.0))
    return torch.stack(found, 1)


def start_network(recipe: SegmentRecipe, runs: Path, weights: Path) -> ResUNet:
    """A network with its recipe's start."""
    if recipe.start.startswith(RUN):
        return load_network(recipe.start.removeprefix(RUN), runs).requires_grad_()
    network = ResUNet(recipe.encoder, SUBJECTS[recipe.subject].labels, recipe.encoder_args, recipe.widths)
    if recipe.start:
        start_encoder(network, weights / recipe.start)
    return network


def start_encoder(network: ResUNet, folder: Path) -> None:
    """Give the encoder the trunk of an exported classifier."""
    state = load_file(folder / WEIGHTS)
    own = network.encoder.state_dict()
    found = {key: state[f"timm_model.{key}"].to(own[key].dtype) for key in own if f"timm_model.{key}" in state}
    if missing := own.keys() - found.keys():
        raise RecipeError("bad_start", f"{folder} holds another trunk; it lacks {sorted(missing)[0]} and others.")
    network.encoder.load_state_dict(found)


def first_stages(network: ResUNet, count: int) -> list[nn.Module]:
    """Stem and the first `count` stages of the encoder: generic at high resolution, so most of the time for nothing."""
    encoder = network.encoder
    return [encoder.conv_stem, encoder.bn1, *encoder.blocks[:count]] if count else []


def parameter_groups(lesson: Lesson, recipe: SegmentRecipe) -> list[dict[str, object]]:
    """The encoder learns more slowly than what starts from nothing."""
    encoder = [p for p in lesson.network.encoder.parameters() if p.requires_grad]
    rest = [*lesson.network.decoder.parameters(), *lesson.network.head.parameters()]
    return [{"params": encoder, "lr": recipe.lr * recipe.encoder_lr}, {"params": rest, "lr": recipe.lr}]


def mean_dice(prediction: EvalPrediction) -> dict[str, float]:
    """Mean Dice over images and labels, and of each label."""
    dice = np.asarray(prediction.predictions)
    return {"dice": float(dice.mean())} | {f"dice_{i}": float(column.mean()) for i, column in enumerate(dice.T, 1)}


def arguments(recipe: SegmentRecipe, folder: Path) -> TrainingArguments:
    steps = max(1, recipe.images // recipe.batch)
    every = max(1, steps // recipe.evaluations)
    gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(folder),
        max_steps=steps,
        per_device_train_batch_size=recipe.batch,
        per_device_eval_batch_size=32,
        learning_rate=recipe.lr,
        lr_scheduler_type="cosine",
        warmup_steps=int(recipe.warmup * steps),
        bf16=True,
        use_cpu=not gpu,
        eval_strategy="steps",
        eval_steps=every,
        save_strategy="steps",
        save_steps=every,
        save_total_limit=2,
        load_best_model_at_end=True,
        metric_for_best_model="dice",
        greater_is_better=True,
        logging_steps=20,
        dataloader_num_workers=8 if gpu else 1,
        dataloader_prefetch_factor=4,
        dataloader_persistent_workers=True,
        remove_unused_columns=False,
        label_names=["labels"],
        report_to=[],
        seed=recipe.seed,
    )


def train(recipe: SegmentRecipe, data: Path, runs: Path, weights: Path, *, resume: bool = True) -> ResUNet:
    """Train one recipe on DATA; a killed run resumes from its last checkpoint.

    Writes recipe.json, best.safetensors and history.json into RUNS/NAME.
    """
    set_seed(recipe.seed)
    folder = run_folder(runs, recipe.name)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "recipe.json").write_text(json.dumps(dataclasses.asdict(recipe), indent=1))
    if recipe.soup:
        network = blend(recipe.soup, runs)
        keep(network, folder, read_corpus(data), {"log": [], "soup": recipe.soup})
        return network.eval()
    subject = SUBJECTS[recipe.subject]
    pictures = subject.read(data, recipe.longest)
    seen, unseen = ([p for p in pictures if p.split == split] for split in ("train", "val"))
    spec = InputSpec(recipe.size, MEAN, STD)
    lesson = Lesson(recipe, runs, weights).to(memory_format=torch.channels_last)
    trainer = BalancedTrainer(
        model=lesson,
        args=arguments(recipe, folder),
        train_dataset=Outlines(seen, subject, spec, hard=recipe.hard, train=True),
        eval_dataset=Outlines(unseen, subject, spec, hard=recipe.hard, train=False),
        compute_metrics=mean_dice,
        callbacks=[EarlyStoppingCallback(recipe.patience)],
        optimizers=(torch.optim.AdamW(parameter_groups(lesson, recipe), weight_decay=recipe.weight_decay), None),
        draws=draw_shares(seen, recipe.shares or subject.shares),
        count=recipe.images,
    )
    trainer.train(resume_from_checkpoint=get_last_checkpoint(str(folder)) if resume else None)
    keep(lesson.network, folder, read_corpus(data), {"log": trainer.state.log_history})
    return lesson.network.eval()


def blend(soup: Mapping[str, float], runs: Path) -> ResUNet:
    """The weighted average of runs that went on from each other (model soup, Wortsman 2022)."""
    networks = {name: load_network(name, runs) for name in soup}
    whole = sum(soup.values())
    mixed = networks[next(iter(soup))]
    states = {name: network.state_dict() for name, network in networks.items()}
    mixed.load_state_dict(
        {
            key: sum(states[name][key].double() * (share / whole) for name, share in soup.items()).to(like.dtype)
            for key, like in mixed.state_dict().items()
        }
    )
    return mixed


def load_network(name: str, runs: Path) -> ResUNet:
    """The best network of the finished run of a recipe of this name.

    Raises RecipeError when there is none.
    """
    path = run_folder(runs, name) / BEST
    if not path.is_file():
        raise RecipeError("no_run", f"{path} is missing; run `python -m mri_models train` with this recipe first.")
    trained = SegmentRecipe(**json.loads((path.parent / "recipe.json").read_text()))
    shape = {
        "encoder": trained.encoder,
        "labels": SUBJECTS[trained.subject].labels,
        "encoder_args": trained.encoder_args,
        "widths": trained.widths,
    }
    return read_unet(shape, path)
