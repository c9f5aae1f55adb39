"""Which files a folder holds: lazily, and always in the same order."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from mri_models.identity import Identity, identity


def walk(folder: Path, leave_out: Path | None = None) -> Iterator[str]:
    """Names of all files below `folder`, relative to it, "/" between their parts, in the order of `key`.

    One folder's names are in memory at a time, and those of the folders above it. Hidden names and `leave_out` are
    passed over, links are followed but never in circles, and a folder that can't be opened is named like a file, so
    that its answer says so.
    """
    above = frozenset(identity(path) for path in (folder, leave_out) if path and path.is_dir())
    yield from _below(os.fspath(folder), "", above)


def key(name: str) -> str:
    """Sorts names part by part, as `walk` comes along: "a/z" before "a.b"."""
    return name.replace("/", "\0")


def _below(folder: str, prefix: str, above: frozenset[Identity]) -> Iterator[str]:
    with os.scandir(folder) as found:
        entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    for entry in entries:
        name = prefix + entry.name
        if os.path.isfile(entry):  # unlike the entry's own, never an error: links may lead in circles or be locked
            yield name
        elif os.path.isdir(entry):
            try:
                if (found := identity(entry)) not in above:
                    yield from _below(entry.path, f"{name}/", above | {found})
            except OSError:
                yield name
