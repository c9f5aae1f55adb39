"""Weights from folders, and from a Hub that the real client talks to in a process of its own, as a user's would."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_server import HubServer, Repo

from mri_models import hub
from mri_models.errors import WeightsError

ROOT = Path(__file__).parent.parent
OLD, NEW = "a" * 40, "b" * 40
# Prints, for each source on the command line, the folder that it resolves to or the code and message of the refusal.
CLIENT = """
import json, sys
from mri_models.errors import WeightsError
from mri_models.hub import model_folders, resolve, verify
for source in sys.argv[1:]:
    try:
        root = resolve(source)
        answer = [str(root), {name: verify(folder) for name, folder in model_folders(root).items()}]
    except WeightsError as error:
        answer = [error.code, error.message]
    print(json.dumps(answer))
"""
Ask = Callable[..., list]
BRAIN = b" of the brain"


def model(weights: bytes) -> dict[str, bytes]:
    """The files of a model folder as our trainer exports them, beside some that must never be fetched."""
    config = {"mri": {"sha256": hashlib.sha256(weights).hexdigest()}}
    files = {"config.json": json.dumps(config).encode(), "model.safetensors": weights, "README.md": b"# Card"}
    return files | {"pytorch_model.bin": b"\x80pickle", "optimizer.pt": b"\x80pickle", "modeling.py": b"import os"}


def tree(weights: bytes) -> dict[str, bytes]:
    """Two models of different bytes: the cache goes by content, so twins would hide what happens to one of them."""
    bodies = {"gate": weights, "diagnosis/brain": weights + BRAIN}
    return {f"{name}/{file}": body for name, own in bodies.items() for file, body in model(own).items()}


def write_model(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    for name, body in model(weights).items():
        (folder / name).write_bytes(body)
    return folder


@pytest.fixture
def server() -> Iterator[HubServer]:
    mri = Repo({OLD: tree(b"old weights"), NEW: tree(b"new weights")}, tags={"v1": OLD, "v2": NEW})
    with HubServer({"acme/mri": mri, "acme/gated": Repo({OLD: tree(b"")}, gated=True)}) as running:
        yield running


@pytest.fixture
def ask(server: HubServer, tmp_path: Path) -> Ask:
    """Run the client once on some sources; every run within a test shares one cache."""

    def run(*sources: str, **extra: str) -> list:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT), "NO_PROXY": "*"}
        env |= {"HF_HOME": str(tmp_path / "hf"), "HF_ENDPOINT": server.url, "HF_HUB_ETAG_TIMEOUT": "2"}
        env |= {"HF_HUB_DOWNLOAD_TIMEOUT": "2", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        command = [sys.executable, "-c", CLIENT, *sources]
        done = subprocess.run(command, env=env | extra, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return run


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_hub_pulls_exactly_the_named_revision(ask: Ask) -> None:
    (old_root, old), (new_root, new), (tag_root, _) = ask(f"acme/mri@{OLD}", "acme/mri@v2", "acme/mri@v1")
    assert old == {"diagnosis/brain": sha256(b"old weights" + BRAIN), "gate": sha256(b"old weights")}
    assert new == {"diagnosis/brain": sha256(b"new weights" + BRAIN), "gate": sha256(b"new weights")}
    assert (Path(old_root).name, Path(new_root).name, tag_root) == (OLD, NEW, old_root)


def test_hub_never_requests_pickles_or_code(ask: Ask, server: HubServer) -> None:
    [(root, _)] = ask("acme/mri@v1")
    suffixes = {path.suffix for path in Path(root).rglob("*") if path.is_file()}
    assert suffixes == {".json", ".safetensors", ".md"}
    assert not [path for path in server.log if path.endswith((".bin", ".pt", ".py"))]


@pytest.mark.parametrize("trouble", ["stopped", "offline", "failing", "silent"])
def test_cache_serves_when_the_hub_does_not(ask: Ask, server: HubServer, trouble: str) -> None:
    fetched = ask("acme/mri@v1")
    env = {"HF_HUB_OFFLINE": "1"} if trouble == "offline" else {}
    server.status, server.delay_s = (500 if trouble == "failing" else None), (20 if trouble == "silent" else 0)
    if trouble == "stopped":
        env["HF_ENDPOINT"] = "http://127.0.0.1:9"
    before = len(server.log)
    again, by_commit, (code, message) = ask("acme/mri@v1", f"acme/mri@{OLD}", "acme/mri@v2", **env)
    assert again == by_commit == fetched[0]
    assert code == "hub_unreachable"
    assert "acme/mri@v2" in message
    assert len(server.log) == before or trouble in ("failing", "silent")


def test_hub_refusals_say_what_is_wrong(ask: Ask) -> None:
    sources = ["acme/nothing@v1", "acme/mri@v9", f"acme/mri@{'c' * 40}", f"acme/gated@{OLD}"]
    answers = ask(*sources)
    codes = ["repo_not_found", "revision_not_found", "revision_not_found", "unauthorised"]
    assert [code for code, _ in answers] == codes
    assert all(source.split("@")[0] in message for source, (_, message) in zip(sources, answers, strict=True))


def test_invalid_token_is_unauthorised(ask: Ask) -> None:
    [(code, message)] = ask("acme/mri@v1", HF_TOKEN="invalid")
    assert code == "unauthorised"
    assert "HF_TOKEN" in message


def test_altered_weights_are_refused_and_forgotten(ask: Ask, server: HubServer) -> None:
    server.tampered = {"gate/model.safetensors": b"bad weights"}
    [(code, message)] = ask("acme/mri@v1")
    assert code == "hash_mismatch"
    assert "gate/model.safetensors" in message
    assert ask("acme/mri@v1", HF_HUB_OFFLINE="1")[0][0] == "hub_unreachable"
    server.tampered = {}
    assert ask("acme/mri@v1")[0][1]["gate"] == sha256(b"old weights")


def test_config_altered_together_with_weights_is_refused(ask: Ask, server: HubServer) -> None:
    forged = model(b"bad weights")
    server.tampered = {f"gate/{name}": forged[name] for name in ("config.json", "model.safetensors")}
    assert ask("acme/mri@v1")[0][0] == "hash_mismatch"


def test_truncated_download_is_refused(ask: Ask, server: HubServer) -> None:
    server.tampered = {"gate/model.safetensors": b"old"}
    assert ask("acme/mri@v1")[0][0] == "download_failed"


def test_revision_without_models_is_refused(ask: Ask, server: HubServer) -> None:
    server.repos["acme/mri"].files[OLD] = {"README.md": b"# Empty", "gate/pytorch_model.bin": b"\x80pickle"}
    assert ask("acme/mri@v1")[0][0] == "no_models"


def test_repository_without_revision_asks_for_a_pin() -> None:
    with pytest.raises(WeightsError, match="commit hash or tag") as caught:
        hub.resolve("acme/mri")
    assert caught.value.code == "unpinned_revision"


@pytest.mark.parametrize(("revision", "said"), [("main", True), ("v1", True), (OLD, False)])
def test_what_can_be_moved_is_said_with_its_commit(monkeypatch, caplog, revision: str, said: bool) -> None:
    monkeypatch.setattr(hub, "_from_hub", lambda repo, revision: Path("/cache/snapshots") / OLD)
    assert hub.resolve(f"acme/mri@{revision}").name == OLD
    assert [record.getMessage().endswith(f"pin them: acme/mri@{OLD}") for record in caplog.records] == [True] * said


@pytest.mark.parametrize(
    "source",
    ["mri@v1", "acme/mri@", "@v1", "a/b/c@v1", "acme/mri@v 1", "acme/mri@../../x", "acme/-mri@v1", "https://hub/a@v1"],
)
def test_malformed_source_is_refused(source: str) -> None:
    with pytest.raises(WeightsError, match="owner/repo@revision") as caught:
        hub.resolve(source)
    assert caught.value.code == "bad_source"


@pytest.mark.parametrize("source", ["./nowhere", "/nowhere/at/all", Path("acme/mri@v1")])
def test_missing_folder_is_named(source: str | Path) -> None:
    with pytest.raises(WeightsError, match=Path(source).name) as caught:
        hub.resolve(source)
    assert caught.value.code == "folder_not_found"


def test_argument_beats_environment_beats_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = write_model(tmp_path / "one"), write_model(tmp_path / "two")
    monkeypatch.setenv("MRI_WEIGHTS", str(one))
    assert hub.resolve(two) == two
    assert hub.resolve() == one
    monkeypatch.setenv("MRI_WEIGHTS", "")
    assert hub.resolve() == ROOT / "weights"


def test_verify_returns_the_digest(tmp_path: Path) -> None:
    assert hub.verify(write_model(tmp_path / "gate", b"weights")) == sha256(b"weights")


def test_verify_refuses_changed_weights(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "gate")
    (folder / "model.safetensors").write_bytes(b"Weights")
    with pytest.raises(WeightsError, match="gate") as caught:
        hub.verify(folder)
    assert caught.value.code == "hash_mismatch"


def test_verify_refuses_changed_or_missing_tensors_beside_the_weights(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "gate")
    (folder / "ood.safetensors").write_bytes(b"statistics")
    config = json.loads((folder / "config.json").read_text())
    config["mri"]["beside"] = hub.beside(folder)
    (folder / "config.json").write_text(json.dumps(config))
    assert hub.verify(folder) == sha256(b"weights")
    (folder / "ood.safetensors").write_bytes(b"Statistics")
    with pytest.raises(WeightsError, match=r"ood\.safetensors has SHA-256") as caught:
        hub.verify(folder)
    assert caught.value.code == "hash_mismatch"
    (folder / "ood.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"gate has no ood\.safetensors"):
        hub.verify(folder)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_verify_names_the_missing_file(tmp_path: Path, name: str) -> None:
    folder = write_model(tmp_path / "gate")
    (folder / name).unlink()
    with pytest.raises(WeightsError, match=f"gate has no {name}") as caught:
        hub.verify(folder)
    assert caught.value.code == "missing_file"


@pytest.mark.parametrize(
    "config", ["", "[]", "{}", '{"mri": null}', '{"mri": {}}', '{"mri": {"sha256": 0, "beside": 1}}']
)
def test_verify_refuses_config_without_hash(tmp_path: Path, config: str) -> None:
    folder = write_model(tmp_path / "gate")
    (folder / "config.json").write_text(config)
    with pytest.raises(WeightsError, match="gate") as caught:
        hub.verify(folder)
    assert caught.value.code == "bad_config"


def test_model_folders_are_named_by_their_place(tmp_path: Path) -> None:
    for name in ("gate", "diagnosis/spine", "body_part", "diagnosis/brain"):
        write_model(tmp_path / name)
    (tmp_path / "notes").mkdir()
    found = hub.model_folders(tmp_path)
    assert list(found) == ["body_part", "diagnosis/brain", "diagnosis/spine", "gate"]
    assert found["diagnosis/brain"] == tmp_path / "diagnosis" / "brain"


def test_folder_without_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="MRI_WEIGHTS") as caught:
        hub.model_folders(tmp_path)
    assert caught.value.code == "no_models"
