"""The git checkout that everything comes from: only what is committed can be found again later."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

from mri_models.errors import PublishError


def commit_of(root: Path) -> str:
    """The short hash of the checked-out commit; "" where `root` is no git checkout."""
    return _git(root, "rev-parse", "--short=12", "HEAD").strip()


def uncommitted(root: Path, paths: Sequence[str]) -> list[str]:
    """The files below `paths` that are changed, new or gone since the last commit; none outside a git checkout."""
    lines = _git(root, "status", "--porcelain", "--no-renames", "--untracked-files=all", "--", *paths).splitlines()
    return [line[3:] for line in lines]


def require_committed(root: Path, paths: Sequence[str]) -> None:
    """Raises PublishError when `uncommitted` finds anything."""
    if changed := uncommitted(root, paths):
        names = ", ".join(changed[:5]) + (f" and {len(changed) - 5} more" if len(changed) > 5 else "")
        raise PublishError(
            "uncommitted", f"Not committed: {names}. Commit or undo that first: what is public must be found in git."
        )


def _git(root: Path, *arguments: str) -> str:
    """What git says; "" where `root` is not the top of a checkout (an unpacked archive)."""
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        reason = (getattr(error, "stderr", "") or str(error)).strip()
        raise PublishError("no_git", f"git can't tell what is committed in {root}: {reason}") from error
