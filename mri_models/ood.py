"""How far an image's features lie from everything a model was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from mri_models.linear import product


@dataclass(frozen=True, slots=True, eq=False)
class MahalanobisScore:
    """Distance from the nearest class (Lee et al. 2018) inside the training features' main axes, and from those axes.

    The square of a distance is the mean over the K axes of the squared Mahalanobis distance, plus the squared length
    of what the axes leave out, in units of its training mean: each part is about 1 for an image like the training's.
    The second part is what tells strangers: few axes hold what classes differ in, strangers differ elsewhere.

    offset: (D,) mean training feature. axes: (D, K) orthonormal. whitening: (K, K), makes every class a unit Gaussian.
    centres: (C, K) whitened class means. residual: () mean squared length that the axes leave out.
    quantiles: (Q,) ascending distances of validation images at equal shares from 0 to 1.
    normalised: () bool, whether features are scaled to length 1 first.
    """

    offset: np.ndarray
    axes: np.ndarray
    whitening: np.ndarray
    centres: np.ndarray
    residual: np.ndarray
    quantiles: np.ndarray
    normalised: np.ndarray

    def __post_init__(self) -> None:
        for field in fields(self):  # arrays may come in single precision; the sums below need double
            dtype = bool if field.name == "normalised" else np.float64
            object.__setattr__(self, field.name, np.asarray(getattr(self, field.name), dtype=dtype))
        dims, k = self.axes.shape
        shapes = {"offset": (dims,), "whitening": (k, k), "centres": (len(self.centres), k), "residual": ()}
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} must be {shape} beside axes ({dims}, {k}), got {getattr(self, name).shape}")
        if self.residual <= 0:
            raise ValueError(f"residual must be positive, got {self.residual}")
        if self.quantiles.ndim != 1 or len(self.quantiles) < 2 or not (self.quantiles[:-1] <= self.quantiles[1:]).all():
            raise ValueError("quantiles must be (Q,), at least two and ascending")

    def score(self, features: np.ndarray) -> np.ndarray:
        """Features (N, D) -> (N,) distances; about 1.4 is ordinary, there is no upper end."""
        rows = np.asarray(features, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[1] != len(self.offset):
            raise ValueError(f"features must be (N, {len(self.offset)}), got {rows.shape}")
        rows = (unit_length(rows) if self.normalised else rows) - self.offset
        inside = product(rows, self.axes)
        left_out = np.maximum((rows**2).sum(axis=1) - (inside**2).sum(axis=1), 0)  # rounding may go below 0
        squares = ((product(inside, self.whitening)[:, None] - self.centres) ** 2).mean(axis=2).min(axis=1)
        return np.sqrt(squares + left_out / self.residual)

    def embed(self, features: np.ndarray) -> np.ndarray:
        """Features (N, D) -> (N, K) whitened places along the main axes."""
        rows = np.asarray(features, dtype=np.float64)
        rows = (unit_length(rows) if self.normalised else rows) - self.offset
        return product(product(rows, self.axes), self.whitening)

    def percentile(self, distances: np.ndarray) -> np.ndarray:
        """Distances (N,) -> (N,) share of validation images that lie nearer, in [0, 1]: a Prediction's `ood_score`."""
        return np.interp(distances, self.quantiles, np.linspace(0.0, 1.0, len(self.quantiles)))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """The fields by name, float32 and bool, as safetensors takes them."""
        arrays = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: a if a.dtype == bool else a.astype(np.float32) for name, a in arrays.items()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """The inverse of `to_arrays`; other keys are left alone."""
        return cls(**{field.name: arrays[field.name] for field in fields(cls)})


def unit_length(rows: np.ndarray) -> np.ndarray:
    """Rows (N, D) scaled to Euclidean length 1; a row of zeros stays as it is."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.finfo(np.float64).tiny)
