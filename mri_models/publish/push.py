"""Sends what differs from what the Hub has: one commit a repository, nothing when nothing changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError, RepositoryNotFoundError
from huggingface_hub.hf_api import ModelInfo, SpaceInfo
from huggingface_hub.utils import httpx

from mri_models.errors import PublishError
from mri_models.publish.plan import Plan

VARIABLE = "MRI_WEIGHTS"
_BRANCH = "main"
Say = Callable[[str], None]


class Publisher:
    """One visit to the Hub; `say` is told each step. Raises PublishError, whose message says what to change."""

    def __init__(self, api: HfApi, say: Say = print, private: bool = False):
        self._api = api
        self._say = say
        self._private = private

    def sign_in(self) -> str:
        """The name of the account that the token belongs to."""
        with _translated("the Hub"):
            return self._api.whoami()["name"]

    def push(self, plan: Plan, summary: str) -> str:
        """Bring a repository to the plan's state; the commit that holds it.

        Another commit on the Hub between the comparison and ours is an error, not a loss.
        """
        with _translated(plan.repo):
            head = self._head(plan)
            if not head:
                self._create(plan)
                head = self._api.repo_info(plan.repo, repo_type=plan.kind, revision=_BRANCH, files_metadata=True)
            changes = plan.changes(_files(head))
            if not changes:
                self._say(f"{plan.kind} {plan.repo}: nothing to do, commit {head.sha} holds all of it")
                return head.sha
            for line in changes.lines():
                self._say(f"  {line}")
            adds = [CommitOperationAdd(upload.path, upload.source) for upload in changes.send]
            gone = [CommitOperationDelete(path, is_folder=False) for path in changes.delete]
            done = self._api.create_commit(
                plan.repo,
                [*adds, *gone],
                commit_message=summary,
                repo_type=plan.kind,
                revision=_BRANCH,
                parent_commit=head.sha,
            )
            self._check(plan, done.oid)
        self._say(f"{plan.kind} {plan.repo}: {len(adds)} files sent, {len(gone)} deleted, commit {done.oid}")
        return done.oid

    def point(self, space: Plan, weights: str) -> None:
        """Create the Space if need be, and have it take its models from `weights` (owner/repo@commit)."""
        with _translated(space.repo):
            if not self._head(space):
                self._create(space)
            set_to = self._api.get_space_variables(space.repo).get(VARIABLE)
            if set_to is None or set_to.value != weights:
                self._api.add_space_variable(space.repo, VARIABLE, weights)
                self._say(f"space {space.repo}: {VARIABLE}={weights}")

    def _head(self, plan: Plan) -> ModelInfo | SpaceInfo | None:
        try:
            return self._api.repo_info(plan.repo, repo_type=plan.kind, revision=_BRANCH, files_metadata=True)
        except RepositoryNotFoundError:
            return None

    def _create(self, plan: Plan) -> None:
        sdk = {"space_sdk": "gradio"} if plan.kind == "space" else {}
        self._api.create_repo(plan.repo, repo_type=plan.kind, private=self._private, exist_ok=True, **sdk)
        self._say(f"{plan.kind} {plan.repo}: created, {'private' if self._private else 'public'}")

    def _check(self, plan: Plan, commit: str) -> None:
        """What the Hub holds now must be what was meant."""
        held = self._api.repo_info(plan.repo, repo_type=plan.kind, revision=commit, files_metadata=True)
        if wrong := list(plan.changes(_files(held)).lines()):
            raise PublishError(
                "not_as_sent", f"Commit {commit} of {plan.repo} differs from what was sent ({wrong[0]}). Publish again."
            )


def _files(info: ModelInfo | SpaceInfo) -> dict[str, str]:
    """{path: SHA-256 of a large file, git's id of a small one} of a revision."""
    return {
        sibling.rfilename: sibling.lfs.sha256 if sibling.lfs else sibling.blob_id or ""
        for sibling in info.siblings or ()
    }


@contextmanager
def _translated(repo: str) -> Iterator[None]:
    """What the Hub's refusals mean for the one who publishes."""
    try:
        yield
    except LocalTokenNotFoundError as error:
        raise PublishError(
            "no_token", "There is no token. Make one with write access in the Hub's settings and set HF_TOKEN to it."
        ) from error
    except HfHubHTTPError as error:
        raise _refused(repo, error) from error
    except (httpx.HTTPError, OSError, RuntimeError) as error:  # RuntimeError: a large file's upload broke off
        raise PublishError(
            "hub_unreachable",
            f"{repo} could not be reached ({error}). Run the same command again: it goes on from here.",
        ) from error
    except ValueError as error:  # the Hub's verdict on a card, a malformed answer
        raise PublishError("hub_refused", f"{repo} was refused: {error}") from error


def _refused(repo: str, error: HfHubHTTPError) -> PublishError:
    status = error.response.status_code
    told = error.server_message or f"status {status}"
    if status == 401 and not isinstance(error, RepositoryNotFoundError):
        return PublishError("bad_token", f"The Hub does not know this token ({told}). Set HF_TOKEN to a valid one.")
    if status in (401, 403, 404):
        return PublishError(
            "not_permitted", f"This token may not write to {repo} ({told}). Take one with write access to its owner."
        )
    if status in (402, 413):
        return PublishError("over_quota", f"{repo} is more than this account may store or run: {told}.")
    if status in (409, 412):
        return PublishError("changed_meanwhile", f"Somebody changed {repo} just now ({told}). Look, and publish again.")
    if status >= 500 or status == 429:
        return PublishError("hub_unreachable", f"The Hub can't answer for {repo} now ({told}). Try again later.")
    return PublishError("hub_refused", f"{repo} was refused: {told}.")
