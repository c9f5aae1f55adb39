"""`python -m mri_models publish`: shows what would go where; `--push` sends it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent.parent


def add(commands: Any) -> None:
    """Hang `publish` below the package's commands (`argparse`'s subparsers)."""
    publish = commands.add_parser("publish", help="model folders and Space to the Hugging Face Hub; a dry run at first")
    publish.add_argument("--weights", required=True, metavar="OWNER/REPO", help="the model repository")
    publish.add_argument("--space", metavar="OWNER/NAME", help="the Space; without it only the models are published")
    publish.add_argument("--examples", type=Path, metavar="CORPUS", help="add its CC BY images of test patients")
    publish.add_argument("--folder", type=Path, default=ROOT / "weights", help="the model folders; default weights/")
    publish.add_argument("--private", action="store_true", help="what has to be created shall be private")
    publish.add_argument("--push", "--yes", action="store_true", help="really send it; needs HF_TOKEN")
    publish.set_defaults(run=_publish)


def _publish(options: argparse.Namespace) -> int:
    from mri_models.publish import checkout
    from mri_models.publish.plan import table
    from mri_models.publish.space import CHECKED
    from mri_models.publish.weights import weights_plan

    models = weights_plan(options.folder, options.weights)
    space = _space(options) if options.space else None
    folder = options.folder.resolve()
    checked = (*(CHECKED if space else ()), *([str(folder)] if folder.is_relative_to(ROOT) else []))
    for plan in filter(None, (models, space)):
        print(table(plan))
    if options.push:
        checkout.require_committed(ROOT, checked)
        return _push(options, models, space)
    if changed := checkout.uncommitted(ROOT, checked):
        print(f"{len(changed)} files are not committed, e.g. {changed[0]}: --push would refuse them.")
    print("Dry run: nothing was sent. Add --push to publish.")
    return 0


def _space(options: argparse.Namespace) -> Any:
    from mri_models.publish.examples import LISTING, choose
    from mri_models.publish.space import space_plan

    bundled = json.loads((ROOT / "examples" / LISTING).read_text("utf-8"))
    chosen = choose(options.examples, first=len(bundled) + 1) if options.examples else []
    return space_plan(ROOT, options.space, options.weights, chosen)


def _push(options: argparse.Namespace, models: Any, space: Any) -> int:
    from huggingface_hub import HfApi

    from mri_models.publish.checkout import commit_of
    from mri_models.publish.push import Publisher

    publisher = Publisher(HfApi(), private=options.private)
    print(f"signed in as {publisher.sign_in()}")
    summary = f"Publish {commit_of(ROOT)}".strip()
    commit = publisher.push(models, summary)
    if space:
        publisher.point(space, f"{models.repo}@{commit}")  # first, so that the build that follows finds its models
        publisher.push(space, summary)
    return 0
