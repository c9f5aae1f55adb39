"""A recipe: flat, strict TOML; every key is a field here, an unknown one is an error."""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from mri_models.errors import RecipeError
from mri_models.training.augment import LYING

FOLDER = Path(__file__).parent / "recipes"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Recipe:
    """How one network is trained; see the comments in recipes/*.toml for the reasons."""

    name: str  # folder below weights/
    network: str  # timm architecture
    head: str  # the task that is exported
    mix: dict[str, float]  # share of the training draws made for each task
    favoured: dict[str, float] = field(default_factory=dict)  # body parts drawn so many times as often in their class
    run: str = ""  # export this run's head, a helper there, instead of training
    soup: dict[str, float] = field(default_factory=dict)  # shares of finished runs to average instead of training
    exported: bool = True  # false: a run that others go on from
    start: str = "scratch"  # "scratch", "grown" (EfficientNet-Lite) or "run:NAME"
    network_args: dict[str, object] = field(default_factory=dict)
    start_noise: float = 0.0  # relative Gaussian noise on the start's weights
    teacher: str = ""  # run to distil from; "" for none
    helpers: list[str] = field(default_factory=list)  # auxiliary tasks, dropped at export
    size: int = 160  # training input, pixels
    serve_size: int = 160  # input when serving, pixels
    images: int = 20000  # augmented images seen in all
    batch: int = 32
    lr: float = 3e-4  # peak; AdamW
    schedule: str = "cosine"  # or "reduce_lr_on_plateau"
    warmup: float = 0.05  # share of all steps
    weight_decay: float = 0.02
    smoothing: float = 0.05  # label smoothing
    mask_weight: float = 0.3  # weight of the lesion-outline loss
    evidence_weight: float = 0.0  # weight of the loss that wants a tumour's class evidence inside its outline
    disc_weight: float = 0.0  # weight of the disc-grade loss (spine: boxes and Pfirrmann grades of single discs)
    gentle: bool = False  # only augmentation that leaves thin structures and their grey levels alone
    lying: float = LYING  # share of images that lie on a side or stand on their head
    marked: float = 0.0  # share of images that are drawn on: arrows, rings, letters
    longest: int = 256  # px; images are kept at this size in memory
    transplant: float = 0.35  # share of healthy brains that get a patch from another image
    healed: bool = False  # tumour slices whose tumour was taken out (heal.py) teach as healthy brains
    lesions: float = 0.0  # share of healthy brains that get a simulated lesion which is no tumour
    evaluations: int = 6  # validations during the run
    patience: int = 4  # validations without improvement before stopping
    keep: str = "best"  # the checkpoint of least validation loss, or "last": the end of the whole schedule
    accept_accuracy: float = 0.97  # asked of accepted validation images when thresholds are chosen
    threshold_by_label: bool = False  # a threshold for each label, where it has enough validation images
    strange_label: str = ""  # what an image far from the training features is likely to be
    strange_slope: float = 0.0  # logits that each unit of distance beyond the ordinary adds to it
    ood_threshold: float = 0.99  # share of validation images that must lie nearer before an image is refused
    familiar: list[str] = field(default_factory=list)  # labels whose features count as known; all if empty
    leave_out: list[str] = field(default_factory=list)  # sources kept out, e.g. for a leave-one-source-out check
    seed: int = 0

    @property
    def tasks(self) -> tuple[str, ...]:
        """The exported task first, then the helpers."""
        return (self.head, *self.helpers)


def load_recipe(name_or_path: str, changes: Iterable[str] = ()) -> Recipe:
    """A classifier's recipe: recipes/NAME.toml or a path, then "key=value" changes (values in TOML syntax)."""
    path, values = read_values(name_or_path, changes)
    recipe = strict(Recipe, path, values)
    if strangers := set(recipe.mix) - set(recipe.tasks):
        raise RecipeError("bad_mix", f"{path.name}: mix names {sorted(strangers)}, which is no task of this recipe.")
    if recipe.keep not in ("best", "last"):
        raise RecipeError("bad_keep", f'{path.name}: keep must be "best" or "last", got {recipe.keep!r}.')
    return recipe


def read_values(name_or_path: str, changes: Iterable[str] = ()) -> tuple[Path, dict[str, Any]]:
    """The recipe's file and its values, `changes` applied; nothing is checked yet."""
    path = Path(name_or_path)
    if not path.suffix:
        path = FOLDER / f"{name_or_path}.toml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.toml")))
        raise RecipeError("no_recipe", f"There is no recipe {name_or_path!r}; known: {known}, or give a .toml file.")
    values = tomllib.loads(path.read_text())
    for change in changes:
        key, found, text = change.partition("=")
        if not found:
            raise RecipeError("bad_change", f"--set takes key=value, got {change!r}.")
        try:
            values[key.strip()] = tomllib.loads(f"v = {text}")["v"]
        except tomllib.TOMLDecodeError:
            values[key.strip()] = text  # a bare word is a string
    return path, values


def strict(kind: type[T], path: Path, values: dict[str, Any]) -> T:
    """`values` as the dataclass `kind`; an unknown key is an error."""
    known = {f.name for f in dataclasses.fields(kind)}
    if unknown := set(values) - known:
        raise RecipeError(
            "unknown_key", f"{path.name}: unknown {sorted(unknown)}; a recipe has {', '.join(sorted(known))}."
        )
    return kind(**values)
