"""Why this grade? Integrated Gradients (Sundararajan 2017, captum) of one disc's expected Pfirrmann grade.

The other discs of the slice, which the grade also depends on, stay as they are: the map is about this disc's crop.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from time import perf_counter

import cv2
import numpy as np
import torch
from captum.attr import IntegratedGradients
from scipy.ndimage import gaussian_filter

from mri_models.clock import since
from mri_models.discs import DiscGrader
from mri_models.errors import WeightsError
from mri_models.explain.checks import completeness
from mri_models.explain.integrated import INTERNAL_BATCH, NAME, SMOOTHING, TOLERANCE
from mri_models.explain.network import blurred
from mri_models.levels import Place, to_crop
from mri_models.pace import step
from mri_models.types import Attribution, Disc, Scan, SpineGrading
from mri_models.types.discs import GRADES

STEPS = (16, 32)  # of the path; the second number where the first leaves too wide a gap
Score = Callable[[torch.Tensor], torch.Tensor]  # (B, 3, h, w) crops of the disc -> (B,) expected grade


def explain_disc(grader: DiscGrader, scan: Scan, spine: SpineGrading, disc: Disc | None = None) -> Attribution:
    """Which pixels raise (red) or lower (blue) the expected grade of a disc, by default the worst; 0 outside its crop.

    values: grades per crop pixel, on the scan's grid. Raises WeightsError when the weights hold no colour scale.
    """
    if grader.scale is None:
        raise WeightsError("no_scale", "The disc grader holds no colour scale: run `python -m mri_models scale`.")
    start = perf_counter()
    disc = disc or spine.worst
    index = spine.discs.index(disc)
    places = [Place(disc.centre, disc.tilt, disc.spacing) for disc in spine.discs]
    affine = to_crop(places[index], grader.size, grader.wide)
    crops = grader.crops(scan, places)
    score, image = expected_grade(grader, crops, index), crops[index : index + 1]
    baseline = blurred(image)
    with torch.no_grad():
        change = float(score(image) - score(baseline))
    for steps in STEPS:
        found = IntegratedGradients(score).attribute(
            image, baseline, n_steps=steps, method="gausslegendre", internal_batch_size=INTERNAL_BATCH[image.is_cuda]
        )
        gap = abs(float(found.sum()) - change) / max(abs(change), 1e-6)
        if gap <= TOLERANCE:
            break
    soft = gaussian_filter(found[0].sum(0).cpu().numpy(), SMOOTHING * grader.size[1])
    values = back(soft, affine, scan.shape)
    took = since(start)
    bare = Attribution(values, NAME, f"degeneration at {disc.level}", grader.scale, gap, steps, "blurred", took)
    return dataclasses.replace(bare, checks=tuple(completeness(bare)))


def expected_grade(grader: DiscGrader, crops: torch.Tensor, index: int) -> Score:
    """The expected grade of disc `index` as a function of its own crop, the mean over the crop and its mirror."""
    with torch.no_grad():
        others = [grader.network.features(torch.cat([v[:index], v[index + 1 :]])) for v in (crops, crops.flip(3))]
    level = torch.tensor(index, device=crops.device)
    grades = torch.tensor(GRADES, dtype=torch.float32, device=crops.device)

    def score(batch: torch.Tensor) -> torch.Tensor:
        step()
        views = zip((batch, batch.flip(3)), others, strict=True)
        logits = torch.stack([grader.network.beside(view, rest, level) for view, rest in views]).mean(0)
        return (logits[:, : len(GRADES)] / grader.rule.temperature).softmax(1) @ grades

    return score


def back(values: np.ndarray, affine: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(h, w) on a crop → (H, W) float32 on the scan the crop was cut from, 0 outside."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(values.astype(np.float32), affine, (shape[1], shape[0]), flags=flags)
