"""Where did the model look? Integrated Gradients and Grad-CAM as signed maps, and one way to draw them.

Integrated Gradients: Sundararajan 2017 (captum), pre-softmax logit, from the blurred image, with more Gauss-Legendre
steps until the completeness gap is small. Grad-CAM: Selvaraju 2017, on the last feature map.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from captum.attr import IntegratedGradients
from PIL import Image
from scipy.ndimage import gaussian_filter
from torchvision.transforms.v2.functional import gaussian_blur

from mri_models.classify import Classifier
from mri_models.preprocess import to_tensor, undo_letterbox
from mri_models.types import Attribution, Scan

METHODS = ("integrated_gradients", "grad_cam")
TOLERANCE = 0.05  # completeness gap that needs no further steps
FIRST, LEG_STEPS = 16, 8  # Integrated Gradients: steps of the first pass, and on each leg of the later ones
MOST = {False: 32, True: 64}  # steps without and with a GPU: two cores take 1.3 s for 16
BASELINE_BLUR = 0.03  # of the baseline, in shares of the canvas; more blur widens the gap
SMOOTHING = 0.012  # blur in shares of the canvas: single pixels are no evidence, small structures are
INTERNAL_BATCH = 8  # images per backward pass: bounds memory
COOL, WARM = (33, 102, 172), (214, 47, 39)  # against, for the class; colour-blind-safe pair (ColorBrewer RdBu)
HEAT = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))  # "inferno", for errors >= 0


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


def integrated_gradients(classifier: Classifier, scan: Scan, target: str) -> Attribution:
    """Integrated Gradients from the blurred image, as (H, W) on the scan's grid; at most MOST steps.

    The first pass takes FIRST Gauss-Legendre steps. While the completeness gap exceeds TOLERANCE another pass cuts the
    path into twice as many legs; the map is the mean of the passes, so that none was in vain.
    """
    most = MOST[classifier.device.type == "cuda"]
    image = to_tensor(scan, classifier.spec).to(classifier.device)
    baseline = blurred(image)
    index = classifier.labels.index(target)
    method = IntegratedGradients(lambda batch: _logits(classifier, batch))
    with torch.inference_mode():
        high, low = _logits(classifier, torch.cat([image, baseline]))[:, index].tolist()
    total, taken, legs = torch.zeros_like(image[0]), 0, 1
    while True:
        steps = max(FIRST, LEG_STEPS * legs)
        total += steps * _pass(method, image, baseline, index, (legs, steps // legs))
        taken, legs = taken + steps, legs * 2
        gap = abs(float(total.sum()) / taken - (high - low)) / max(abs(high - low), 1e-6)
        if gap <= TOLERANCE or taken + LEG_STEPS * legs > most:
            break
    signed = (total / taken).sum(0).float().cpu().numpy()  # (3, S, S) -> (S, S)
    return _on_scan(signed, classifier, scan, METHODS[0], target, completeness_gap=gap, steps=taken, baseline="blurred")


def blurred(image: torch.Tensor) -> torch.Tensor:
    """(1, 3, S, S) without its details.

    Fading to black, as in the original paper, passes images of no contrast, where these networks' scores swing: four
    times the completeness gap for the same number of steps.
    """
    sigma = BASELINE_BLUR * image.shape[-1]
    return gaussian_blur(image, [2 * round(3 * sigma) + 1] * 2, [sigma, sigma])


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
        internal_batch_size=INTERNAL_BATCH,
    ).sum(0)


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
    colour = np.where(strength > 0, np.array(WARM, np.float32), np.array(COOL, np.float32))
    alpha = np.abs(strength) * np.clip(opacity, 0, 1)
    grey = np.asarray(picture(scan), np.float32)
    return Image.fromarray((grey * (1 - alpha) + colour * alpha).round().astype(np.uint8))


def heat(error: np.ndarray, scale: float) -> Image.Image:
    """(S, S) error → RGB on a fixed scale from 0 (black) to `scale` and above (pale yellow)."""
    place = np.clip(error / scale, 0, 1)
    stops = np.linspace(0, 1, len(HEAT))
    channels = [np.interp(place, stops, channel) for channel in zip(*HEAT, strict=True)]
    return Image.fromarray(np.stack(channels, -1).round().astype(np.uint8))


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
