"""Where did the model look? Integrated Gradients and Grad-CAM as signed maps, and one way to draw them.

Integrated Gradients: Sundararajan 2017 (captum), pre-softmax logit, Gauss-Legendre steps doubled until the
completeness gap is small. Grad-CAM: Selvaraju 2017, on the last feature map.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import IntegratedGradients
from PIL import Image
from scipy.ndimage import gaussian_filter

from mri_models.classify import Classifier
from mri_models.preprocess import to_tensor, undo_letterbox
from mri_models.types import Attribution, Scan

METHODS = ("integrated_gradients", "grad_cam")
TOLERANCE = 0.05  # completeness gap that needs no further steps
SMOOTHING = 0.012  # blur in shares of the canvas: single pixels are no evidence, small structures are
INTERNAL_BATCH = 8  # images per backward pass: bounds memory
_COOL = np.array((33, 102, 172), np.float32)  # against the class; colour-blind-safe pair (ColorBrewer RdBu)
_WARM = np.array((214, 47, 39), np.float32)  # for the class


@dataclass(frozen=True, slots=True)
class Steps:
    """How many integration steps to start with, and where doubling ends."""

    first: int = 16
    last: int = 64


def attribute(classifier: Classifier, scan: Scan, target: str, method: str = METHODS[0]) -> Attribution:
    """Explain the class `target` of one scan.

    Raises ValueError for an unknown method or class.
    """
    if target not in classifier.labels:
        raise ValueError(f"target must be one of {classifier.labels}, got {target!r}")
    if method == "integrated_gradients":
        return integrated_gradients(classifier, scan, target)
    if method == "grad_cam":
        return grad_cam(classifier, scan, target)
    raise ValueError(f"method must be one of {METHODS}, got {method!r}")


def integrated_gradients(classifier: Classifier, scan: Scan, target: str, steps: Steps | None = None) -> Attribution:
    """Integrated Gradients from a black image, as (H, W) on the scan's grid."""
    steps = steps or Steps()
    image = to_tensor(scan, classifier.spec).to(classifier.device)
    black = torch.tensor([-m / s for m, s in zip(classifier.spec.mean, classifier.spec.std, strict=True)])
    baseline = black.view(1, 3, 1, 1).expand_as(image).to(image)
    index = classifier.labels.index(target)
    method = IntegratedGradients(lambda batch: _logits(classifier, batch))
    count = steps.first
    while True:
        values, delta = method.attribute(
            image,
            baseline,
            target=index,
            n_steps=count,
            method="gausslegendre",
            internal_batch_size=INTERNAL_BATCH,
            return_convergence_delta=True,
        )
        gap = abs(float(delta)) / max(abs(float(values.sum()) - float(delta)), 1e-6)
        if gap <= TOLERANCE or count * 2 > steps.last:
            break
        count *= 2
    signed = values.sum(1)[0].float().cpu().numpy()  # (1, 3, S, S) -> (S, S)
    return _on_scan(signed, classifier, scan, METHODS[0], target, completeness_gap=gap, steps=count, baseline="black")


def grad_cam(classifier: Classifier, scan: Scan, target: str) -> Attribution:
    """Grad-CAM of the last feature map, as (H, W) on the scan's grid; values are >= 0."""
    image = to_tensor(scan, classifier.spec).to(classifier.device)
    network = classifier.network
    with torch.enable_grad():
        features = network.forward_features(image).requires_grad_()
        logit = network.forward_head(features)[0, classifier.labels.index(target)]
        (gradient,) = torch.autograd.grad(logit, features)
    weights = gradient.mean((2, 3), keepdim=True)
    heat = F.relu((weights * features).sum(1, keepdim=True))
    heat = F.interpolate(heat, image.shape[2:], mode="bilinear", align_corners=False)
    return _on_scan(heat[0, 0].detach().float().cpu().numpy(), classifier, scan, METHODS[1], target)


def picture(scan: Scan) -> Image.Image:
    """The scan as an RGB picture of its own size."""
    return Image.fromarray((scan.pixels * 255).round().astype(np.uint8)).convert("RGB")


def overlay(scan: Scan, attribution: Attribution, opacity: float = 0.6) -> Image.Image:
    """RGB picture of the scan's size: red speaks for the class, blue against; opacity grows with the magnitude.

    The colour scale is fixed by validation images, so that a map without evidence stays empty.
    """
    strength = np.clip(attribution.values / attribution.scale, -1, 1)[..., None]
    colour = np.where(strength > 0, _WARM, _COOL)
    alpha = np.abs(strength) * np.clip(opacity, 0, 1)
    grey = np.asarray(picture(scan), np.float32)
    return Image.fromarray((grey * (1 - alpha) + colour * alpha).round().astype(np.uint8))


def _logits(classifier: Classifier, batch: torch.Tensor) -> torch.Tensor:
    """Pre-softmax class scores in full precision: half precision would open the completeness gap."""
    return classifier.network(batch.contiguous(memory_format=torch.channels_last))


def _on_scan(
    canvas: np.ndarray, classifier: Classifier, scan: Scan, method: str, target: str, **details: object
) -> Attribution:
    """(S, S) map on the network's canvas → Attribution on the scan's grid, lightly blurred."""
    soft = gaussian_filter(canvas, SMOOTHING * canvas.shape[0]) if method == METHODS[0] else canvas
    scale = classifier.calibration.attribution_scale[method]
    return Attribution(undo_letterbox(soft, scan.shape).copy(), method, target, scale, **details)
