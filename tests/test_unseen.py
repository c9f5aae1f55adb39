"""Sources left out of training: how they are dealt, who is asked, what the table says."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import timm

from mri_models.errors import RecipeError
from mri_models.evaluation.calibration import fit_mahalanobis
from mri_models.evaluation.collect import Outputs
from mri_models.training import unseen as module
from mri_models.training.corpus import IGNORE, TASKS, Sample, read_corpus
from mri_models.training.course import begin
from mri_models.training.export import uncalibrated
from mri_models.training.network import MultiTask
from mri_models.training.recipe import Recipe, load_recipe
from mri_models.training.unseen import MORE, TAUGHT, UNSEEN, deal, family, measure, render, trained, unseen
from mri_models.training.unseen_gate import Door, door, measure_doors


def sample(
    source: str, patient: str, split: str = "train", modality: str = "mri", part: str = "brain", brain: str = ""
):
    parts = TASKS["body_part"]
    targets = {
        "gate": 0 if modality == "mri" else 1,
        "body_part": parts.index(part) if modality == "mri" else IGNORE,
        "brain": TASKS["brain"].index(brain) if brain else IGNORE,
        "spine": IGNORE,
    }
    return Sample(Path(patient), None, patient, source, split, modality, part, targets, "")


def rows() -> list[Sample]:
    found = []
    for source, label in (("cheng2015", "glioma"), ("a", "no_tumor"), ("b", "no_tumor"), ("c", "meningioma")):
        for i in range(12):
            split = ("train", "val", "test")[i % 3]
            found.append(sample(source, f"{source}{i}", split, brain=label))
    for source in ("ct_1", "ct_2", "ct_3", "ct_4"):
        found += [sample(source, f"{source}{i}", ("train", "val")[i % 2], "ct") for i in range(6)]
    return found


class Guess:
    """Stands for a trained network; `ask` is replaced by what it would say."""

    def __init__(self, recipe):
        self.recipe = recipe


@pytest.fixture
def asked(monkeypatch):
    """Folds that were asked: (sources left out, samples)."""
    seen = []

    def ask(network, recipe, samples):
        seen.append((tuple(network.recipe.leave_out), list(samples)))
        found = {task: [] for task in recipe.tasks}
        for one in samples:
            for task in recipe.tasks:
                if one.targets[task] != IGNORE:
                    found[task].append((one, np.eye(len(TASKS[task]))[one.targets[task]]))
        return found

    monkeypatch.setattr(module, "read_corpus", lambda _: rows())
    monkeypatch.setattr(module, "trained", lambda recipe, *_, **__: Guess(recipe))
    monkeypatch.setattr(module, "ask", ask)
    monkeypatch.setattr(module, "door", lambda _network, run, samples: guarded(run, samples))
    return seen


def guarded(run: Recipe, samples: list[Sample]) -> Door:
    """A gate that takes CT of unseen sources for MRI, though it lies far from it."""
    rng = np.random.default_rng(0)
    network = timm.create_model("test_efficientnet", num_classes=2)
    gate = uncalibrated(network, load_recipe("gate"))

    def look(some: list[Sample], *, fooled: bool) -> Outputs:
        labels = np.array([s.targets["gate"] for s in some])
        features = rng.normal(0, 0.02, (len(some), network.num_features))
        features[np.arange(len(some)), labels] += 1  # MRI lies one way, the others another
        logits = np.eye(2)[labels * (not fooled)] * 5
        return Outputs(logits + rng.normal(size=logits.shape), features, labels, tuple(some))

    val = [s for s in samples if s.source not in run.leave_out and s.split == "val"]
    own = [s for s in samples if s.source in run.leave_out and s.split != "test"]
    validation, mri = (look(some * 20, fooled=False) for some in (val, [s for s in val if s.modality == "mri"]))
    gate.ood = fit_mahalanobis(mri.features, mri.labels, validation.features, dims=2)  # of all: distance refuses few
    return Door(gate, load_recipe("gate"), validation, look(own, fooled=True))


def test_each_source_is_left_out_once_and_kinds_are_spread():
    folds = deal(rows())
    everything = sorted(source for fold in folds for source in fold)
    assert everything == ["a", "b", "c", "ct_1", "ct_2", "ct_3", "ct_4"]
    assert all(sum(source in ("a", "b", "c") for source in fold) == 1 for fold in folds)
    assert all(any(source.startswith("ct") for source in fold) for fold in folds)


def test_collections_that_share_pictures_are_dealt_as_one():
    names = ["photo_derived_crops_grey", "photo_opencv_samples", "histology_skimage", "ct_chest_medmnist_chestct_64"]
    assert [family(name) for name in names] == ["photos", "photos", "photos", "medmnist"]
    twins = [sample(name, name, modality="photo") for name in names[:3]] + [sample(f"ct{i}", f"{i}") for i in range(5)]
    assert sum(bool({*names[:3]} & {*fold}) for fold in deal(twins)) == 1


@pytest.mark.corpus
def test_what_is_left_of_the_corpus_teaches_every_class(corpus: Path):
    samples = read_corpus(corpus)
    for left_out in deal(samples):
        teaching = [s for s in samples if s.split == "train" and s.source not in left_out]
        assert {s.targets["gate"] for s in teaching} == {0, 1}
        assert {s.targets["body_part"] for s in teaching if s.modality == "mri"} == set(range(len(TASKS["body_part"])))
        taught = {TASKS["brain"][s.targets["brain"]] for s in teaching if s.targets["brain"] != IGNORE}
        untaught = {"other_abnormality"} if "nickparvar2021" in left_out else set()  # simulated lesions alone teach it
        assert taught == set(TASKS["brain"]) - untaught
        assert "cheng2015" not in left_out


def test_no_test_patient_is_asked_and_no_source_that_taught_counts_as_unseen(asked):
    result = unseen(Path(), Path())
    assert len(asked) == 2 * module.FOLDS
    for left_out, samples in asked:
        sources = {s.source for s in samples}
        assert all(s.split != "test" for s in samples)
        assert sources <= set(left_out) or not sources & set(left_out)
        if not sources <= set(left_out):
            assert {s.split for s in samples} == {"val"}
    groups = result["questions"]
    assert {q: one["images"] for q, one in groups[TAUGHT].items()} == {
        q: one["images"] for q, one in groups[UNSEEN].items()
    }  # the same images
    assert groups[MORE]["gate: recall of mri"]["images"] == 2 * groups[UNSEEN]["gate: recall of mri"]["images"]


def test_sources_that_a_change_leaves_out_are_not_asked_about(asked):
    unseen(Path(), Path(), ['leave_out=["b"]'])
    assert all(s.source != "b" for _, samples in asked for s in samples)
    assert all("b" in left_out for left_out, _ in asked)


def test_the_table_tells_seen_from_unseen(asked):
    result = unseen(Path(), Path())
    text = render(result)
    assert "| brain: healthy called a tumour | 8 | 0.000 [0.00, 0.00] | 0.000 [0.00, 0.00] | 16 | 0.000" in text
    assert "glioma |" not in text  # its source always teaches
    assert "| a | 8 | 1.000 | 1.000 | 1.000 |" in text
    assert result["sources"].keys() == {"a", "b", "c", "ct_1", "ct_2", "ct_3", "ct_4"}


def test_distance_keeps_strangers_out_of_the_gate(asked):
    found = unseen(Path(), Path())["doors"]
    steep, none = found["5"], found["0"]
    assert steep["auroc"] > none["auroc"]
    assert steep["others"]["value"] < none["others"]["value"]
    assert steep["ct"] == steep["others"]  # all that is no MRI here is CT
    assert steep["mri"]["images"] == 24
    asked_for = [s for s in rows() if s.source != "cheng2015" and s.split != "test"]  # the rest is left out once each
    assert steep["others"]["images"] == len(asked_for) - 24


@pytest.mark.corpus
def test_a_door_asks_for_nobody_who_taught_and_no_test_patient(corpus: Path, monkeypatch):
    """Features stand for the trunk's: what counts is who is asked."""
    recipe = load_recipe("unseen", ['leave_out=["ixi", "ct_head_sa_hemorrhage"]'])
    samples, shown = read_corpus(corpus), []

    def collect(gate, some, task, change=None):
        shown.append(some)
        rng = np.random.default_rng(len(shown))
        features = rng.normal(size=(len(some), gate.network.num_features))
        labels = np.array([s.targets[task] for s in some])
        return Outputs(gate.logits(features.astype(np.float32)), features, labels, tuple(some))

    for where in ("unseen_gate", "export"):
        monkeypatch.setattr(f"mri_models.training.{where}.collect", collect)
    found = door(MultiTask(recipe), recipe, samples)
    *taught, own = shown
    assert all(s.source not in recipe.leave_out and s.split != "test" for some in taught for s in some)
    assert {s.source for s in own} == set(recipe.leave_out)
    assert all(s.split != "test" for s in own)
    assert measure_doors([found], [1.0])["1"]["mri"]["images"] == sum(s.modality == "mri" for s in own)


def test_a_wrong_answer_is_counted():
    half = [s for s in rows() if s.source == "a"]
    glioma = np.eye(5)[TASKS["brain"].index("glioma")]
    found = measure({"brain": [(s, glioma) for s in half]})
    assert found["brain: healthy called a tumour"]["value"] == 1.0
    assert "brain: tumours called no tumour" not in found


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("change", ["keep=best", "start=run:shared", "teacher=shared", "schedule=reduce_lr_on_plateau"])
def test_what_would_let_unseen_sources_in_is_refused(change: str):
    with pytest.raises(RecipeError, match="unseen sources would teach"):
        unseen(Path(), Path(), [change])


def test_a_finished_run_counts_for_its_own_recipe_and_patients_alone(tmp_path: Path, monkeypatch):
    recipe, made, here = load_recipe("unseen"), [], {}
    now = rows()
    later = [dataclasses.replace(now[0], split="test" if now[0].split == "train" else "train"), *now[1:]]

    def train(recipe, data, runs, *, resume):
        run = begin(recipe, here["patients"], runs, resume=resume)
        if not run.done:
            made.append(recipe)
            (run.folder / "history.json").write_text("{}")

    monkeypatch.setattr(module, "train", train)
    for changed, patients, resume in (
        (recipe, now, True),
        (recipe, now, True),  # finished
        (dataclasses.replace(recipe, seed=1), now, True),
        (dataclasses.replace(recipe, seed=1), later, True),
        (dataclasses.replace(recipe, seed=1), later, False),
        (dataclasses.replace(recipe, seed=1, images=8), later, True),  # another schedule, so not gone on with
    ):
        here["patients"] = patients
        trained(changed, Path(), tmp_path, resume=resume)
    assert [(one.seed, one.images) for one in made] == [(0, 4000), (1, 4000), (1, 4000), (1, 4000), (1, 8)]
