"""Which images teach an outline network, and how they are varied."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset

from mri_models.preprocess import InputSpec, fit_box, letterbox, normalise
from mri_models.report import TUMOURS
from mri_models.training import heal
from mri_models.training.augment import Rng, augment, match_histogram, transplant
from mri_models.training.corpus import TASKS, Sample, read_corpus, read_mask, read_pixels, trainable
from mri_models.training.exams import INTACT, joined_exams, middle, read_slices
from mri_models.training.knee import exchange, level, notch
from mri_models.training.volumes import read_volumes

HISTOGRAM_SHARE = 0.2  # of images that take over another image's grey levels
EXTERNAL = "external"  # kind of the images that only ever test
HEALED = "healed"  # kind of tumour slices whose tumour was taken out
NOTED = "noted"  # kind of knees with a torn ligament that nobody outlined
EXCHANGED = 0.4  # share of knees that get another knee's ligament
LEVELLED = 0.4  # of knees that take over the grey levels of one of another kind
TRANSPLANTS = 0.5  # share of images without the structure that get one from elsewhere, where the recipe says so


@dataclass(frozen=True, slots=True, eq=False)
class Outlined:
    """One image with its outline: pixels (H, W) uint8; mask (H, W) uint8, 0 background, k the k-th label.

    kind: what it is drawn by: images of each kind are drawn equally often within `Subject.shares`.
    """

    pixels: np.ndarray
    mask: np.ndarray
    patient: str
    source: str
    split: str
    kind: str


@dataclass(frozen=True, slots=True)
class Subject:
    """What a network outlines: its labels, where the images come from, and how often each kind is drawn.

    part, patterns, least: when serving asks for it, see `localize.OutlineRule`.
    vary: (picture, all pictures, rng) → image (H, W) float32 and mask, before the augmentation that all share.
    """

    labels: tuple[str, ...]
    read: Callable[[Path, int], list[Outlined]]
    shares: dict[str, float]
    part: str
    patterns: tuple[str, ...] = ()
    least: float = 0.0
    transplants: bool = False
    vary: Callable[[Outlined, Sequence[Outlined], Rng], tuple[np.ndarray, np.ndarray]] | None = None


def tumours(data: Path, longest: int) -> list[Outlined]:
    """Tumour slices with their outline; brains without a tumour, healthy or healed; another hospital's for testing."""
    samples = read_corpus(data)
    names = TASKS["brain"]
    chosen = [s for s in samples if s.mask and s.source == "cheng2015"]
    chosen += [s for s in samples if s.targets["brain"] == names.index("no_tumor")]
    found = [_outlined(s, longest, names[s.targets["brain"]]) for s in _usable(chosen)]
    found += healed([p for p in found if p.mask.any() and p.split != "test"])
    return found + [_outlined(s, longest, EXTERNAL) for s in samples if s.source == "tcia_btp"]


def healed(pictures: Sequence[Outlined]) -> Iterator[Outlined]:
    """The same heads without their tumour, where the healthy half can stand in for it."""
    for index, picture in enumerate(pictures):
        twin = heal.healed(picture.pixels, picture.mask, np.random.default_rng(index))
        if twin is not None:
            yield replace(picture, pixels=twin, mask=np.zeros_like(picture.mask), kind=HEALED)


def ligaments(data: Path, longest: int) -> list[Outlined]:
    """Torn anterior cruciate ligaments, outlined; intact ones; and other knees whose notes name no tear of it.

    Intact knees of MRNet or KneeMRI join where the corpus folder holds them.
    """
    return [p for p in knees(data, longest) if p.kind not in (NOTED, EXTERNAL)] + intact_exams(data, longest)


def knees(data: Path, longest: int) -> list[Outlined]:
    """Every knee MRI of the corpus, by `knee_kind`."""
    samples = [s for s in read_corpus(data) if s.body_part == "knee" and s.modality == "mri"]
    return [_outlined(s, longest, knee_kind(s)) for s in samples]


def intact_exams(data: Path, longest: int) -> list[Outlined]:
    """Middle slices of exams in which no reader saw a tear, without an outline and of no known place."""
    found = []
    for exam in joined_exams(data):
        for image in middle(read_slices(exam)) if exam.grade == INTACT else ():
            scale = min(1, longest / max(image.shape))
            size = tuple(round(side * scale) for side in image.shape[::-1])
            pixels = (cv2.resize(image, size, interpolation=cv2.INTER_AREA) * 255).round().astype(np.uint8)
            found.append(Outlined(pixels, np.zeros_like(pixels), exam.patient, exam.source, exam.split, "unlabelled"))
    return found


def knee_kind(sample: Sample) -> str:
    """ "torn" with outline, "intact" volunteer, NOTED a tear or its typical signs, EXTERNAL, or "unlabelled".

    kneebones3dify stays out of the outline's training, to count false alarms on; its trunk saw it as a knee.
    """
    if sample.source == "cemrr_acl":
        return "torn"
    if sample.source == "mridata_knee":
        return "intact"
    if sample.source == "kneebones3dify":
        return EXTERNAL
    told = f"{sample.path.name} {sample.note}".lower()
    return NOTED if re.search(r"acl|pivot", told) and "normal_anatomy" not in told else "unlabelled"


def vary_knee(picture: Outlined, pictures: Sequence[Outlined], rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """A knee that no longer tells its source by ligament and surroundings, contrast, resolution or field of view."""
    image, mask = _floats(picture), picture.mask
    known = [p for p in pictures if p.kind in ("torn", "intact")]
    if picture.kind != "unlabelled" and rng.random() < EXCHANGED:
        kind = rng.choice(("torn", "intact"))
        drawn = rng.choice([i for i, p in enumerate(known) if p.kind == kind], 4)
        others = [notch(_floats(known[i]), known[i].mask, rng) for i in drawn]
        image, mask = exchange(notch(image, mask, rng), others, rng)
    if rng.random() < LEVELLED:
        strangers = [p for p in pictures if p.kind != picture.kind]
        image = match_histogram(image, _floats(strangers[rng.integers(len(strangers))]))
    return level(image, mask, rng)


def spines(data: Path, longest: int) -> list[Outlined]:
    """Sagittal slices of the spine volumes, with vertebrae, discs and canal."""
    del longest  # volumes come at their own resolution
    return [
        Outlined(image, label, volume.patient, volume.source, volume.split, "slice")
        for volume in read_volumes(data, "spine")
        for image, label in zip(*volume.sagittal(), strict=True)
        if label.any()
    ]


SUBJECTS = {
    "tumour": Subject(
        labels=("tumour",),
        read=tumours,
        shares={"glioma": 0.3, "meningioma": 0.2, "pituitary": 0.17, "no_tumor": 0.18, HEALED: 0.15},
        part="brain",
        patterns=TUMOURS,
        least=0.6,  # together: which of the three it is may stay open
        transplants=True,
    ),
    "acl": Subject(
        labels=("acl_tear",),
        read=ligaments,
        shares={"torn": 0.5, "intact": 0.3, "unlabelled": 0.2},
        part="knee",
        vary=vary_knee,
    ),
    "spine": Subject(labels=("disc", "vertebra", "canal"), read=spines, shares={"slice": 1.0}, part="spine"),
}


def _usable(samples: Sequence[Sample]) -> list[Sample]:
    return [s for s in samples if s.split != "train" or trainable(s)]


def _outlined(sample: Sample, longest: int, kind: str) -> Outlined:
    pixels = read_pixels(sample.path, longest)
    mask = (read_mask(sample.mask, pixels.shape) > 0) if sample.mask else np.zeros(pixels.shape, bool)
    return Outlined(pixels, mask.astype(np.uint8), sample.patient, sample.source, sample.split, kind)


def _floats(picture: Outlined) -> np.ndarray:
    return picture.pixels.astype(np.float32) / 255


def draw_shares(pictures: Sequence[Outlined], shares: dict[str, float]) -> np.ndarray:
    """(N,) probability of drawing each picture: `shares` over kinds; inside one, sources by the root of their size, so
    that a large one does not drown the others; inside a source, patients by the root of their images."""
    weights = np.zeros(len(pictures))
    for kind, share in shares.items():
        here = [i for i, p in enumerate(pictures) if p.kind == kind]
        sources = Counter(pictures[i].source for i in here)
        patients = Counter(pictures[i].patient for i in here)
        roots: Counter[str] = Counter()
        for i in here:
            roots[pictures[i].source] += 1 / np.sqrt(patients[pictures[i].patient])
        whole = sum(np.sqrt(size) for size in sources.values())
        for i in here:
            source = pictures[i].source
            of_patient = 1 / np.sqrt(patients[pictures[i].patient]) / roots[source]
            weights[i] = share * np.sqrt(sources[source]) / whole * of_patient
    return weights / weights.sum()


class Outlines(Dataset):
    """Items: pixel_values (3, S, S), labels (S, S) int64 class of each pixel; `train` switches augmentation on.

    hard, smallest: of the recipe.
    """

    def __init__(
        self,
        pictures: Sequence[Outlined],
        subject: Subject,
        spec: InputSpec,
        *,
        hard: float,
        train: bool,
        smallest: float = 1.0,
    ):
        cv2.setNumThreads(0)  # the loader's processes are the parallelism
        self.pictures, self.subject, self.spec, self.hard, self.train = pictures, subject, spec, hard, train
        self.smallest = smallest
        self.donors = [i for i, p in enumerate(pictures) if p.mask.any()]

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        picture = self.pictures[index]
        image, mask = _floats(picture), picture.mask
        if not self.train:
            canvas, drawn = letterbox(image, self.spec.size), letterbox_mask(mask, self.spec.size)
        else:
            rng = np.random.default_rng(int(torch.randint(2**31, ())))
            if self.subject.vary:
                image, mask = self.subject.vary(picture, self.pictures, rng)
            if self.subject.transplants and not mask.any() and rng.random() < TRANSPLANTS:
                donor = self.pictures[rng.choice(self.donors)]
                image, region = transplant(image, _floats(donor), donor.mask * 255, rng, least=self.smallest)
                mask = (region > 0).astype(np.uint8)
            other = None
            if rng.random() < HISTOGRAM_SHARE:
                other = _floats(self.pictures[rng.integers(len(self.pictures))])
            gentle = rng.random() >= self.hard
            canvas, drawn = augment(image, mask, self.spec.size, rng, other, gentle=gentle)
        return {"pixel_values": normalise(canvas, self.spec), "labels": torch.from_numpy(drawn.astype(np.int64))}


def letterbox_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """(H, W) uint8 classes → (size, size), placed like the image's letterbox, nearest neighbour."""
    box = fit_box(mask.shape, size)
    canvas = np.zeros((size, size), np.uint8)
    inner = cv2.resize(mask, (box.width, box.height), interpolation=cv2.INTER_NEAREST_EXACT)
    canvas[box.top : box.top + box.height, box.left : box.left + box.width] = inner
    return canvas
