"""A local folder or a Hub revision -> verified files.

Two independent statements guard the weights. The folder's own config.json carries the SHA-256 of model.safetensors and
of the tensors beside it (`verify`), which catches truncated and damaged files, also offline. Since a config can be
altered together with the weights, `resolve` also compares each large file of a Hub revision with the SHA-256 that the
Hub itself states for it, whenever the Hub answers; offline, the cached files have only their config's word.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
)
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils import OfflineModeIsEnabled, filter_repo_objects, httpx, validate_repo_id
from safetensors import SafetensorError

from mri_models.errors import WeightsError

_LOG = logging.getLogger(__name__)
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
BUNDLED = Path(__file__).parent.parent / "weights"
_WANTED = ["*.json", "*.safetensors", "*.md"]  # an allow-list, so that pickles and code are never even downloaded
_REVISION = re.compile(r"(?!.*\.\.)\w[\w./+-]*")  # no "..": the client uses it as a path inside the cache
_DOWNLOAD_ERRORS = (httpx.HTTPError, XetDownloadError, OSError, ValueError)  # ValueError: a captive portal's HTML


def resolve(source: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds the model folders: `source`, else `MRI_WEIGHTS`, else the repository's `weights/`.

    source: a folder, or `owner/repo@revision`. Only a commit hash pins the files: a tag or branch is taken too, but its
    owner can move it, so that is said in the log. The revision lands in the normal Hugging Face cache and is served
    from there when the Hub can't be reached. `verify` each model folder before loading it.
    """
    source = source or os.environ.get("MRI_WEIGHTS") or BUNDLED
    folder = Path(source)
    if folder.is_dir():
        return folder
    if not isinstance(source, str) or source.startswith(("/", ".")):
        raise WeightsError(
            "folder_not_found", f"Weights folder {folder} does not exist. Check the path, or give owner/repo@revision."
        )
    repo, revision = _parse(source)
    folder = _from_hub(repo, revision)
    if revision != folder.name:  # a snapshot is called by its commit
        _LOG.warning(
            "Weights are %s@%s as it is now: a tag or branch can be moved. To pin them: %s@%s",
            *(repo, revision, repo, folder.name),
        )
    return folder


def verify(folder: Path) -> str:
    """The SHA-256 of the folder's weights, once it equals what its config states under "mri" -> "sha256".

    So must every file under "mri" -> "beside": familiarity statistics and the like decide what is accepted.
    """
    again = "Restore the folder from where it came, or export the model again."
    try:
        mri = json.loads((folder / CONFIG).read_text("utf-8"))["mri"]
        stated = {WEIGHTS: mri["sha256"], **mri.get("beside", {})}
        actual = {name: _sha256(folder / name) for name in stated}
    except FileNotFoundError as error:
        raise WeightsError("missing_file", f"{folder} has no {Path(error.filename).name}. {again}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            "bad_config", f"{folder / CONFIG} is not JSON that states mri.sha256, the hash of {WEIGHTS}. {again}"
        ) from error
    for name, digest in actual.items():
        if digest != stated[name]:
            raise WeightsError(
                "hash_mismatch", f"{folder / name} has SHA-256 {digest}, its config states {stated[name]}. {again}"
            )
    return actual[WEIGHTS]


def card_of(folder: Path) -> str:
    """A model card without its YAML front matter; empty when there is none."""
    path = folder / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if text.startswith("---"):
        text = text.split("---", 2)[-1]
    return text.strip()


def beside(folder: Path) -> dict[str, str]:
    """{name: SHA-256} of the tensors beside the weights, for whoever writes the config."""
    return {path.name: _sha256(path) for path in sorted(folder.glob("*.safetensors")) if path.name != WEIGHTS}


@contextmanager
def loading(folder: Path, what: str, again: str = "fetch or export it again") -> Iterator[None]:
    """Whatever goes wrong inside becomes a WeightsError that says so of the model `folder`, which is to be a `what`."""
    try:
        yield
    except (
        OSError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        RuntimeError,
        SafetensorError,
    ) as error:
        raise WeightsError("bad_model", f"{folder} can't be loaded as {what} ({error}); {again}.") from error


def check_version(folder: Path, mri: Mapping[str, Any], known: int) -> None:
    """Raise WeightsError unless config.json's "mri" is of the version that this package reads."""
    if mri["version"] != known:
        raise WeightsError(
            "config_version",
            f"{folder.name} has config version {mri['version']}, this package reads {known}: "
            "update the package or pin another revision of the weights.",
        )


def model_folders(root: Path) -> dict[str, Path]:
    """Every folder below `root` that holds a config.json, by its relative name ("diagnosis/brain"), sorted."""
    folders = (config.parent for config in root.rglob(CONFIG) if config.parent != root)
    found = {folder.relative_to(root).as_posix(): folder for folder in folders}
    if not found:
        raise WeightsError(
            "no_models",
            f"{root} holds no model folder (one with {CONFIG} and {WEIGHTS}). "
            "Set MRI_WEIGHTS to a folder that does, or to owner/repo@revision.",
        )
    return dict(sorted(found.items()))


def _parse(source: str) -> tuple[str, str]:
    """Split `owner/repo@revision`."""
    repo, at, revision = source.partition("@")
    try:
        validate_repo_id(repo)
    except HFValidationError:
        repo = ""
    if "/" not in repo or (at and not _REVISION.fullmatch(revision)):
        raise WeightsError("bad_source", f"Weights {source!r} are neither an existing folder nor owner/repo@revision.")
    if not at:
        raise WeightsError(
            "unpinned_revision",
            f"Weights {source!r} are no existing folder, and as a Hub repository they need a revision: "
            "a repository can change at any time, and so would the answers. "
            f"Append a commit hash or tag (only the hash can't be moved): {repo}@REVISION.",
        )
    return repo, revision


def _from_hub(repo: str, revision: str) -> Path:
    """The revision's snapshot in the cache, downloaded where needed and compared with the Hub's own hashes."""
    fetch = partial(snapshot_download, repo, revision=revision, allow_patterns=_WANTED)
    info, failure = None, None
    try:
        # Asked first because it takes a timeout: snapshot_download's own API calls wait for ever on a silent Hub.
        info = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT)
        folder = Path(fetch())
    except RevisionNotFoundError as error:
        raise _translate(error, repo, revision) from error
    except _DOWNLOAD_ERRORS as error:
        try:
            folder = Path(fetch(local_files_only=True))
        except LocalEntryNotFoundError:
            raise _translate(error, repo, revision) from error
        failure = error
    if info:  # also when the download broke off half-way: what did arrive must be what the Hub states
        _compare(folder, info)
        if failure and _missing(folder, info):
            raise _translate(failure, repo, revision) from failure
    return folder


def _missing(folder: Path, info: ModelInfo) -> bool:
    """Whether a snapshot lacks a wanted file: the cache serves one as soon as its folder is there."""
    names = [sibling.rfilename for sibling in info.siblings or ()]
    return not all((folder / name).is_file() for name in filter_repo_objects(names, allow_patterns=_WANTED))


def _compare(folder: Path, info: ModelInfo) -> None:
    """Refuse a snapshot with a large file that differs from the SHA-256 which the Hub states for it."""
    for sibling in info.siblings or ():
        path = folder / sibling.rfilename
        if sibling.lfs and path.is_file() and _sha256(path) != sibling.lfs.sha256:
            _forget(path)
            raise WeightsError(
                "hash_mismatch",
                f"{sibling.rfilename} of {info.id}@{info.sha} differs from what the Hub states for it: damaged or "
                "altered on its way. Start again to download it anew; if this repeats, mistrust the network or mirror.",
            )


def _forget(path: Path) -> None:
    """Drop a bad file from the cache, or the next start without network would trust it."""
    with suppress(OSError):  # a read-only cache
        path.resolve().unlink()  # the bytes; `path` is a link to them where the system has links
        path.unlink(missing_ok=True)


def _translate(error: Exception, repo: str, revision: str) -> WeightsError:
    """What a failed download means for the one who named the revision."""
    cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) else error  # the client wraps what went wrong
    status = cause.response.status_code if isinstance(cause, HfHubHTTPError) else None
    if isinstance(cause, RevisionNotFoundError):
        return WeightsError(
            "revision_not_found", f"{repo} has no revision {revision!r}. Take a commit hash or tag from its history."
        )
    if isinstance(cause, RepositoryNotFoundError) and not isinstance(cause, GatedRepoError):
        return WeightsError(
            "repo_not_found",
            f"There is no model repository {repo}, or it is private. Check the name; for a private one, set HF_TOKEN.",
        )
    if status in (401, 403):
        return WeightsError(
            "unauthorised",
            f"The Hub does not let you read {repo}. Ask for access on its page, then set HF_TOKEN to a valid token.",
        )
    if isinstance(cause, HfHubHTTPError | httpx.TransportError | OfflineModeIsEnabled):
        reason = f"status {status}" if status else type(cause).__name__
        return WeightsError(
            "hub_unreachable",
            f"{repo}@{revision} is not completely in the cache and the Hub can't be reached ({reason}). "
            "Check the network and HF_HUB_OFFLINE, or set MRI_WEIGHTS to a local folder.",
        )
    return WeightsError(
        "download_failed", f"Downloading {repo}@{revision} failed ({cause}). Check disk and network, then try again."
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
