"""What an outline network starts from: a recipe, a classifier's trunk, a finished run, the average of several."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import load_file

from mri_models.errors import RecipeError
from mri_models.hub import WEIGHTS
from mri_models.training.course import best_weights
from mri_models.training.outlines import SUBJECTS
from mri_models.training.recipe import read_values, strict
from mri_models.unet import ResUNet, read_unet

RUN = "run:"
PEAK_RULE = (
    "peak threshold: the largest score that at most {missed:.0%} of those stay under, but at least the pixel threshold "
    "and at most 0.9"
)
RULES = {  # what a card says of each edge
    "threshold": f"pixel threshold: largest mean Dice over validation images with the structure; {PEAK_RULE}",
    "rank_dice": "the most probable pixels, as many as expect the largest Dice (RankDice, Dai & Li 2023), log-odds "
    f"divided by the temperature of largest mean Dice over validation images with the structure; {PEAK_RULE}",
}


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
    trunk: str = ""  # a classifier below weights/ whose trunk then takes the encoder's place
    teacher: str = ""  # a finished run whose outlines teach on training tumours that nobody outlined
    soup: dict[str, float] = field(default_factory=dict)  # shares of finished runs to average instead of training
    frozen: int = 2  # the encoder's first stages that stay as they are
    size: int = 224  # training input, px
    serve_size: int = 256  # input when serving, px
    finer: list[int] = field(default_factory=list)  # sizes at which a served image is looked at as well, px
    longest: int = 288  # px; images are kept at this size in memory
    images: int = 16000  # augmented images seen in all
    batch: int = 16
    lr: float = 5e-4  # peak of the decoder; AdamW, cosine
    encoder_lr: float = 0.3  # of the encoder, as a share of lr
    weight_decay: float = 0.02
    warmup: float = 0.05
    average: float = 0.0  # memory of the averaged weights, which are what is kept; 0: the last ones
    shares: dict[str, float] = field(default_factory=dict)  # of the draws by kind; empty: the subject's own
    missed: float = 0.02  # share of validation images with the structure that may get no outline
    edge: str = "threshold"  # which pixels are drawn: of at least one probability, or "rank_dice"
    hard: float = 0.5  # share of images varied by the classifiers' whole chain; the others keep their detail
    smallest: float = 1.0  # of its own width, what a structure put into an image without one has at least
    evaluations: int = 8
    patience: int = 4  # validations without progress before it ends
    seed: int = 0


def load_segment_recipe(name_or_path: str, changes: Iterable[str] = ()) -> SegmentRecipe:
    """Read recipes/NAME.toml or a path, then apply "key=value" changes."""
    path, values = read_values(name_or_path, changes)
    recipe = strict(SegmentRecipe, path, values)
    if recipe.subject not in SUBJECTS:
        raise RecipeError("bad_subject", f"{path.name}: subject must be one of {', '.join(SUBJECTS)}.")
    if recipe.edge not in RULES or (recipe.edge == "rank_dice" and len(SUBJECTS[recipe.subject].labels) > 1):
        raise RecipeError("bad_edge", f"{path.name}: edge must be one of {', '.join(RULES)}, the latter of one label.")
    if strangers := recipe.shares.keys() - SUBJECTS[recipe.subject].shares.keys():
        raise RecipeError("bad_shares", f"{path.name}: shares names {', '.join(sorted(strangers))}, which is no kind.")
    return recipe


def start_network(recipe: SegmentRecipe, runs: Path, weights: Path) -> ResUNet:
    """A network with its recipe's start."""
    if recipe.start.startswith(RUN):
        network = load_network(recipe.start.removeprefix(RUN), runs).requires_grad_()
    else:
        network = ResUNet(recipe.encoder, SUBJECTS[recipe.subject].labels, recipe.encoder_args, recipe.widths)
        if recipe.start:
            start_encoder(network, weights / recipe.start)
    if recipe.trunk:
        start_encoder(network, weights / recipe.trunk)
    return network


def start_encoder(network: ResUNet, folder: Path) -> None:
    """Give the encoder the trunk of an exported classifier."""
    state = load_file(folder / WEIGHTS)
    own = network.encoder.state_dict()
    found = {key: state[f"timm_model.{key}"].to(own[key].dtype) for key in own if f"timm_model.{key}" in state}
    if missing := own.keys() - found.keys():
        raise RecipeError("bad_start", f"{folder} holds another trunk; it lacks {sorted(missing)[0]} and others.")
    network.encoder.load_state_dict(found)


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
    path = best_weights(runs, name)
    trained = SegmentRecipe(**json.loads((path.parent / "recipe.json").read_text()))
    shape = {
        "encoder": trained.encoder,
        "labels": SUBJECTS[trained.subject].labels,
        "encoder_args": trained.encoder_args,
        "widths": trained.widths,
    }
    return read_unet(shape, path)
