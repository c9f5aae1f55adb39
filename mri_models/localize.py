"""Where is it? A ResUNet's class scores for each pixel → a Mask on the scan's own grid."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn

from mri_models.fold import Runner, folded
from mri_models.hub import CONFIG, WEIGHTS, check_version, loading, verify
from mri_models.pixels import stretch
from mri_models.preprocess import InputSpec, to_batch, undo_letterbox
from mri_models.rankdice import rank_dice
from mri_models.types import Mask, Prediction, Report, Scan
from mri_models.unet import read_unet

FOLDER = "segmentation/"
TUMOUR = FOLDER + "tumour"  # the network that outlines tumours
CONFIG_VERSION = 1
CRUMB = 0.02  # of the largest patch: smaller ones are dropped where a single structure is outlined
PEAK_SHARE = 0.001  # of the canvas: the score is the mean of its most probable pixels


@dataclass(frozen=True, slots=True)
class OutlineRule:
    """When a pixel, a patch and an image count; learned on validation patients.

    pixel: least probability inside a patch. peak: least score of an image in which something is outlined, and least
    peak of each patch that is kept (hysteresis).
    temperature: where it is set, the outline inside the patches is the one of largest expected Dice
    (`rankdice.rank_dice`) for a single structure; otherwise it is every pixel of at least `pixel`.
    trust: slope and offset from that expected Dice to what validation patients' outlines had.
    part, labels, least: the outline is drawn on images accepted as this body part whose pattern labels have at least
    this probability together; without labels, on every one of the part.
    """

    pixel: float
    peak: float
    part: str
    labels: tuple[str, ...]
    least: float
    temperature: float | None = None
    trust: tuple[float, float] = (1.0, 0.0)

    @classmethod
    def from_config(cls, mri: Mapping[str, Any]) -> Self:
        """From config.json's "mri"; KeyError where it lacks something."""
        asked, ranked = mri["outlined_when"], mri.get("rank_dice")
        rule = cls(mri["pixel_threshold"], mri["peak_threshold"], asked["part"], tuple(asked["labels"]), asked["least"])
        if not ranked:
            return rule
        return replace(rule, temperature=float(ranked["temperature"]), trust=(ranked["slope"], ranked["offset"]))

    def inside(self, probability: np.ndarray) -> tuple[np.ndarray, float | None]:
        """(H, W) probabilities, 0 outside the patches → (H, W) bool outline, and its expected Dice where known."""
        if self.temperature is None:
            return probability >= self.pixel, None
        outline, expected = rank_dice(probability, self.temperature)
        slope, offset = self.trust
        return outline, float(np.clip(slope * expected + offset, 0, 1))

    def applies(self, part: Prediction | None, pattern: Prediction | None) -> bool:
        """Whether an image that got these answers is outlined."""
        if part is None or not part.accepted or part.label != self.part:
            return False
        if not self.labels:
            return True
        if pattern is None or pattern.ood_score > pattern.ood_threshold:
            return False
        return sum(pattern.probabilities.get(label, 0.0) for label in self.labels) >= self.least


class Segmenter:
    """Scan → Mask. Thread-safe: nothing changes after construction.

    finer: sizes, px, at which the network looks as well; what it says of a pixel is the mean over all sizes.
    """

    def __init__(
        self,
        network: nn.Module,
        labels: tuple[str, ...],
        spec: InputSpec,
        rule: OutlineRule,
        digest: str,
        finer: tuple[int, ...] = (),
    ):
        self.runner = Runner(folded(network))
        self.labels = labels
        self.spec = spec
        self.rule = rule
        self.digest = digest
        self.finer = finer

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Segmenter:
        """Read a model folder: config.json, model.safetensors.

        Raises WeightsError when a file is missing, altered, or of a version this package does not know.
        """
        digest = verify(folder)
        with loading(folder, "an outline network"):
            config = json.loads((folder / CONFIG).read_text("utf-8"))
            mri = config["mri"]
            check_version(folder, mri, CONFIG_VERSION)
            network = read_unet(config, folder / WEIGHTS).to(device)
            spec = InputSpec(mri["input_size"], tuple(mri["mean"]), tuple(mri["std"]))
            finer = tuple(mri.get("finer_sizes", ()))
            return cls(network, tuple(config["labels"]), spec, OutlineRule.from_config(mri), digest, finer)

    def with_rule(self, rule: OutlineRule) -> Segmenter:
        """The same network with other thresholds."""
        other = copy.copy(self)
        other.rule = rule
        return other

    def probabilities(self, scans: Sequence[Scan]) -> np.ndarray:
        """B scans → (B, 1 + labels, S, S) on the canvas, summing to 1, background first.

        The mean over the image, its mirror image, and both at the finer sizes. Eight scans at a time on a GPU, one
        by one on a CPU, whose caches hold no more.
        """
        step = 1 if self.runner.device.type == "cpu" else 8
        return np.concatenate([self._looks(scans[start : start + step]) for start in range(0, len(scans), step)])

    def _looks(self, scans: Sequence[Scan]) -> np.ndarray:
        """B scans in one pass a size → (B, 1 + labels, S, S)."""
        images = [stretch(scan.pixels) for scan in scans]
        looks = [self._look(to_batch(images, replace(self.spec, size=size))) for size in (self.spec.size, *self.finer)]
        return torch.stack(looks).mean(0).cpu().numpy()

    def _look(self, batch: torch.Tensor) -> torch.Tensor:
        """(B, 3, S', S') → (B, 1 + labels, S, S): image and mirror image in one pass."""
        (logits,) = self.runner(torch.cat([batch, batch.flip(3)]))
        straight, mirrored = logits.chunk(2)
        sides = torch.stack([straight, mirrored.flip(3)])
        if batch.shape[3] != self.spec.size:
            canvas = (self.spec.size, self.spec.size)
            sides = F.interpolate(sides.flatten(0, 1), canvas, mode="bilinear", antialias=True).unflatten(0, (2, -1))
        return sides.softmax(2).mean(0)

    def log_odds(self, batch: torch.Tensor) -> np.ndarray:
        """(B, 3, S, S) → (B, S, S) float32 log-odds of anything but background, in one pass; S a multiple of 32."""
        (logits,) = self.runner(batch)
        return (logits[:, 1:].logsumexp(1) - logits[:, 0]).cpu().numpy()

    def __call__(self, scan: Scan) -> Mask:
        return self.draw(self.probabilities([scan])[0], scan)

    def draw(self, shares: np.ndarray, scan: Scan) -> Mask:
        """(1 + labels, S, S) probabilities on the canvas → Mask on the scan's grid."""
        foreground = 1 - shares[0]
        score = peak(foreground)
        probability = np.clip(undo_letterbox(foreground, scan.shape), 0, 1).astype(np.float32)
        values, expected = np.zeros(scan.shape, np.uint8), None
        if score >= self.rule.peak:
            crumb = CRUMB if len(self.labels) == 1 else 0.0  # a spine is one patch; a disc beside it is no crumb
            kept = within_peaks(foreground, self.rule.pixel, self.rule.peak, crumb)
            inside, expected = self.rule.inside(undo_letterbox(foreground * kept, scan.shape))
            values[inside] = likeliest(shares[1:], scan.shape)[inside]
        return Mask(values, probability, self.labels, score, self.rule.peak, scan.spacing_mm, expected)

    def masks(self, scans: Sequence[Scan]) -> list[Mask]:
        """B scans → their masks."""
        return [self.draw(shares, scan) for shares, scan in zip(self.probabilities(scans), scans, strict=True)]


def peak(foreground: np.ndarray) -> float:
    """Mean of the most probable pixels: one bright pixel is no structure."""
    count = max(1, round(foreground.size * PEAK_SHARE))
    return float(np.partition(foreground, -count, axis=None)[-count:].mean())


def within_peaks(foreground: np.ndarray, low: float, high: float, crumb: float = 0.0) -> np.ndarray:
    """(S, S) bool: patches of at least `low` that reach `high` somewhere, and the rim around them.

    Of these, such as have at least `crumb` of the pixels of the largest.

    The rim, below `low`, keeps the edge where it is when the map is scaled to the scan.
    """
    patches, count = ndimage.label(foreground >= low)
    if not count:
        return np.zeros(foreground.shape, bool)
    peaks = ndimage.maximum(foreground, patches, range(1, count + 1))
    sizes = np.bincount(patches.ravel())[1:]
    peaked = np.asarray(peaks) >= high
    large = sizes >= crumb * sizes[peaked].max(initial=0)
    kept = np.isin(patches, 1 + np.flatnonzero(peaked & large))
    return ndimage.binary_dilation(kept, iterations=2) & ((patches == 0) | kept)


def likeliest(shares: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(labels, S, S) → (H, W) uint8: 1 + the label of largest probability, one label's map in memory at a time."""
    best, values = undo_letterbox(shares[0], shape).copy(), np.ones(shape, np.uint8)
    for label, share in enumerate(shares[1:], 2):
        mapped = undo_letterbox(share, shape)
        closer = mapped > best
        values[closer], best[closer] = label, mapped[closer]
    return values


def overlaps(report: Report) -> dict[str, float]:
    """Share of the anomaly map and of the explanation's positive part that lies inside the report's outline.

    Beside it "area", the outline's share of the image: what a map would have that knows nothing.
    """
    mask = report.localization
    if mask is None or not mask.found:
        return {}
    maps = {"area": np.ones(mask.values.shape, np.float32)}
    if report.anomaly:
        maps["anomaly"] = undo_letterbox(report.anomaly.error_map, mask.values.shape)
    if report.explanation:
        maps[report.explanation.method] = report.explanation.values
    return {name: share_inside(values, mask.values > 0) for name, values in maps.items()}


def share_inside(values: np.ndarray, inside: np.ndarray) -> float:
    """Share of a map's positive values where `inside` holds; 0 for a map without any."""
    positive = np.clip(values, 0, None)
    whole = float(positive.sum(dtype=np.float64))
    return float(positive[inside].sum(dtype=np.float64)) / whole if whole > 0 else 0.0
