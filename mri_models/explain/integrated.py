"""Integrated Gradients (Sundararajan 2017, captum) of the class's log-odds, from the blurred image to the image.

The path is cut where the score bends most: at both ends of each stretch the score is known, so that the error of a
stretch's quadrature is as well, and the worst one is halved until the whole is complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from captum.attr import IntegratedGradients
from scipy.ndimage import gaussian_filter

from mri_models.classify import Classifier
from mri_models.explain.network import blurred, log_odds, on_scan
from mri_models.preprocess import to_tensor
from mri_models.types import Attribution, Scan

NAME = "integrated_gradients"
TOLERANCE = 0.05  # completeness gap that needs no further steps
ENDS = (0.0, 0.25, 1.0)  # of the first stretches: the score bends most while the image is still nearly blurred
NODES = 3  # Gauss-Legendre steps in each stretch
MOST = {False: 30, True: 60}  # steps without and with a GPU: two cores take 0.08 s for one
SMOOTHING = 0.012  # blur in shares of the canvas: single pixels are no evidence, small structures are
INTERNAL_BATCH = {False: 2, True: 16}  # images per backward pass without and with a GPU: 2 take 0.5 GB, 8 take 1.9 GB


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """A part of the path, from one share of the way to another.

    values: (3, S, S) attributions. error: their sum less the change of the score.
    """

    start: float
    end: float
    values: torch.Tensor
    error: float


def integrated_gradients(classifier: Classifier, scan: Scan, target: str) -> Attribution:
    """Integrated Gradients from the blurred image, as (H, W) on the scan's grid; at most MOST steps.

    The map sums up to the change of the class's log-odds, within the completeness gap that is reported.
    """
    most = MOST[classifier.device.type == "cuda"]
    path = Path(classifier, to_tensor(scan, classifier.spec).to(classifier.device), target)
    stretches = path.stretches(ENDS)
    change = path.known[1.0] - path.known[0.0]
    while True:
        steps = NODES * (2 * len(stretches) - len(ENDS) + 1)  # those in stretches that were halved count too
        gap = abs(sum(part.error for part in stretches)) / max(abs(change), 1e-6)
        if gap <= TOLERANCE or steps + 2 * NODES > most:
            break
        worst = max(stretches, key=lambda part: abs(part.error))
        stretches.remove(worst)
        stretches += path.stretches((worst.start, (worst.start + worst.end) / 2, worst.end))
    signed = torch.stack([part.values for part in stretches]).sum((0, 1)).float().cpu().numpy()
    soft = gaussian_filter(signed, SMOOTHING * signed.shape[0])
    return on_scan(soft, classifier, scan, NAME, target, completeness_gap=gap, steps=steps, baseline="blurred")


class Path:
    """The straight line from the blurred image to the image, and the class's log-odds along it."""

    def __init__(self, classifier: Classifier, image: torch.Tensor, target: str):
        self.image, self.baseline = image, blurred(image)
        self.classifier = classifier
        self.index = classifier.labels.index(target)
        self.method = IntegratedGradients(lambda batch: log_odds(classifier, batch))
        self.known: dict[float, float] = {}  # log-odds by share of the way

    def points(self, shares: Sequence[float]) -> torch.Tensor:
        """(N, 3, S, S): images so far along the way."""
        weights = torch.tensor(shares, dtype=self.image.dtype, device=self.image.device).view(-1, 1, 1, 1)
        return torch.lerp(self.baseline, self.image, weights)

    def stretches(self, ends: Sequence[float]) -> list[Stretch]:
        """The path between neighbouring `ends`, NODES Gauss-Legendre steps in each."""
        points = self.points(ends)
        if new := [i for i, share in enumerate(ends) if share not in self.known]:
            with torch.inference_mode():
                scores = log_odds(self.classifier, points[new])[:, self.index].tolist()
            self.known |= dict(zip((ends[i] for i in new), scores, strict=True))
        values = self.method.attribute(
            points[1:],
            points[:-1],
            target=self.index,
            n_steps=NODES,
            method="gausslegendre",
            internal_batch_size=INTERNAL_BATCH[points.is_cuda],
        )
        return [
            Stretch(start, end, part, float(part.sum()) - (self.known[end] - self.known[start]))
            for (start, end), part in zip(pairwise(ends), values, strict=True)
        ]
