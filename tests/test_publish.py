"""Publishing: what is chosen, what is refused, and what arrives on a Hub that the real client talks to."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import pytest
import yaml
from fakes import scan_png
from hub_server import HubServer
from huggingface_hub import HfApi
from PIL import Image, PngImagePlugin
from places import EXAMPLES, ROOT

from mri_models import hub
from mri_models.errors import DataError, MriError, PublishError, WeightsError
from mri_models.publish import checkout, examples, space
from mri_models.publish.plan import Plan, Upload, allowed_files, table
from mri_models.publish.push import Publisher
from mri_models.publish.weights import weights_plan

MODELS, SPACE = "acme/mri", "acme/demo"
ESTIMATE = {"value": 0.9, "low": 0.8, "high": 0.95}
COLUMNS = ["path", "modality", "body_part", "label", "patient", "split", "source", "licence", "note"]


def write_weights(folder: Path, weights: bytes = b"weights") -> Path:
    """A weights folder of one model with a card, and metrics that were measured on it."""
    digest = hashlib.sha256(weights).hexdigest()
    config = {"architecture": "tiny", "mri": {"sha256": digest, "sources": ["cheng2015", "ixi"]}}
    overall = dict.fromkeys(
        ("balanced_accuracy", "patient_balanced_accuracy", "auroc", "ece", "ece_by_chance", "coverage"), ESTIMATE
    )
    overall |= {"accuracy_accepted": None, "images": 40, "patients": 12}
    metrics = {"split": "test", "models": {"gate": digest}, "stages": {"gate": {"overall": overall}}}
    (folder / "gate").mkdir(parents=True)
    (folder / "gate" / "model.safetensors").write_bytes(weights)
    (folder / "gate" / "config.json").write_text(json.dumps(config))
    (folder / "gate" / "README.md").write_text("# gate")
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


def refusal(call, *arguments) -> str:
    with pytest.raises(MriError) as caught:
        call(*arguments)
    return caught.value.code


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return write_weights(tmp_path / "weights")


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer({}, writers={"secret": {"acme"}}) as running:
        yield running


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def publisher(server: HubServer, said: list[str], monkeypatch: pytest.MonkeyPatch) -> Publisher:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", True)
    return Publisher(HfApi(server.url, token="secret"), said.append)


def small_space(weights: str = MODELS) -> Plan:
    files = (Upload("app.py", b"import gradio\n"), Upload("examples/a.png", b"\x89PNG"))
    readme = Upload("README.md", f"---\nlicense: other\nmodels: [{weights}]\n---\n".encode())
    return Plan(SPACE, "space", (*files, readme), ("app.py", "README.md", "examples/*", "mri_models/*"), 1000)


# What goes into the model repository


def test_the_model_repository_holds_models_cards_and_metrics_only(weights: Path):
    (weights / "gate" / "__pycache__").mkdir()
    (weights / "gate" / "__pycache__" / "x.pyc").write_bytes(b"")
    paths = [upload.path for upload in weights_plan(weights, MODELS).files]
    named = ["gate/README.md", "gate/config.json", "gate/model.safetensors"]
    assert paths == ["README.md", *named, "metrics.json"]


def test_the_root_card_states_licence_results_and_hashes(weights: Path):
    card = weights_plan(weights, MODELS).files[0].read().decode()
    matter = yaml.safe_load(card.split("---")[1])
    [result] = matter["model-index"][0]["results"]
    assert (matter["license"], matter["license_name"]) == ("other", "research-and-teaching-only")
    assert matter["datasets"] == ["cheng2015", "ixi"]
    assert (result["dataset"]["config"], result["dataset"]["split"]) == ("gate", "test")
    assert {metric["type"]: metric["value"] for metric in result["metrics"]}["roc_auc"] == 0.9
    assert "0.900 [0.80, 0.95]" in card
    assert hub.verify(weights / "gate")[:16] in card


def test_the_real_weights_can_be_planned_and_every_file_is_one_that_serving_downloads():
    plan = weights_plan(ROOT / "weights", MODELS)
    matter, _ = space.front_matter(plan.files[0].read().decode())
    configs = [result["dataset"]["config"] for result in matter["model-index"][0]["results"]]
    stages = json.loads((ROOT / "weights" / "metrics.json").read_text())["stages"]
    assert configs == list(stages)
    assert {Path(upload.path).suffix for upload in plan.files} == {".json", ".safetensors", ".md"}


def test_damaged_or_unmeasured_weights_are_refused(weights: Path):
    (weights / "gate" / "model.safetensors").write_bytes(b"Weights")
    assert refusal(weights_plan, weights, MODELS) == "hash_mismatch"
    config = json.loads((weights / "gate" / "config.json").read_text())
    config["mri"]["sha256"] = hashlib.sha256(b"Weights").hexdigest()
    (weights / "gate" / "config.json").write_text(json.dumps(config))
    assert refusal(weights_plan, weights, MODELS) == "stale_metrics"


@pytest.mark.parametrize(
    ("name", "code"), [("gate/README.md", "no_card"), ("metrics.json", "no_metrics"), ("gate/config.json", "no_models")]
)
def test_incomplete_weights_are_refused(weights: Path, name: str, code: str):
    (weights / name).unlink()
    assert refusal(weights_plan, weights, MODELS) == code


@pytest.mark.parametrize("name", ["gate/optimizer.pt", "notes.txt", "gate/scan.png"])
def test_a_file_of_another_kind_is_refused_not_sent(weights: Path, name: str):
    (weights / name).write_bytes(b"?")
    assert refusal(weights_plan, weights, MODELS) == "unexpected_file"


def test_a_link_is_refused(weights: Path):
    (weights / "gate" / "extra.json").symlink_to("/etc/hostname")
    assert refusal(weights_plan, weights, MODELS) == "unexpected_file"


# What goes into the Space


def test_the_space_is_code_examples_readme_and_nothing_else():
    paths = [upload.path for upload in space.space_plan(ROOT, SPACE, MODELS).files]
    assert {"app.py", "README.md", "requirements.txt", "mri_models/pipeline.py", "examples/SOURCES.md"} <= set(paths)
    assert {path.split("/")[0] for path in paths} <= {
        "app.py",
        "README.md",
        "requirements.txt",
        "mri_models",
        "examples",
        ".readme",
        ".lock",
    }
    assert [path for path in paths if path.startswith(".lock")] == [".lock/licences.md", ".lock/serving.txt"]
    assert not [
        path for path in paths if re.search(r"__pycache__|runs/|\.git|weights/|tests/|\.safetensors|\.pt$", path)
    ]


def test_the_space_pins_what_is_installed_and_keeps_torch_where_zerogpu_has_it():
    text = space.pinned((ROOT / "requirements.txt").read_text())
    lines = dict(re.findall(r"^([\w-]+)(.*)$", text, re.MULTILINE))
    assert lines["gradio"] == f"=={version('gradio')}"
    assert lines["torch"] == ">=2.8,<2.12"
    assert lines["torchvision"] == ">=0.23,<0.27"
    wanted = {
        re.match(r"[\w-]+", line)[0] for line in (ROOT / "requirements.txt").read_text().splitlines() if line[0] != "#"
    }
    assert set(lines) == wanted


@pytest.mark.parametrize("line", ["gradio>=99", "no-such-package-here>=1", "!!"])
def test_an_environment_that_tests_did_not_see_is_refused(line: str):
    assert refusal(space.pinned, line) == "untested"


def test_the_readme_names_the_models_and_keeps_its_text():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    published = space.space_readme(readme, MODELS)
    (before, text), (after, same) = space.front_matter(readme), space.front_matter(published)
    assert after == before | {"models": [MODELS]}
    assert same == text


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("license: other\n", "", "license"),
        ("emoji: 🧲\n", "", "emoji"),
        ("colorTo: blue", "colorTo: azure", "azure"),
        ("sdk_version: ", "sdk_version: 1", "tested was gradio"),
        ('python_version: "3.12"', "python_version: 3.12", "quotes"),
        ("short_description: ", f"short_description: {'x' * 60}", "characters"),
        ("title: MRI patterns", "title: [", "YAML"),
    ],
)
def test_front_matter_that_the_hub_would_not_take_is_refused(old: str, new: str, told: str):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert old in readme
    with pytest.raises(PublishError, match=told):
        space.space_readme(readme.replace(old, new, 1), MODELS)


def test_a_readme_without_front_matter_is_refused():
    assert refusal(space.space_readme, "# MRI", MODELS) == "front_matter"


# Plans


def test_a_plan_has_a_limit_and_an_allow_list():
    owned = ("app.py",)
    assert refusal(Plan, SPACE, "space", (Upload("app.py", b"12345"),), owned, 4) == "too_large"
    assert refusal(Plan, SPACE, "space", (Upload("runs/x", b""),), owned, 4) == "unexpected_file"
    assert refusal(Plan, SPACE, "space", (Upload("app.py", b""),) * 2, owned, 4) == "unexpected_file"


@pytest.mark.parametrize("name", ["demo", "acme/de mo", "a/b/c", "", "acme/../x"])
def test_malformed_names_are_refused(name: str):
    assert refusal(Plan, name, "space", (), (), 1) == "bad_name"


def test_the_table_shows_where_each_file_goes_with_size_and_hash():
    text = table(small_space())
    assert f"space {SPACE}: 3 files" in text
    assert re.search(rf"14  {hashlib.sha256(b'import gradio' + bytes([10])).hexdigest()[:12]}  app.py", text)


def test_hidden_files_and_caches_are_passed_over(tmp_path: Path):
    for name in (".git/config", "__pycache__/a.pyc", "a.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert allowed_files(tmp_path, ["*.py"]) == [tmp_path / "a.py"]


# Examples from a corpus


def write_corpus(folder: Path, *rows: dict[str, str]) -> Path:
    """A corpus whose rows differ from a publishable glioma as told; every image bears metadata."""
    (folder / "images").mkdir(parents=True)
    usual = {"modality": "mri", "body_part": "brain", "label": "glioma", "split": "test", "source": "cheng2015"}
    usual |= {"licence": "CC BY 4.0", "note": ""}
    with (folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, COLUMNS)
        writer.writeheader()
        for number, row in enumerate(rows):
            path = f"images/{number}.png"
            secret = PngImagePlugin.PngInfo()
            secret.add_text("PatientName", "Doe^Jane")
            Image.open(io.BytesIO(scan_png("glioma"))).save(folder / path, pnginfo=secret)
            writer.writerow({"path": path, "patient": f"p{number}"} | usual | row)
    return folder


def test_one_image_for_each_class_of_different_patients_by_a_fixed_rule(tmp_path: Path):
    rows = [{"label": label, "patient": f"p{n % 3}"} for n, label in enumerate(("glioma", "pituitary") * 6)]
    corpus = write_corpus(tmp_path, *rows)
    chosen, again = examples.choose(corpus, 21), examples.choose(corpus, 21)
    assert [image.name for image in chosen] == ["21_cheng2015_glioma.png", "22_cheng2015_pituitary.png"]
    assert [image.png for image in chosen] == [image.png for image in again]


@pytest.mark.parametrize(
    "row",
    [
        {"split": "train"},
        {"split": "val"},
        {
            "source": "medpix",
            "licence": "MedPix (NLM), contributors' copyright; research use, never publish the images",
        },
        {"source": "medpix"},
        {"licence": "CC BY-NC 4.0"},
        {"licence": "CC BY-SA 4.0"},
        {"licence": "CC BY 4.0 (not confirmed)"},
        {"licence": "CC BY"},
        {"source": "somebody"},
        {"modality": "ct"},
        {"note": "sim_0.97_to_test_200;"},
    ],
)
def test_what_may_not_be_shown_is_never_chosen(tmp_path: Path, row: dict[str, str]):
    assert examples.choose(write_corpus(tmp_path, row), 21) == []
    assert len(examples.choose(write_corpus(tmp_path / "allowed", row, {}), 21)) == 1


def test_only_pixels_leave_the_corpus_and_nothing_is_written_there(tmp_path: Path):
    corpus = write_corpus(tmp_path, {})
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    [image] = examples.choose(corpus, 21)
    with Image.open(io.BytesIO(image.png)) as published, Image.open(corpus / "images" / "0.png") as original:
        assert published.info == {}
        assert np.array_equal(published, original)
    assert b"Doe" not in image.png
    assert sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*")) == before


def test_an_unreadable_image_gives_way_to_the_next(tmp_path: Path):
    corpus = write_corpus(tmp_path, {}, {})
    names = sorted(("images/0.png", "images/1.png"), key=lambda name: hashlib.sha256(name.encode()).hexdigest())
    (corpus / names[0]).write_bytes(b"broken")
    assert len(examples.choose(corpus, 21)) == 1


def test_a_path_out_of_the_corpus_is_refused(tmp_path: Path):
    corpus = write_corpus(tmp_path / "corpus", {"path": "../secret.png"})
    (tmp_path / "secret.png").write_bytes(scan_png("glioma"))
    with pytest.raises(DataError, match="outside"):
        examples.choose(corpus, 21)


def test_chosen_images_are_credited_and_stand_in_the_gallery(tmp_path: Path):
    chosen = examples.choose(write_corpus(tmp_path, {}), 21)
    files = {
        upload.path: upload.read().decode("utf-8", "replace") for upload in examples.example_files(EXAMPLES, chosen)
    }
    listing = json.loads(files["examples/expected.json"])
    assert list(listing)[-1] == "21_cheng2015_glioma.png"
    assert "CC BY 4.0" in listing["21_cheng2015_glioma.png"]["licence"]
    assert "figshare 1512427" in files["examples/SOURCES.md"]
    assert files["examples/SOURCES.md"].startswith((EXAMPLES / "SOURCES.md").read_text().rstrip())
    assert "examples/21_cheng2015_glioma.png" in files


def test_without_a_corpus_the_examples_are_as_bundled():
    files = {upload.path: upload.read() for upload in examples.example_files(EXAMPLES)}
    assert files["examples/SOURCES.md"] == (EXAMPLES / "SOURCES.md").read_bytes()
    assert json.loads(files["examples/expected.json"]) == json.loads((EXAMPLES / "expected.json").read_bytes())


def test_every_source_that_may_be_shown_grants_a_licence_we_know():
    rules = tomllib.loads((ROOT / "mri_models" / "publish" / "examples.toml").read_text())
    assert all(source["licence"] in examples.LICENCES and source["credit"] for source in rules["sources"].values())
    assert not {"medpix", "mridata_knee", "nickparvar2021", "oasis1"} & set(rules["sources"])


@pytest.mark.corpus
def test_the_corpus_gives_images_of_tumours_and_discs(corpus: Path):
    chosen = examples.choose(corpus, 21)
    assert [image.label for image in chosen][:3] == ["glioma", "meningioma", "pituitary"]
    assert {image.licence for image in chosen} == {"CC BY 4.0"}


# Sending


def test_weights_arrive_and_can_be_served_from_the_commit(server: HubServer, publisher: Publisher, weights: Path, said):
    commit = publisher.push(weights_plan(weights, MODELS), "Publish")
    held = server.repos[MODELS].files[commit]
    assert held["gate/model.safetensors"] == b"weights"
    assert set(held) == {".gitattributes", *(upload.path for upload in weights_plan(weights, MODELS).files)}
    assert said[0] == f"model {MODELS}: created, public"


def test_a_second_push_has_nothing_to_do(server: HubServer, publisher: Publisher, weights: Path, said: list[str]):
    first = publisher.push(weights_plan(weights, MODELS), "Publish")
    before = len(server.repos[MODELS].files)
    assert publisher.push(weights_plan(weights, MODELS), "Publish") == first
    assert len(server.repos[MODELS].files) == before
    assert "nothing to do" in said[-1]


def test_a_change_sends_what_changed_and_removes_left_overs(server, publisher, weights: Path, tmp_path: Path, said):
    publisher.push(weights_plan(weights, MODELS), "Publish")
    repo = server.repos[MODELS]
    foreign = {"LICENSE": b"mine", "knee/config.json": b"{}", "knee/model.safetensors": b"old"}
    repo.files[repo.tags["main"]] |= foreign
    said.clear()
    commit = publisher.push(weights_plan(write_weights(tmp_path / "new", b"better"), MODELS), "Publish")
    assert repo.files[commit]["gate/model.safetensors"] == b"better"
    assert "LICENSE" in repo.files[commit]
    assert not [path for path in repo.files[commit] if path.startswith("knee/")]
    assert "  update gate/model.safetensors" in said
    assert "  delete knee/model.safetensors" in said
    assert "  update gate/README.md" not in said


def test_the_space_takes_its_models_from_the_pinned_commit(server: HubServer, publisher: Publisher, said: list[str]):
    publisher.point(small_space(), f"{MODELS}@abc")
    publisher.push(small_space(), "Publish")
    made = server.repos[f"spaces/{SPACE}"]
    assert made.variables == {"MRI_WEIGHTS": f"{MODELS}@abc"}
    assert (made.created["sdk"], made.created["type"]) == ("gradio", "space")
    said.clear()
    publisher.point(small_space(), f"{MODELS}@abc")
    assert said == []
    publisher.point(small_space(), f"{MODELS}@def")
    assert made.variables == {"MRI_WEIGHTS": f"{MODELS}@def"}


def test_private_repositories_on_request(server: HubServer, publisher: Publisher, said: list[str]):
    Publisher(publisher._api, said.append, private=True).push(small_space(), "Publish")
    assert server.repos[f"spaces/{SPACE}"].created["visibility"] == "private"


@pytest.mark.parametrize(
    ("token", "repo", "code"), [("wrong", MODELS, "bad_token"), ("secret", "others/mri", "not_permitted")]
)
def test_tokens_that_may_not(server: HubServer, weights: Path, token: str, repo: str, code: str):
    publisher = Publisher(HfApi(server.url, token=token), lambda _: None)
    assert refusal(publisher.push, weights_plan(weights, repo), "Publish") == code


def test_an_unknown_token_is_told_at_sign_in(server: HubServer, publisher: Publisher):
    assert publisher.sign_in() == "ada"
    assert refusal(Publisher(HfApi(server.url, token="wrong")).sign_in) == "bad_token"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"/api/models/{MODELS}/commit/main", 412, "changed_meanwhile"),
        (f"/api/models/{MODELS}/commit/main", 403, "not_permitted"),
        (f"/{MODELS}.git/info/lfs/objects/batch", 413, "over_quota"),
        ("/api/repos/create", 402, "over_quota"),
        (f"/api/models/{MODELS}/commit/main", 500, "hub_unreachable"),
    ],
)
def test_refusals_of_the_hub_are_typed(server, publisher, weights: Path, path: str, status: int, code: str):
    server.refuse = {path: status}
    assert refusal(publisher.push, weights_plan(weights, MODELS), "Publish") == code


def test_another_commit_in_between_is_not_overwritten(server, publisher, weights: Path, tmp_path: Path, monkeypatch):
    first = publisher.push(weights_plan(weights, MODELS), "Publish")
    head = publisher._head(weights_plan(weights, MODELS))
    publisher.push(weights_plan(write_weights(tmp_path / "theirs", b"theirs"), MODELS), "Publish")
    monkeypatch.setattr(publisher, "_head", lambda plan: head)
    assert head.sha == first
    ours = weights_plan(write_weights(tmp_path / "ours", b"ours"), MODELS)
    assert refusal(publisher.push, ours, "Publish") == "changed_meanwhile"


def test_nobody_there_is_told_as_such(weights: Path):
    publisher = Publisher(HfApi("http://127.0.0.1:9", token="secret"), lambda _: None)
    assert refusal(publisher.push, weights_plan(weights, MODELS), "Publish") == "hub_unreachable"


# The checkout and the command line


def test_only_committed_files_are_published(tmp_path: Path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    (tmp_path / "app.py").write_text("1")
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "app.py"], check=True)
    subprocess.run([*git, "commit", "-qm", "first"], check=True)
    checkout.require_committed(tmp_path, ["app.py"])
    assert re.fullmatch(r"[0-9a-f]{12}", checkout.commit_of(tmp_path))
    (tmp_path / "app.py").write_text("2")
    (tmp_path / "notes.txt").write_text("not part of it")
    assert checkout.uncommitted(tmp_path, ["app.py"]) == ["app.py"]
    assert refusal(checkout.require_committed, tmp_path, ["app.py"]) == "uncommitted"


def test_an_unpacked_archive_has_nothing_to_commit(tmp_path: Path):
    assert checkout.commit_of(tmp_path) == ""
    assert checkout.uncommitted(tmp_path, ["app.py"]) == []


@pytest.fixture
def command(server: HubServer, tmp_path: Path):
    """The command line in a process of its own, in a copy of the checkout without .git: an unpacked archive."""
    copy = tmp_path / "copy"
    skipped = shutil.ignore_patterns("__pycache__")
    for name in ("mri_models", "examples", ".readme", ".lock"):
        shutil.copytree(ROOT / name, copy / name, ignore=skipped)
    for name in ("app.py", "README.md", "requirements.txt"):
        shutil.copy(ROOT / name, copy / name)
    write_weights(copy / "weights")

    def run(*arguments: str, **extra: str) -> subprocess.CompletedProcess:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "*"}
        env |= {"HF_ENDPOINT": server.url, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        where = ["publish", "--weights", MODELS, "--space", SPACE]
        line = [sys.executable, "-m", "mri_models", *where, *arguments]
        return subprocess.run(line, env=env | extra, cwd=copy, capture_output=True, text=True, timeout=120)

    return run


def test_a_dry_run_needs_no_token_and_touches_nothing(server: HubServer, command):
    done = command()
    assert (done.returncode, server.log) == (0, [])
    assert "Dry run: nothing was sent" in done.stdout
    assert "mri_models/pipeline.py" in done.stdout


def test_pushing_without_a_token_is_refused(server: HubServer, command):
    done = command("--push")
    assert done.returncode == 1
    assert done.stderr.startswith("no_token: ")
    assert server.repos == {}


def test_publishing_twice(server: HubServer, command, tmp_path: Path):
    corpus = write_corpus(tmp_path / "corpus", {}, {"licence": "CC BY-NC 4.0"})
    first = command("--push", "--examples", str(corpus), HF_TOKEN="secret")
    assert first.returncode == 0, first.stderr
    models, demo = server.repos[MODELS], server.repos[f"spaces/{SPACE}"]
    assert demo.variables == {"MRI_WEIGHTS": f"{MODELS}@{models.tags['main']}"}
    held = demo.files[demo.tags["main"]]
    bundled = {f"examples/{path.name}" for path in EXAMPLES.iterdir()}
    first_free = max(int(name[:2]) for path in bundled if (name := Path(path).name)[:2].isdigit()) + 1
    assert f"examples/{first_free}_cheng2015_glioma.png" in held
    commits = {**models.tags, **{f"space {name}": commit for name, commit in demo.tags.items()}}
    second = command("--yes", "--examples", str(corpus), HF_TOKEN="secret")
    assert second.stdout.count("nothing to do") == 2
    assert {**models.tags, **{f"space {name}": commit for name, commit in demo.tags.items()}} == commits


def test_weights_errors_reach_the_command_line(command, tmp_path: Path):
    (tmp_path / "copy" / "weights" / "gate" / "model.safetensors").write_bytes(b"altered")
    done = command()
    assert done.returncode == 1
    assert done.stderr.startswith("hash_mismatch: ")
    with pytest.raises(WeightsError):
        weights_plan(tmp_path / "copy" / "weights", MODELS)
