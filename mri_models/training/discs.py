"""Crops of graded discs → a trained DiscNet: whole spines in a batch, each fold of patients left out once, resume."""

from __future__ import annotations

import dataclasses
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import log_softmax
from sklearn.metrics import cohen_kappa_score
from torch import nn
from transformers import EvalPrediction, set_seed

from mri_models.discnet import DiscNet, read_discnet
from mri_models.levels import disc_boxes
from mri_models.localize import Segmenter
from mri_models.training.corpus import read_corpus
from mri_models.training.course import RECIPE, begin, best_weights, by_steps, keep, story
from mri_models.training.fit import BalancedTrainer
from mri_models.training.recipe import read_values, strict
from mri_models.training.spines import Finder, Spine, Spines, read_spines
from mri_models.types.discs import GRADES

KIND = "discs"
SOFT = 0.1  # share of a grade's weight that its neighbours get: readers differ by one grade on every third disc


@dataclass(frozen=True, slots=True)
class DiscRecipe:
    """How the disc grader is trained; see the comments in recipes/discs.toml for the reasons."""

    kind: str
    name: str  # folder below weights/
    trunk: str  # timm architecture
    finder: str  # a segmentation folder below weights/, for images without boxes; "" to leave those out
    trunk_args: dict[str, object] = field(default_factory=dict)
    folds: int = 5  # of the patients; a network for each, which never sees that fold, and all answer together
    fold: int = -1  # train only the network of this fold (from 0); -1: all of them, and join them
    members: int = 1  # trunks of a fold's network that learn side by side
    size: list[int] = field(default_factory=lambda: [96, 128])  # height, width of a crop, px
    wide: float = 2.0  # distances between discs across a crop
    longest: int = 448  # px; images are kept at this size in memory
    spines: int = 12000  # augmented images seen in all
    batch: int = 6  # images; about seven discs each
    lr: float = 2e-3  # peak; AdamW, cosine
    weight_decay: float = 0.05
    warmup: float = 0.1
    mixed: float = 0.0  # share of batches that mix discs (mixup)
    ordinal: float = 0.5  # weight of the distance between cumulative probabilities
    findings: float = 0.7  # weight of narrowing, bulging and herniation
    disc_accuracy: float = 0.75  # asked of accepted validation discs; readers agree on about 70 % of grades (SpineNet)
    range_right: float = 0.9  # share of validation discs whose grade must lie in the range stated
    overall_accuracy: float = 0.97  # asked of accepted validation slices about their worst disc
    evaluations: int = 5
    seed: int = 0

    @property
    def exported(self) -> bool:
        """Whether `train` goes on to export: a single fold's network is only a part."""
        return self.fold < 0


def load_disc_recipe(name_or_path: str, changes: Iterable[str] = ()) -> DiscRecipe:
    """Read recipes/NAME.toml or a path, then apply "key=value" changes."""
    path, values = read_values(name_or_path, changes)
    return strict(DiscRecipe, path, values)


class Lesson(nn.Module):
    """pixel_values (N, 3, H, W), owner (N,), levels (N,), labels (N, 4) → {"loss", "logits" (N, 8)}.

    labels: grade 1 to 5, then narrowing, bulging, herniation as 0 or 1; a row of -1 is a disc that nobody graded.
    """

    def __init__(self, recipe: DiscRecipe):
        super().__init__()
        self.recipe = recipe
        self.network = DiscNet(recipe.trunk, recipe.trunk_args, recipe.members)

    def forward(
        self, pixel_values: torch.Tensor, owner: torch.Tensor, levels: torch.Tensor, labels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """While training, a share of batches are mixtures of two discs each (mixup, Zhang 2018), and each member has
        its own loss."""
        other, share = torch.arange(len(labels), device=labels.device), 1.0
        if self.training and torch.rand(()) < self.recipe.mixed:
            other = other[torch.randperm(len(labels), device=labels.device)]
            share = float(torch.distributions.Beta(0.5, 0.5).sample())
            pixel_values = share * pixel_values + (1 - share) * pixel_values[other]
        answers = self.network.each(pixel_values, owner, levels)
        losses = [
            weight * self.loss(logits[truth[:, 0] > 0], truth[truth[:, 0] > 0])
            for logits in answers
            for weight, truth in ((share, labels), (1 - share, labels[other]))
            if weight > 0
        ]
        return {"loss": torch.stack(losses).sum() / len(answers), "logits": torch.stack(answers).mean(0)}

    def loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Cross-entropy with softened grades, squared distance of cumulative probabilities, and the findings."""
        grades = logits[:, : len(GRADES)]
        wanted = softened(labels[:, 0])
        scores = F.log_softmax(grades, 1)
        loss = -(wanted * scores).sum(1).mean()
        gaps = (scores.exp().cumsum(1) - wanted.cumsum(1))[:, :-1]
        found = F.binary_cross_entropy_with_logits(logits[:, len(GRADES) :], labels[:, 1:].float())
        return loss + self.recipe.ordinal * (gaps**2).sum(1).mean() + self.recipe.findings * found


def softened(grades: torch.Tensor) -> torch.Tensor:
    """Grades (N,) 1 to 5 → (N, 5) weights: most on the grade, the rest on its neighbours."""
    eye = torch.eye(len(GRADES), device=grades.device)
    beside = torch.diag(torch.ones(len(GRADES) - 1, device=grades.device), 1)
    beside = beside + beside.T
    table = (1 - SOFT) * eye + SOFT * beside / beside.sum(1, keepdim=True)
    return table[grades - 1]


def together(spines: Sequence[Mapping[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Spines of different lengths → one batch of discs, with the spine that owns each."""
    batch = {key: torch.cat([spine[key] for spine in spines]) for key in spines[0]}
    counts = torch.tensor([len(spine["levels"]) for spine in spines])
    return batch | {"owner": torch.repeat_interleave(torch.arange(len(spines)), counts)}


def grade_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """Of the graded discs: log loss ("nll", which chooses the checkpoint), exact share, weighted kappa."""
    labels = np.asarray(prediction.label_ids)
    known = labels[:, 0] > 0
    grades = labels[known, 0]
    scores = log_softmax(np.asarray(prediction.predictions, np.float64)[known, : len(GRADES)], axis=1)
    answers = 1 + scores.argmax(1)
    return {
        "nll": -float(scores[np.arange(len(grades)), grades - 1].mean()),
        "exact": float((answers == grades).mean()),
        "kappa": float(cohen_kappa_score(grades, answers, weights="quadratic", labels=list(GRADES))),
    }


def train(recipe: DiscRecipe, data: Path, runs: Path, weights: Path, *, resume: bool = True) -> DiscNet:
    """Train the network of each fold, or of one, on DATA; a killed run resumes from its last checkpoint.

    Folds divide the training and validation patients: each of them is judged by a network that never saw them, which
    the calibration needs, and taught all others. The end of the whole schedule is kept, so that a fold's patients don't
    choose their own judge. Writes recipe.json, best.safetensors and history.json into RUNS/NAME, the parts beside it.
    """
    read = cache(lambda: read_spines(data, finder_of(recipe, weights), recipe.longest))
    if recipe.fold >= 0:
        return train_fold(part(recipe, recipe.fold), read, data, runs, resume=resume)
    parts = [part(recipe, fold) for fold in range(recipe.folds)]
    networks = [train_fold(one, read, data, runs, resume=resume) for one in parts]
    samples = read_corpus(data)
    run = begin(recipe, samples, runs, resume=resume)
    network = join(networks)
    keep(network, run.folder, samples, {"log": mean_log([story(runs, one.name)["log"] for one in parts])})
    return network.eval()


def part(recipe: DiscRecipe, fold: int) -> DiscRecipe:
    """The run of one fold's network."""
    return dataclasses.replace(recipe, name=f"{recipe.name}/fold_{fold}", fold=fold)


def train_fold(
    recipe: DiscRecipe, read: Callable[[], Sequence[Spine]], data: Path, runs: Path, *, resume: bool
) -> DiscNet:
    """The network that sees all patients but those of `recipe.fold`."""
    set_seed(recipe.seed + recipe.fold)
    samples = read_corpus(data)
    run = begin(recipe, samples, runs, resume=resume)
    if run.done:
        return load_network(recipe.name, runs)
    known = taught(read())
    fold_of = folds_of(known, recipe.folds)
    seen = [spine for spine in known if fold_of[spine.patient] != recipe.fold and spine.trusted]
    unseen = [spine for spine in known if fold_of[spine.patient] == recipe.fold]
    lesson = Lesson(recipe).to(memory_format=torch.channels_last)
    size = (recipe.size[0], recipe.size[1])
    arguments = by_steps(
        recipe,
        run.folder,
        recipe.spines,
        metric="nll",
        greater_is_better=False,
        load_best_model_at_end=False,
        per_device_eval_batch_size=1,  # accelerate cuts a last batch to as many rows, here discs, as it has items
    )
    trainer = BalancedTrainer(
        model=lesson,
        args=arguments,
        train_dataset=Spines(seen, size, recipe.wide, train=True),
        eval_dataset=Spines(unseen, size, recipe.wide, train=False),
        data_collator=together,
        compute_metrics=grade_metrics,
        draws=shares(seen),
        count=recipe.spines,
    )
    trainer.train(resume_from_checkpoint=run.checkpoint)
    keep(lesson.network, run.folder, samples, {"log": trainer.state.log_history})
    return lesson.network.eval()


def taught(spines: Sequence[Spine]) -> list[Spine]:
    """Those of training and validation patients."""
    return [spine for spine in spines if spine.split != "test"]


def folds_of(spines: Sequence[Spine], folds: int) -> dict[str, int]:
    """Patient → fold, from 0: each fold has its share of every worst grade."""
    patients = sorted({(spine.worst, spine.patient) for spine in spines})
    return {patient: place % folds for place, (_, patient) in enumerate(patients)}


def mean_log(logs: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """The folds' validation metrics as one run's log: the mean over the folds at each step."""
    looks: defaultdict[int, list[Mapping[str, float]]] = defaultdict(list)
    for log in logs:
        for entry in log:
            if "eval_nll" in entry:
                looks[entry["step"]].append(entry)
    names = ("eval_nll", "eval_exact", "eval_kappa")
    return [
        {"step": step} | {name: float(np.mean([entry[name] for entry in entries])) for name in names}
        for step, entries in sorted(looks.items())
    ]


def finder_of(recipe: DiscRecipe, weights: Path) -> Finder | None:
    """What finds discs where the tables have no boxes."""
    if not recipe.finder:
        return None
    segmenter = Segmenter.load(weights / recipe.finder)
    return lambda scan: disc_boxes(segmenter(scan))


def shares(spines: Sequence[Spine]) -> np.ndarray:
    """(N,) probability of drawing each image: its patient's images together count by the root of their number."""
    counts = {patient: sum(s.patient == patient for s in spines) for patient in {s.patient for s in spines}}
    weights = np.array([1 / np.sqrt(counts[s.patient]) for s in spines])
    return weights / weights.sum()


def join(networks: Sequence[DiscNet]) -> DiscNet:
    """One network of the members of several (deep ensemble, Lakshminarayanan 2017)."""
    return networks[0].of(member for network in networks for member in network.members)


def load_network(name: str, runs: Path) -> DiscNet:
    """The network of the finished run of a recipe of this name, of all its folds or of one.

    Raises RecipeError when there is none.
    """
    path = best_weights(runs, name)
    trained = DiscRecipe(**json.loads((path.parent / RECIPE).read_text()))
    members = trained.members * (trained.folds if trained.fold < 0 else 1)
    return read_discnet({"trunk": trained.trunk, "trunk_args": trained.trunk_args, "members": members}, path)
