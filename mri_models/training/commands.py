"""`python -m mri_models train | average | export | recover | unseen | scale | cards`: recipes become models.

What each `kind` of recipe asks for is here.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Trade:
    """How recipes of one kind are read, trained and exported, and how a model folder's card is written.

    weights: whether its training starts from what WEIGHTS holds already.
    """

    load: Callable[..., Any]
    train: Callable[..., object]
    export: Callable[..., Path]
    card: Callable[[Path, Any], None]
    weights: bool = False


def add(commands: Any, corpus: Path) -> None:
    """Hang the seven below the package's commands (`argparse`'s subparsers)."""
    train = commands.add_parser("train", help="train a recipe (recipes/NAME.toml or a path) and export the model")
    train.add_argument("recipe")
    train.add_argument("--no-resume", action="store_true", help="start over even if a checkpoint is there")
    train.add_argument("--no-export", action="store_true", help="leave weights/ alone")
    train.set_defaults(run=_train)

    export = commands.add_parser("export", help="calibrate a finished run and write its folder below weights/")
    export.add_argument("recipe")
    export.set_defaults(run=_export, set=[])

    average = commands.add_parser("average", help="judge averages of a recipe's runs (its soup) on validation patients")
    average.add_argument("recipe")
    average.add_argument(
        "--shares", action="append", default=[], metavar="A,B,...", help="one average; may be repeated"
    )
    average.set_defaults(run=_average)
    for command in (train, average):
        command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a recipe's value")
    for command in (train, average, export):
        command.add_argument("--data", type=Path, default=corpus, help="corpus folder with manifest.csv")
        command.add_argument("--runs", type=Path, default=Path("runs"), help="checkpoints and curves")
    for command in (train, export):
        command.add_argument("--weights", type=Path, default=Path("weights"), help="where the model folder is written")

    recover = commands.add_parser("recover", help="write the runs behind weights/ back into runs/, to go on from")
    recover.add_argument("--weights", type=Path, default=Path("weights"), help="the exported models")
    recover.add_argument("--runs", type=Path, default=Path("runs"), help="finished runs that are there stay")
    recover.set_defaults(run=_recover)

    unseen = commands.add_parser("unseen", help="train without a third of the sources at a time, and ask about those")
    unseen.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change recipes/unseen.toml")
    unseen.add_argument("--data", type=Path, default=corpus, help="corpus folder with manifest.csv")
    unseen.add_argument("--runs", type=Path, default=Path("runs"), help="checkpoints and curves")
    unseen.add_argument("--no-resume", action="store_true", help="train again, whatever is there")
    unseen.add_argument("--write", action="store_true", help="keep it in weights/unseen.json and the README")
    unseen.set_defaults(run=_unseen)

    scale = commands.add_parser("scale", help="give exported models the colour scale of methods that they lack")
    scale.add_argument("--data", type=Path, default=corpus, help="corpus folder with manifest.csv")
    scale.add_argument("--weights", type=Path, default=Path("weights"), help="whose config.json files are completed")
    scale.set_defaults(run=_scale)

    cards = commands.add_parser("cards", help="write every model card again from its recipe and config; tables stay")
    cards.add_argument("--weights", type=Path, default=Path("weights"), help="whose README.md files are written")
    cards.set_defaults(run=_cards)


def trade(name_or_path: str) -> Trade:
    """What the kind of this recipe asks for; without a kind it trains a classifier."""
    from mri_models.training import (
        anomaly,
        anomaly_card,
        anomaly_export,
        card,
        discs,
        discs_card,
        discs_export,
        export,
        fit,
        orientation,
        orientation_card,
        orientation_export,
        recipe,
        segment,
        segment3d,
        segment3d_card,
        segment3d_export,
        segment_card,
        segment_export,
        segment_start,
    )

    trades = {
        anomaly.KIND: Trade(
            anomaly.load_anomaly_recipe,
            anomaly.train,
            anomaly_export.export,
            lambda folder, _: anomaly_card.write_card(folder),
        ),
        discs.KIND: Trade(
            discs.load_disc_recipe,
            discs.train,
            discs_export.export,
            lambda folder, _: discs_card.write_card(folder),
            weights=True,
        ),
        orientation.KIND: Trade(
            orientation.load_orientation_recipe,
            orientation.train,
            orientation_export.export,
            lambda folder, _: orientation_card.write_card(folder),
        ),
        segment.KIND: Trade(
            segment_start.load_segment_recipe,
            segment.train,
            segment_export.export,
            segment_card.write_card,
            weights=True,
        ),
        segment3d.KIND: Trade(
            segment3d.load_segment3d_recipe,
            segment3d.train,
            segment3d_export.export,
            lambda folder, _: segment3d_card.write_card(folder),
        ),
    }
    kind = recipe.read_values(name_or_path)[1].get("kind")
    return trades.get(kind) or Trade(recipe.load_recipe, fit.train, export.export, card.write_card)


def recipe_name(model: str) -> str:
    """A model folder's relative name → the recipe that it was exported with."""
    return model.removeprefix("diagnosis/").replace("segmentation/", "segment_")


def read_recipe(model: str) -> Any:
    """The recipe of an exported model, as its kind reads it."""
    name = recipe_name(model)
    return trade(name).load(name)


def _train(options: argparse.Namespace) -> int:
    found = trade(options.recipe)
    recipe = found.load(options.recipe, options.set)
    folders = [options.data, options.runs, *([options.weights] if found.weights else [])]
    if not getattr(recipe, "run", None):  # else the run that it names holds its network already
        found.train(recipe, *folders, resume=not options.no_resume)
    return 0 if options.no_export or not getattr(recipe, "exported", True) else _export(options)


def _export(options: argparse.Namespace) -> int:
    found = trade(options.recipe)
    folder = found.export(found.load(options.recipe, options.set), options.data, options.runs, options.weights)
    print(f"wrote {folder}")
    return 0


def _average(options: argparse.Namespace) -> int:
    from mri_models.training.soups import compare, read_shares

    recipe = trade(options.recipe).load(options.recipe, options.set)
    for shares, figures in compare(recipe, [read_shares(one) for one in options.shares], options.data, options.runs):
        print(json.dumps({"shares": shares} | figures), flush=True)
    return 0


def _recover(options: argparse.Namespace) -> int:
    from mri_models.training.recover import recover

    for folder in recover(options.weights, options.runs):
        print(f"wrote {folder}")
    return 0


def _unseen(options: argparse.Namespace) -> int:
    from mri_models.errors import RecipeError
    from mri_models.training.unseen import render, unseen, write

    if options.write and options.set:
        raise RecipeError("changed", "--write is for the recipe as it stands; look at what --set changes without it.")
    result = unseen(options.data, options.runs, options.set, resume=not options.no_resume)
    print(render(result))
    if options.write:
        write(result)
    return 0


def _scale(options: argparse.Namespace) -> int:
    from mri_models.training.scale import complete_scales

    for model, added in complete_scales(options.weights, options.data):
        print(model, json.dumps(added))
    return 0


def _cards(options: argparse.Namespace) -> int:
    for path in rewrite_cards(options.weights):
        print(f"wrote {path}")
    return 0


def rewrite_cards(weights: Path) -> Iterator[Path]:
    """Write every README.md below `weights` again; what `evaluate` put between its marks stays."""
    from mri_models.evaluation.tables import sections, update_readme
    from mri_models.hub import model_folders

    for name, folder in model_folders(weights).items():
        path = folder / "README.md"
        measured = sections(path)
        trade(recipe_name(name)).card(folder, read_recipe(name))
        for section, text in measured.items():
            update_readme(path, section, text)
        yield path
