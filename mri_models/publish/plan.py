"""Which files would go where, as values: nothing here opens a connection."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Literal

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from mri_models.errors import PublishError

Kind = Literal["model", "space"]
_SKIPPED = ("__pycache__", ".*")  # caches and hidden files: neither uploaded nor worth a word


@dataclass(frozen=True)
class Upload:
    """One file of a repository: its path there, and where its bytes are (a local file, or the bytes themselves)."""

    path: str
    source: Path | bytes

    def read(self) -> bytes:
        return self.source if isinstance(self.source, bytes) else self.source.read_bytes()

    @cached_property
    def size(self) -> int:
        return len(self.source) if isinstance(self.source, bytes) else self.source.stat().st_size

    @cached_property
    def sha256(self) -> str:
        """How the Hub names a large file's content."""
        return hashlib.sha256(self.read()).hexdigest()

    @cached_property
    def git_id(self) -> str:
        """How git, and so the Hub, names a small file's content."""
        return hashlib.sha1(b"blob %d\0" % self.size + self.read()).hexdigest()


@dataclass(frozen=True, slots=True)
class Plan:
    """All files of one repository.

    owned: patterns of the paths that publishing answers for: a file of the repository that matches one, and is not in
    `files`, is a left-over of an earlier upload and goes; whatever else lies there is somebody's and stays.
    limit: the most bytes that the files may have together.

    Raises PublishError for a malformed name, a path outside `owned`, a path named twice, and too many bytes.
    """

    repo: str
    kind: Kind
    files: tuple[Upload, ...]
    owned: tuple[str, ...]
    limit: int

    def __post_init__(self) -> None:
        _check_name(self.repo)
        paths = [upload.path for upload in self.files]
        if strange := [path for path in paths if not self.owns(path) or paths.count(path) > 1]:
            raise PublishError("unexpected_file", f"{strange[0]} does not belong into the {self.kind} {self.repo}.")
        if self.size > self.limit:
            raise PublishError(
                "too_large",
                f"The {self.kind} {self.repo} would hold {self.size / 1e6:.1f} MB, at most {self.limit / 1e6:.0f} MB "
                "are meant to go there. See the list for what is large, and move it away.",
            )

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(upload.size for upload in self.files)

    def owns(self, path: str) -> bool:
        return any(fnmatchcase(path, pattern) for pattern in self.owned)

    def changes(self, there: Mapping[str, str]) -> Changes:
        """What differs from a repository that holds `there`: {path: a large file's SHA-256, a small one's git id}."""
        differing = [file for file in self.files if there.get(file.path) not in (file.sha256, file.git_id)]
        kept = {file.path for file in self.files}
        gone = sorted(path for path in there if path not in kept and self.owns(path))
        return Changes(tuple(differing), tuple(gone), frozenset(file.path for file in differing) - set(there))


@dataclass(frozen=True, slots=True)
class Changes:
    """The uploads that a repository lacks or holds otherwise, and the left-over paths that it should lose."""

    send: tuple[Upload, ...] = ()
    delete: tuple[str, ...] = ()
    new: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.send or self.delete)

    def lines(self) -> Iterator[str]:
        """One line for each path."""
        for upload in self.send:
            yield f"{'add' if upload.path in self.new else 'update'} {upload.path}"
        yield from (f"delete {path}" for path in self.delete)


def table(plan: Plan) -> str:
    """The plan as text: bytes, the start of the SHA-256, path."""
    title = (
        f"{plan.kind} {plan.repo}: {len(plan.files)} files, {plan.size / 1e6:.1f} MB (limit {plan.limit / 1e6:.0f} MB)"
    )
    rows = [f"  {upload.size:>11,}  {upload.sha256[:12]}  {upload.path}" for upload in plan.files]
    return "\n".join([title, f"  {'bytes':>11}  {'sha256':<12}  path", *rows])


def allowed_files(folder: Path, patterns: Sequence[str]) -> list[Path]:
    """Every file below `folder`, sorted, each with a name that one of `patterns` allows.

    Raises PublishError for any other file, so that nothing is sent by accident and nothing is left out unnoticed.
    """
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if any(fnmatchcase(part, pattern) for part in parts for pattern in _SKIPPED) or path.is_dir():
            continue
        if path.is_symlink() or not any(fnmatchcase(path.name, pattern) for pattern in patterns):
            raise PublishError(
                "unexpected_file",
                f"{path} is none of {', '.join(patterns)}, and only these are published. Move it away, or extend the "
                "list in mri_models/publish.",
            )
        found.append(path)
    return found


def _check_name(repo: str) -> None:
    try:
        validate_repo_id(repo)
        named = repo.count("/") == 1
    except HFValidationError:
        named = False
    if not named:
        raise PublishError("bad_name", f"{repo!r} is no repository of the Hub: write owner/name.")
