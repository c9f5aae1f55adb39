"""Integrated Gradients (Sundararajan 2017, captum): pre-softmax logit, from the blurred image to the image.

More Gauss-Legendre steps are taken until the completeness gap is small.
"""

from __future__ import annotations

import torch
from captum.attr import IntegratedGradients
from scipy.ndimage import gaussian_filter

from mri_models.classify import Classifier
from mri_models.explain.network import blurred, logits, on_scan
from mri_models.preprocess import to_tensor
from mri_models.types import Attribution, Scan

NAME = "integrated_gradients"
TOLERANCE = 0.05  # completeness gap that needs no further steps
FIRST, LEG_STEPS = 16, 8  # steps of the first pass, and on each leg of the later ones
MOST = {False: 32, True: 64}  # steps without and with a GPU: two cores take 1.3 s for 16
SMOOTHING = 0.012  # blur in shares of the canvas: single pixels are no evidence, small structures are
INTERNAL_BATCH = {False: 2, True: 16}  # images per backward pass without and with a GPU: 2 take 0.5 GB, 8 take 1.9 GB


def integrated_gradients(classifier: Classifier, scan: Scan, target: str) -> Attribution:
    """Integrated Gradients from the blurred image, as (H, W) on the scan's grid; at most MOST steps.

    The first pass takes FIRST Gauss-Legendre steps. While the completeness gap exceeds TOLERANCE another pass cuts the
    path into twice as many legs; the map is the mean of the passes, so that none was in vain.
    """
    most = MOST[classifier.device.type == "cuda"]
    image = to_tensor(scan, classifier.spec).to(classifier.device)
    baseline = blurred(image)
    index = classifier.labels.index(target)
    method = IntegratedGradients(lambda batch: logits(classifier, batch))
    with torch.inference_mode():
        high, low = logits(classifier, torch.cat([image, baseline]))[:, index].tolist()
    total, taken, legs = torch.zeros_like(image[0]), 0, 1
    while True:
        steps = max(FIRST, LEG_STEPS * legs)
        total += steps * _pass(method, image, baseline, index, (legs, steps // legs))
        taken, legs = taken + steps, legs * 2
        gap = abs(float(total.sum()) / taken - (high - low)) / max(abs(high - low), 1e-6)
        if gap <= TOLERANCE or taken + LEG_STEPS * legs > most:
            break
    signed = (total / taken).sum(0).float().cpu().numpy()  # (3, S, S) -> (S, S)
    soft = gaussian_filter(signed, SMOOTHING * signed.shape[0])
    return on_scan(soft, classifier, scan, NAME, target, completeness_gap=gap, steps=taken, baseline="blurred")


def _pass(
    method: IntegratedGradients, image: torch.Tensor, baseline: torch.Tensor, target: int, plan: tuple[int, int]
) -> torch.Tensor:
    """Attributions (3, S, S) along the straight path, cut into legs; plan: (legs, steps a leg)."""
    legs, steps = plan
    points = torch.lerp(baseline, image, torch.linspace(0, 1, legs + 1, device=image.device).view(-1, 1, 1, 1))
    return method.attribute(
        points[1:],
        points[:-1],
        target=target,
        n_steps=steps,
        method="gausslegendre",
        internal_batch_size=INTERNAL_BATCH[image.is_cuda],
    ).sum(0)
