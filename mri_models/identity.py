"""Which file or folder a path leads to, links followed: what keeps a walk through folders out of circles."""

from __future__ import annotations

import os

Identity = tuple[int, int]  # device and inode


def identity(path: os.PathLike | os.DirEntry) -> Identity:
    """Raises OSError where there is nothing, or nothing that may be seen."""
    found = os.stat(path)  # an entry's own stat lacks the inode on some systems
    return found.st_dev, found.st_ino
