"""Baselines' recipes: flat, strict TOML with a `kind`; one file a baseline, in recipes/."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mri_models.errors import RecipeError
from mri_models.training.recipe import read_values, strict

FOLDER = Path(__file__).parent / "recipes"
ESTIMATORS = ("logistic", "svm", "forest", "xgboost")
SCHEDULES = ("plateau", "cosine")


@dataclass(frozen=True, slots=True)
class Classical:
    """Features, then an estimator tuned inside the training folds: by grid where `grid` is given, else by Optuna."""

    name: str
    title: str  # in the table
    features: str  # "handmade" or "frozen"
    estimator: str
    components: int = 0  # principal components; 0 keeps the standardised features
    grid: dict[str, list[float]] = field(default_factory=dict)  # every combination is tried
    space: dict[str, list[float]] = field(default_factory=dict)  # [low, high] for Optuna, logarithmic
    trials: int = 0  # of Optuna
    inner_folds: int = 3  # 1: a single held-out part of four, for what is slow
    fixed: dict[str, float] = field(default_factory=dict)  # parameters that are not tuned
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Network:
    """A network trained by gradient descent until its share of time, or of images, is used up."""

    name: str
    title: str
    network: str  # "plain", or a timm architecture
    network_args: dict[str, object] = field(default_factory=dict)
    start: str = "scratch"  # or "lite2", "lite1": ImageNet weights, of which the first `frozen` stages stay as they are
    frozen: int = 0  # stages whose outputs are computed once for `views` variants of each image
    views: int = 2  # the image, its mirror, and views - 2 variants
    size: int = 96  # px
    minutes: float = 2.0  # CPU minutes a fold; 0 for none
    images: int = 0  # seen in all; 0 for no limit but the time
    batch: int = 32
    lr: float = 1e-3
    weight_decay: float = 0.0  # above 0: AdamW instead of Adam
    schedule: str = "plateau"  # "plateau" halves the rate when validation stalls; "cosine" follows the share used
    validated: bool = True  # false: no inner validation, the last weights count, and no training patient is held out
    every: int = 1500  # images between validations
    smoothing: float = 0.0
    bf16: bool = False
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of other baselines' class scores, fold by fold; nothing is fitted."""

    name: str
    title: str
    members: list[str]


Baseline = Classical | Network | Mean
KINDS: dict[str, type[Baseline]] = {"classical": Classical, "network": Network, "mean": Mean}


def load_baseline(name_or_path: str, changes: tuple[str, ...] = ()) -> Baseline:
    """recipes/NAME.toml or a path. Raises RecipeError for an unknown kind, key, estimator or schedule."""
    path = Path(name_or_path)
    path = path if path.suffix else FOLDER / f"{name_or_path}.toml"
    if not path.is_file():
        raise RecipeError("no_recipe", f"There is no baseline {name_or_path!r}; known: {', '.join(names())}.")
    path, values = read_values(str(path), changes)
    kind = values.pop("kind", None)
    if kind not in KINDS:
        raise RecipeError("bad_kind", f"{path.name}: kind must be one of {', '.join(KINDS)}, got {kind!r}.")
    recipe = strict(KINDS[kind], path, values)
    _check(recipe, path.name)
    return recipe


def names() -> list[str]:
    """All baselines, those that are means of others last."""
    found = {path.stem: read_values(str(path))[1].get("kind") == "mean" for path in sorted(FOLDER.glob("*.toml"))}
    return sorted(found, key=lambda name: (found[name], name))


def _check(recipe: Baseline, file: str) -> None:
    if isinstance(recipe, Classical):
        if recipe.estimator not in ESTIMATORS:
            raise RecipeError(
                "bad_estimator", f"{file}: estimator must be one of {', '.join(ESTIMATORS)}, got {recipe.estimator!r}."
            )
        if bool(recipe.grid) == bool(recipe.space):
            raise RecipeError("bad_search", f"{file}: give either grid (grid search) or space (Optuna).")
        if recipe.space and recipe.trials < 1:
            raise RecipeError("bad_search", f"{file}: space needs trials of at least 1, got {recipe.trials}.")
    if isinstance(recipe, Network):
        if recipe.schedule not in SCHEDULES:
            raise RecipeError(
                "bad_schedule", f"{file}: schedule must be one of {', '.join(SCHEDULES)}, got {recipe.schedule!r}."
            )
        if not (recipe.minutes or recipe.images):
            raise RecipeError("endless", f"{file}: give minutes, images, or both.")
        if recipe.schedule == "plateau" and not recipe.validated:
            raise RecipeError(
                "bad_schedule", f'{file}: "plateau" watches validation, which validated = false leaves out.'
            )
