"""What do the stages say about collections that they never saw? Trained without a third of the sources at a time.

Test patients stay out of it: of a source that was left out, training and validation patients are asked alike, since the
network saw neither. (Internal-external cross-validation: Steyerberg & Harrell 2016.)
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.special import softmax
from tqdm.auto import tqdm

from mri_models.errors import RecipeError
from mri_models.evaluation.metrics import Outcomes
from mri_models.evaluation.questions import mistaken
from mri_models.evaluation.tables import cell, table, update_readme
from mri_models.preprocess import InputSpec, to_batch
from mri_models.training.corpus import IGNORE, TASKS, Sample, read_corpus, read_pixels, split_hash
from mri_models.training.course import OTHER_RUN, run_folder
from mri_models.training.course import RECIPE as BEGUN_WITH
from mri_models.training.fit import MEAN, STD, train
from mri_models.training.network import MultiTask
from mri_models.training.recipe import Recipe, load_recipe
from mri_models.training.unseen_gate import door, measure_doors, render_doors, share

RECIPE = "unseen"
RESULT = Path("weights/unseen.json")
README = Path("README.md")
FOLDS = 3
BRAINS = "mri brain"  # kind
IRREPLACEABLE = ("cheng2015",)  # all gliomas: without it there is no brain stage to ask
FAMILIES = {  # sources that share a collection, or pictures: dealt as one
    "medmnist": ("medmnist",),
    "totalseg": ("totalseg",),
    "pancreas": ("sa_pancreas",),
    "phantoms": ("dcm_qa",),
    "photos": ("photo_derived", "photo_opencv", "photo_debian", "skimage"),
}
TAUGHT, UNSEEN, MORE = "taught", "unseen", "unseen, all"
BATCH = 32
NOTE = (
    "Three short runs (`recipes/unseen.toml`), each without a third of the collections; cheng2015, which has all "
    "gliomas, always teaches, and tcia_btp only ever tests. Taught and unseen: the same validation images, asked of a "
    "run that learned from their source's training patients and of the run that never saw the source. All: its "
    "training patients as well, whom that run saw as little. The likeliest class, before calibration, thresholds and "
    "refusal; test patients had no part in it. Only nickparvar2021 is labelled other_abnormality: without it "
    "simulated lesions teach that class, and images that may show one of several patterns (medpix, open_ms). "
    "Brackets: 95 % interval over patients (bootstrap); a second seed moves the numbers as well."
)

Answers = dict[str, list[tuple[Sample, np.ndarray]]]  # task -> images with the probabilities of its classes


def family(source: str) -> str:
    """What is dealt together with this source."""
    return next((name for name, marks in FAMILIES.items() if any(mark in source for mark in marks)), source)


def deal(samples: Sequence[Sample], folds: int = FOLDS) -> list[tuple[str, ...]]:
    """Sources by fold: families of one kind are dealt in turn, the largest first.

    Kind: MRI of a brain, where there is any; else the commonest modality and body part.
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    members: defaultdict[str, set[str]] = defaultdict(set)
    for sample in samples:
        if sample.split != "test" and sample.source not in IRREPLACEABLE:
            part = TASKS["body_part"][sample.targets["body_part"]] if sample.modality == "mri" else ""
            counts[family(sample.source)][f"{sample.modality} {part}"] += 1
            members[family(sample.source)].add(sample.source)
    kinds: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(counts, key=lambda name: (-counts[name].total(), name)):
        kinds[BRAINS if counts[name][BRAINS] else counts[name].most_common(1)[0][0]].append(name)
    dealt: list[list[str]] = [[] for _ in range(folds)]
    for turn, name in enumerate(name for kind in sorted(kinds) for name in kinds[kind]):
        dealt[turn % folds] += members[name]
    return [tuple(sorted(sources)) for sources in dealt]


def unseen(data: Path, runs: Path, changes: Sequence[str] = (), *, resume: bool = True) -> dict[str, Any]:
    """Train or resume each fold's network, ask it, and return the measures; keeps each run in RUNS/unseen_K.

    changes: "key=value" of the recipe, to compare one way of teaching with another. resume: whether finished and
    interrupted runs of the same recipe count.
    Raises RecipeError for changes that would let patients of unseen sources teach or choose.
    """
    samples, recipe = read_corpus(data), load_recipe(RECIPE, changes)
    borrowed = recipe.start.startswith("run:") or recipe.teacher or recipe.soup or recipe.run
    if borrowed or recipe.keep != "last" or recipe.schedule != "cosine":
        raise RecipeError(
            "not_unseen",
            'unseen: start can\'t be a run, there is no teacher or soup, keep is "last" and schedule "cosine"; '
            "else unseen sources would teach, or choose the weights.",
        )
    found: dict[str, Answers] = {TAUGHT: {}, UNSEEN: {}, MORE: {}}
    folds, doors = deal([s for s in samples if s.source not in recipe.leave_out]), []
    for fold, left_out in enumerate(folds):
        run = dataclasses.replace(recipe, name=f"{recipe.name}_{fold}", leave_out=[*recipe.leave_out, *left_out])
        network = trained(run, data, runs, resume=resume)
        told = [s for s in samples if s.source in folds[fold - 1] and s.split == "val"]
        own = [s for s in samples if s.source in left_out and s.split != "test"]
        for task, answers in ask(network, recipe, told).items():
            found[TAUGHT].setdefault(task, []).extend(answers)
        for task, answers in ask(network, recipe, own).items():
            found[MORE].setdefault(task, []).extend(answers)
            found[UNSEEN].setdefault(task, []).extend(row for row in answers if row[0].split == "val")
        doors.append(door(network, run, samples))
    return {
        "split_hash": split_hash(samples),
        "recipe": {"images": recipe.images, "size": recipe.size, "changes": list(changes)},
        "left_out": [list(sources) for sources in folds],
        "questions": {group: measure(answers) for group, answers in found.items()},
        "sources": by_source(found[MORE]),
        "doors": measure_doors(doors),
    }


def trained(recipe: Recipe, data: Path, runs: Path, *, resume: bool) -> MultiTask:
    """The finished run of exactly this recipe on these patients, or a new one; nothing of another recipe stays."""
    note = run_folder(runs, recipe.name) / BEGUN_WITH
    same = note.is_file() and json.loads(note.read_text()) == dataclasses.asdict(recipe)
    try:
        return train(recipe, data, runs, resume=resume and same)
    except RecipeError as error:
        if error.code != OTHER_RUN:  # the same recipe on other patients
            raise
    return train(recipe, data, runs, resume=False)


@torch.inference_mode()
def ask(network: MultiTask, recipe: Recipe, samples: Sequence[Sample]) -> Answers:
    """Each task's probabilities on the samples that have a label for it; the mean over image and mirror image."""
    network = network.eval().to(memory_format=torch.channels_last)
    spec, found = InputSpec(recipe.size, MEAN, STD), {task: [] for task in recipe.tasks}
    device = next(network.parameters()).device
    for start in tqdm(range(0, len(samples), BATCH), desc=recipe.name, leave=False):
        part = samples[start : start + BATCH]
        pixels = [read_pixels(sample.path, recipe.longest).astype(np.float32) / 255 for sample in part]
        batch = to_batch(pixels, spec).to(device)
        pooled = torch.stack([network.encode(view)[1] for view in (batch, batch.flip(3))])
        for task, logits in network.task_logits(pooled).items():
            shares = softmax(logits.float().mean(0).cpu().numpy().astype(np.float64), axis=1)
            rows = zip(part, shares, strict=True)
            found[task] += [(sample, share) for sample, share in rows if sample.targets[task] != IGNORE]
    return found


def outcomes(task: str, answers: Sequence[tuple[Sample, np.ndarray]]) -> Outcomes:
    """As a stage's, every image answered."""
    samples = [sample for sample, _ in answers]
    return Outcomes(
        probabilities=np.array([share for _, share in answers]),
        labels=np.array([sample.targets[task] for sample in samples]),
        classes=TASKS[task],
        patients=np.array([sample.patient for sample in samples]),
        sources=np.array([sample.source for sample in samples]),
        accepted=np.ones(len(samples), bool),
        ood=np.zeros(len(samples)),
    )


def measure(answers: Answers) -> dict[str, dict[str, Any]]:
    """{question: {"images", and the estimate or None}} of one group of images."""
    found: dict[str, dict[str, Any]] = {}
    for task in (task for task in TASKS if answers.get(task)):
        stage = outcomes(task, answers[task])
        for index, label in enumerate(stage.classes):
            found[f"{task}: recall of {label}"] = share(stage.correct, stage.labels == index, stage.patients)
        if task == "brain":
            for question, (hit, among) in mistaken(stage).items():
                found[f"brain: {question}"] = share(hit, among, stage.patients)
    return {question: one for question, one in found.items() if one["images"]}


def by_source(answers: Answers) -> dict[str, dict[str, dict[str, float | int]]]:
    """{source: {task: {"images", "right"}}} while the source was left out."""
    found: defaultdict[str, dict[str, dict[str, float | int]]] = defaultdict(dict)
    for task, rows in answers.items():
        if not rows:
            continue
        stage = outcomes(task, rows)
        for source in sorted(set(stage.sources)):
            right = stage.correct[stage.sources == source]
            found[source][task] = {"images": len(right), "right": round(float(right.mean()), 4)}
    return dict(sorted(found.items()))


def render(result: Mapping[str, Any]) -> str:
    """What `unseen` returns → Markdown."""
    groups = result["questions"]
    rows = []
    for question in groups[MORE]:
        taught, same, more = (groups[group].get(question) for group in (TAUGHT, UNSEEN, MORE))
        images = same["images"] if same else 0
        rows.append([question, images, cell(taught), cell(same), more["images"], cell(more)])
    tasks = [task for task in TASKS if any(task in one for one in result["sources"].values())]
    sources = [
        [source, max(one["images"] for one in of_task.values()), *(_right(of_task.get(task)) for task in tasks)]
        for source, of_task in result["sources"].items()
    ]
    folded = table(["source, while unseen", "images", *(f"{task} right" for task in tasks)], sources)
    return "\n\n".join(
        [
            table(["question", "images", "source taught", "source unseen", "images, all", "source unseen, all"], rows),
            render_doors(result["doors"]),
            f"<details><summary>source by source</summary>\n\n{folded}\n\n</details>",
            NOTE,
        ]
    )


def _right(one: Mapping[str, float] | None) -> str:
    return f"{one['right']:.3f}" if one else "–"


def write(result: Mapping[str, Any]) -> None:
    """weights/unseen.json and the README's table."""
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    update_readme(README, RECIPE, render(result))
