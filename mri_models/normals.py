"""What normal brains measure: a memory of their features, and the rule that turns measurements into a score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy.ndimage import binary_fill_holes, uniform_filter

from mri_models.linear import distances
from mri_models.ood import MahalanobisScore, unit_length

COMPONENTS = ("pixel", "structure", "latent", "patches", "pooled", "outline", "tumour", "intensity")
BINS = 20  # of the histogram of normals over scores from 0 to 1
Z_LIMIT = 6.0  # beyond it no component adds to the score: one broken measurement must not decide alone
_HEAD = 0.1  # grey level from which a pixel of the stretched image belongs to the head
_TOP_SHARE = 0.02  # of the head, the brightest: what the plain intensity baseline looks at
_TOP_CELLS = 0.1  # share of the outline map
_TOP_PIXELS = 0.001  # share of the tumour map
_NEAREST = 3  # normal images that `pooled` measures to
_FARTHEST = 0.1  # share of the patches whose mean distance counts: a single one is often an ear or a letter


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """What the networks make of one image.

    image, reconstruction: (S, S) float32 in [0, 1]. unlike: (S, S) 1 - SSIM at each pixel.
    latent: (L,) the autoencoder's code. patches: (P, D) and pooled: (E,) features of the brain network.
    outline: (g, g) log-odds of a lesion in each cell; tumour: (T, T) of a tumour at each pixel.
    """

    image: np.ndarray
    reconstruction: np.ndarray
    unlike: np.ndarray
    latent: np.ndarray
    patches: np.ndarray
    pooled: np.ndarray
    outline: np.ndarray
    tumour: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """(S, S) absolute difference of image and reconstruction."""
        return np.abs(self.image - self.reconstruction)


@dataclass(frozen=True, slots=True, eq=False)
class NormalMemory:
    """Features of the training split's normal brains; no image can be made from them.

    patches: (M, D) a coreset of mid-level patch features (PatchCore, Roth 2022), divided by patch_scale (D,).
    pooled: (N, E) of length 1. latent: distances in the autoencoder's code.
    """

    patches: np.ndarray
    patch_scale: np.ndarray
    pooled: np.ndarray
    latent: MahalanobisScore

    def measure(self, evidence: Evidence) -> dict[str, float]:
        """Each component's raw value; larger is more unusual."""
        head = head_of(evidence.image)
        to_patches = nearest(evidence.patches / self.patch_scale, self.patches)
        to_images = np.sort(distances(unit_length(evidence.pooled[None]), self.pooled)[0])[:_NEAREST]
        return {
            "pixel": float(evidence.error[head].mean()),
            "structure": float(evidence.unlike[head].mean()),
            "latent": float(self.latent.score(evidence.latent[None])[0]),
            "patches": top_mean(to_patches, _FARTHEST),
            "pooled": float(to_images.mean()),
            "outline": top_mean(evidence.outline, _TOP_CELLS),
            "tumour": top_mean(evidence.tumour, _TOP_PIXELS),
            "intensity": brightest(evidence.image, head),
        }

    def to_arrays(self) -> dict[str, np.ndarray]:
        """By name, half precision for the large ones, as safetensors takes them."""
        latent = {f"latent.{name}": array for name, array in self.latent.to_arrays().items()}
        latent["latent.axes"] = latent["latent.axes"].astype(np.float16)
        halves = {"patches": self.patches.astype(np.float16), "pooled": self.pooled.astype(np.float16)}
        return halves | {"patch_scale": self.patch_scale.astype(np.float32)} | latent

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The inverse of `to_arrays`; other keys are left alone."""
        own = {name: arrays[name].astype(np.float32) for name in ("patches", "patch_scale", "pooled")}
        prefix = "latent."
        latent = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
        return cls(**own, latent=MahalanobisScore.from_arrays(latent))


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """Measurements → score, percentile and category; everything in it was learned on validation patients.

    means, spreads, weights: (C,) by component, in the order of COMPONENTS; weights >= 0.
    borderline, threshold: scores from which an image counts as borderline and as anomalous.
    confidence: by category, the share of validation images in it that are so, classes counting alike.
    normals: (N,) ascending scores of held-out normal brains. error_scale: the absolute error drawn at full colour.
    """

    means: np.ndarray
    spreads: np.ndarray
    weights: np.ndarray
    intercept: float
    borderline: float
    threshold: float
    confidence: Mapping[str, float]
    normals: np.ndarray
    error_scale: float

    def z_scores(self, components: Mapping[str, float]) -> np.ndarray:
        """(C,) distances from the mean of held-out normals, in their standard deviations."""
        return (np.array([components[name] for name in COMPONENTS]) - self.means) / self.spreads

    def score(self, z_scores: np.ndarray) -> float:
        """Probability that the image is no normal brain, if half of all images were none."""
        logit = float(np.clip(z_scores, -Z_LIMIT, Z_LIMIT) @ self.weights) + self.intercept
        return float(1 / (1 + np.exp(-logit)))

    def category(self, score: float) -> str:
        if score >= self.threshold:
            return "anomalous"
        return "borderline" if score >= self.borderline else "normal"

    def percentile(self, score: float) -> float:
        """Share of held-out normals with a lower score."""
        return float(np.searchsorted(self.normals, score) / len(self.normals))

    @property
    def histogram(self) -> tuple[int, ...]:
        """Held-out normals in BINS equal steps of the score."""
        return tuple(map(int, np.histogram(self.normals, BINS, (0, 1))[0]))

    @classmethod
    def from_config(cls, mri: Mapping[str, Any], normals: np.ndarray) -> Self:
        """From config.json's "mri"; KeyError where it lacks something."""
        chosen = mri["combinations"][mri["combination"]]
        moments = [mri["components"][name] for name in COMPONENTS]
        return cls(
            means=np.array([m["mean"] for m in moments]),
            spreads=np.array([m["spread"] for m in moments]),
            weights=np.array([chosen["weights"].get(name, 0.0) for name in COMPONENTS]),
            intercept=chosen["intercept"],
            borderline=mri["thresholds"]["borderline"],
            threshold=mri["thresholds"]["anomalous"],
            confidence=mri["confidence"],
            normals=np.sort(normals),
            error_scale=mri["error_scale"],
        )


def head_of(image: np.ndarray) -> np.ndarray:
    """(S, S) bool: the head with its dark inside; everything where nothing is bright."""
    head = binary_fill_holes(image > _HEAD)
    return head if head.any() else np.ones_like(head)


def brightest(image: np.ndarray, head: np.ndarray) -> float:
    """The plain baseline (Meissen 2021): mean of the brightest smoothed grey levels after equalising the head's."""
    levels = np.zeros(image.shape, np.float32)
    levels[head] = np.argsort(np.argsort(image[head])) / head.sum()  # equalised: ranks from 0 to 1
    return top_mean(uniform_filter(levels, 5)[head], _TOP_SHARE)


def top_mean(values: np.ndarray, share: float) -> float:
    """Mean of the largest `share` of the values, at least of one."""
    ordered = np.sort(values, axis=None)
    return float(ordered[-max(1, round(len(ordered) * share)) :].mean())


def nearest(rows: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """Rows (N, D), bank (M, D) → (N,) Euclidean distance of each row to the bank."""
    return distances(rows, bank).min(axis=1)
