"""Which grade has each disc? Boxes on a sagittal slice → level crops → DiscNet → Pfirrmann grades and findings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from mri_models.discnet import DiscNet, read_discnet
from mri_models.hub import CONFIG, WEIGHTS, check_version, loading, verify
from mri_models.levels import Box, Place, cut, places, to_crop
from mri_models.pixels import stretch
from mri_models.types import Prediction, Scan
from mri_models.types.discs import GRADES, LEVELS, Disc, SpineGrading

NAME = "discs"  # of its folder, and of its place in a report's timing and hashes
CONFIG_VERSION = 1
OVERALL = ("low", "moderate", "severe")  # worst grade at most 3, 4, 5
LUMBAR = 6  # discs from the sacrum that the overall label is about: L5/S1 to T12/L1, as in SPIDER's labels


@dataclass(frozen=True, slots=True)
class GradeRule:
    """How logits become answers; learned on validation patients, kept in config.json under "mri".

    temperature: divides the grades' logits. threshold: least probability at which a disc's grade is stated; mass: the
    probability that the range of grades must hold which is stated otherwise.
    findings: temperature and shift of narrowing, bulging and herniation. answer: "likeliest" or "median" grade.
    power: exponent of the discs' cumulative probabilities in `worst_of`; below 1 because neighbours err together.
    overall: least accepted probability by label. overall_temperature: divides the logarithms of the overall classes.
    """

    temperature: float
    threshold: float
    mass: float
    answer: str
    findings: tuple[tuple[float, float], ...]
    power: float
    overall_temperature: float
    overall: Mapping[str, float]

    @classmethod
    def from_config(cls, mri: Mapping[str, Any]) -> Self:
        """From config.json's "mri"; KeyError or ValueError where it can't be used."""
        rule = mri["rule"]
        if rule["answer"] not in ("likeliest", "median"):
            raise ValueError(f"answer must be likeliest or median, got {rule['answer']!r}")
        pairs = tuple((float(temperature), float(shift)) for temperature, shift in rule["findings"])
        return cls(**(rule | {"findings": pairs, "overall": dict(rule["overall"])}))


class DiscGrader:
    """(Scan, boxes) → SpineGrading. Thread-safe: nothing changes after construction.

    size: (height, width) of a crop. wide: distances between discs across a crop. scale: |value| of an explanation that
    is drawn at full colour; None where these weights hold none.
    """

    def __init__(
        self,
        network: DiscNet,
        size: tuple[int, int],
        wide: float,
        rule: GradeRule,
        digest: str,
        scale: float | None = None,
    ):
        self.network = network.eval().requires_grad_(False)
        self.size = size
        self.wide = wide
        self.rule = rule
        self.digest = digest
        self.scale = scale

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> DiscGrader:
        """Read a model folder: config.json, model.safetensors.

        Raises WeightsError when a file is missing, altered, or of a version this package does not know.
        """
        digest = verify(folder)
        with loading(folder, "a disc grader"):
            config = json.loads((folder / CONFIG).read_text("utf-8"))
            mri = config["mri"]
            check_version(folder, mri, CONFIG_VERSION)
            network = read_discnet(config, folder / WEIGHTS).to(device, memory_format=torch.channels_last)
            height, width = mri["input_size"]
            rule, scale = GradeRule.from_config(mri), mri.get("attribution_scale")
            return cls(network, (height, width), float(mri["wide"]), rule, digest, scale)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def __call__(self, scan: Scan, boxes: Sequence[Box]) -> SpineGrading:
        """boxes: in order from L5/S1 upwards, in pixels of the scan; ValueError for fewer than three."""
        boxes = list(boxes)[: len(LEVELS)]
        where = places(boxes)
        return self.decide(self.logits(scan, where), where, boxes)

    def crops(self, scan: Scan, where: Sequence[Place]) -> torch.Tensor:
        """(n, 3, h, w): the discs at these places as the network sees them."""
        pixels = stretch(scan.pixels)
        crops = [crop_tensor(pixels, to_crop(place, self.size, self.wide), self.size) for place in where]
        return torch.stack(crops).to(self.device)

    @torch.inference_mode()
    def logits(self, scan: Scan, where: Sequence[Place]) -> np.ndarray:
        """(n, 8) logits of the discs at these places, the mean over the slice and its mirror image.

        Half precision on a GPU.
        """
        batch = self.crops(scan, where)
        levels = torch.arange(len(where), device=self.device)
        owner = torch.zeros_like(levels)
        with torch.autocast("cuda", torch.float16, enabled=self.device.type == "cuda"):
            views = [self.network(view, owner, levels) for view in (batch, batch.flip(3))]
        return torch.stack(views).float().mean(0).cpu().numpy()

    def decide(self, logits: np.ndarray, where: Sequence[Place], boxes: Sequence[Box]) -> SpineGrading:
        """(n, 8) logits → calibrated grades of each disc, and of the worst."""
        shares, findings = calibrated(logits, self.rule)
        answers, ranges = graded(shares, self.rule.answer), spans(shares, self.rule.mass)
        discs = [
            Disc(
                level=LEVELS[i],
                centre=place.centre,
                tilt=place.tilt,
                spacing=place.spacing,
                box=tuple(map(int, box)),
                pfirrmann=tuple(map(float, row)),
                grade=int(answer),
                span=(int(span[0]), int(span[1])),
                narrowing=float(found[0]),
                bulging=float(found[1]),
                herniation=float(found[2]),
                accepted=bool(row[answer - 1] >= self.rule.threshold),
            )
            for i, (place, box, row, answer, span, found) in enumerate(
                zip(where, boxes, shares, answers, ranges, findings, strict=True)
            )
        ]
        return SpineGrading(tuple(discs), self.overall(shares))

    def overall(self, shares: np.ndarray) -> Prediction:
        """(n, 5) grade probabilities → the worst disc's class, accepted by the rule of the other stages."""
        probabilities = worst_of(shares, self.rule.power, self.rule.overall_temperature)
        best = int(probabilities.argmax())
        label, confidence = OVERALL[best], float(probabilities[best])
        threshold = self.rule.overall[label]
        return Prediction(
            label=label,
            confidence=confidence,
            threshold=threshold,
            probabilities=dict(zip(OVERALL, map(float, probabilities), strict=True)),
            ood_score=0.0,
            ood_threshold=1.0,
            accepted=confidence >= threshold,
        )


def crop_tensor(
    pixels: np.ndarray,
    affine: np.ndarray,
    size: tuple[int, int],
    change: Callable[[np.ndarray], np.ndarray] | None = None,
) -> torch.Tensor:
    """(H, W) float32 → (3, h, w): cut out, stretched by the crop's own percentiles, `change`d, scaled to [-1, 1].

    The crop's own percentiles, because the vertebrae and the fluid beside a disc are what its grey is judged by.
    """
    crop = stretch(cut(pixels, affine, size))
    crop = change(crop) if change else crop
    return torch.from_numpy(2 * np.ascontiguousarray(crop) - 1)[None].expand(3, -1, -1)


def calibrated(logits: np.ndarray, rule: GradeRule) -> tuple[np.ndarray, np.ndarray]:
    """(n, 8) logits → grade probabilities (n, 5) and findings (n, 3)."""
    shares = softmax(logits[:, : len(GRADES)].astype(np.float64) / rule.temperature)
    scaled = [
        (column - shift) / temperature
        for column, (temperature, shift) in zip(logits[:, len(GRADES) :].T, rule.findings, strict=True)
    ]
    return shares, 1 / (1 + np.exp(-np.array(scaled, np.float64).T))


def graded(shares: np.ndarray, answer: str) -> np.ndarray:
    """(n, 5) probabilities → (n,) grades: the likeliest, or the median of the distribution."""
    if answer == "likeliest":
        return 1 + shares.argmax(1)
    return 1 + (shares.cumsum(1)[:, :-1] < 0.5).sum(1)


def spans(shares: np.ndarray, mass: float) -> np.ndarray:
    """(n, 5) probabilities → (n, 2) lowest and highest grade of the shortest range that holds at least `mass`.

    Of equally short ranges the likeliest; all grades where rounding leaves less than `mass`.
    """
    found = np.tile([GRADES[0], GRADES[-1]], (len(shares), 1))
    open_ = np.ones(len(shares), bool)
    for width in range(1, len(GRADES)):
        held = np.lib.stride_tricks.sliding_window_view(shares, width, axis=1).sum(2)
        enough = open_ & (held.max(1) >= mass)
        low = 1 + held.argmax(1)
        found[enough] = np.stack([low, low + width - 1], 1)[enough]
        open_ &= ~enough
    return found


def worst_of(shares: np.ndarray, power: float, temperature: float) -> np.ndarray:
    """(n, 5) grade probabilities of a spine's discs → (3,) of the worst lumbar grade: at most 3, 4, 5.

    P(worst <= g) is the product of P(disc <= g) over discs, were they independent; `power` takes back that they aren't.
    """
    below = shares[:LUMBAR].cumsum(1).clip(1e-9, 1).prod(0) ** power
    classes = np.array([below[2], below[3] - below[2], 1 - below[3]]).clip(1e-6, 1)
    return softmax(np.log(classes)[None] / temperature)[0]


def softmax(logits: np.ndarray) -> np.ndarray:
    """(n, c) → rows that sum to 1."""
    shares = np.exp(logits - logits.max(1, keepdims=True))
    return shares / shares.sum(1, keepdims=True)
