"""The Space: code, examples, README with complete front matter, and the versions that this checkout was tested with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml
from packaging.requirements import InvalidRequirement, Requirement

from mri_models.errors import PublishError
from mri_models.publish.examples import Chosen, example_files
from mri_models.publish.plan import Plan, Upload, allowed_files

LIMIT = 50_000_000  # bytes: code and small pictures; weights have a repository of their own
CHECKED = ("app.py", "mri_models", "examples", ".readme", ".lock", "README.md", "requirements.txt")  # a Space's parts
_CODE = ("*.py", "*.toml", "*.css", "*.js", "*.svg", "*.html", "*.md", "*.json", "requirements.txt", "LICENSE*")
_OWNED = ("app.py", "README.md", "requirements.txt", "mri_models/*", "examples/*", ".readme/*", ".lock/*")
_BESIDE = (".readme/*.png", ".lock/*")  # of these, what the README shows or links to
_COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
_REQUIRED = ("title", "emoji", "colorFrom", "colorTo", "sdk", "sdk_version", "python_version", "app_file", "license")
_REQUIRED += ("short_description", "tags", "suggested_hardware")
_LONGEST = 60  # characters of a short_description
# Spaces with shared GPUs (ZeroGPU) offer torch up to 2.11, whose torchvision is 0.26; newer ones would not start there.
ZEROGPU = {"torch": "<2.12", "torchvision": "<0.27"}


def space_plan(root: Path, repo: str, weights: str, chosen: Sequence[Chosen] = ()) -> Plan:
    """What of the checkout `root` goes to the Space `repo`, which takes its models from `weights` (owner/repo).

    Raises PublishError for incomplete front matter, an untested environment, or files that don't belong there.
    """
    requirements = pinned((root / "requirements.txt").read_text("utf-8"))
    readme = space_readme((root / "README.md").read_text("utf-8"), weights)
    package = allowed_files(root / "mri_models", _CODE)
    beside = [path.relative_to(root).as_posix() for pattern in _BESIDE for path in sorted(root.glob(pattern))]
    linked = [root / path for path in beside if f"]({path})" in readme]
    files = [Upload(path.relative_to(root).as_posix(), path) for path in (root / "app.py", *package, *linked)]
    files += example_files(root / "examples", chosen)
    files += [Upload("README.md", readme.encode()), Upload("requirements.txt", requirements.encode())]
    return Plan(repo, "space", tuple(sorted(files, key=lambda upload: upload.path)), _OWNED, LIMIT)


def pinned(requirements: str) -> str:
    """The same requirements, each at the version installed here; torch and torchvision as a range for ZeroGPU.

    Raises PublishError for a package that is missing here or lies outside its range, so was not tested.
    """
    lines = ["# Written by `python -m mri_models publish`: the versions that the code was tested with."]
    for line in requirements.splitlines():
        if wanted := line.partition("#")[0].strip():
            lines.append(_pin(wanted))
    return "\n".join(lines) + "\n"


def _pin(line: str) -> str:
    try:
        wanted = Requirement(line)
        here = version(wanted.name)
    except (InvalidRequirement, PackageNotFoundError) as error:
        raise PublishError(
            "untested",
            f"requirements.txt asks for {line!r}, which this environment can't tell the version of: {error}.",
        ) from error
    if not wanted.specifier.contains(here, prereleases=True):
        raise PublishError(
            "untested", f"{wanted.name} {here} is installed, requirements.txt asks for {line}: nothing was tested so."
        )
    if wanted.name in ZEROGPU:
        least = next(str(part) for part in wanted.specifier if part.operator == ">=")
        return f"{wanted.name}{least},{ZEROGPU[wanted.name]}"
    return f"{wanted.name}=={here.partition('+')[0]}"  # "+cpu" and the like name a build, not a release


def space_readme(readme: str, weights: str) -> str:
    """The README with `models` in its front matter, once that is complete and fits the installed Gradio."""
    matter, text = front_matter(readme)
    _check(matter)
    matter["models"] = [weights]
    return f"---\n{yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)}---{text}"


def front_matter(readme: str) -> tuple[dict[str, Any], str]:
    """(keys and values between the first two `---` lines, the text behind them)."""
    parts = readme.split("---", 2)
    try:
        matter = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0] else None
    except yaml.YAMLError as error:
        raise PublishError("front_matter", f"README.md does not start with valid YAML: {error}.") from error
    if not isinstance(matter, dict):
        raise PublishError("front_matter", "README.md does not start with a block of YAML between two lines of ---.")
    return matter, parts[2]


def _check(matter: Mapping[str, Any]) -> None:
    """Raises PublishError for the first thing that the Hub would refuse, or that contradicts the environment."""
    wrong = None
    if missing := [key for key in _REQUIRED if not matter.get(key)]:
        wrong = f"lacks {', '.join(missing)}"
    elif colours := [matter[key] for key in ("colorFrom", "colorTo") if matter[key] not in _COLOURS]:
        wrong = f"names the colour {colours[0]}; the Hub knows {', '.join(_COLOURS)}"
    elif len(matter["short_description"]) > _LONGEST:
        wrong = f"has a short_description of {len(matter['short_description'])} characters, at most {_LONGEST} fit"
    elif matter["sdk"] != "gradio" or matter["sdk_version"] != version("gradio"):
        wrong = f"says {matter['sdk']} {matter['sdk_version']}; tested was gradio {version('gradio')}"
    elif not isinstance(matter["python_version"], str):
        wrong = 'has python_version as a number, which turns 3.10 into 3.1: put it in quotes ("3.12")'
    if wrong:
        raise PublishError("front_matter", f"The front matter of README.md {wrong}.")
