"""A folder to import from that holds what requirements.txt brings, and nothing that only training and tests install.

An import that only the tests' packages satisfy would pass every other test and fail in a fresh clone.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from make_lock import SERVING, locked


def link_serving(folder: Path) -> None:
    """Links to the installed packages that the serving lock holds, as pip would have laid them out."""
    for name in locked(SERVING):
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # of another system
        site = Path(str(package.locate_file("")))
        for top in {file.parts[0] for file in package.files or () if file.parts[0] not in ("..", "__pycache__")}:
            link = folder / top
            if not link.exists():
                link.symlink_to(site / top)


def serving_python(folder: Path) -> tuple[list[str], dict[str, str]]:
    """The command and environment of a Python that sees the standard library and `folder`; see `link_serving`."""
    return [sys.executable, "-S"], os.environ | {"PYTHONPATH": str(folder)}
