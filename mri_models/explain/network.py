"""What every method asks of a network: log-odds, an image without its details, and a place on the scan's grid."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torchvision.transforms.v2.functional import gaussian_blur

from mri_models.classify import Classifier
from mri_models.errors import WeightsError
from mri_models.pace import step
from mri_models.preprocess import undo_letterbox
from mri_models.types import Attribution, Scan

BASELINE_BLUR = 0.03  # of Integrated Gradients' baseline, in shares of the canvas; more blur widens the gap
VEIL_BLUR = 0.06  # of what replaces removed regions: at 0.03 half of the tumours are still told by their blob
BATCH = 16  # images per forward pass of a probe: bounds memory

Probe = Callable[[torch.Tensor], torch.Tensor]  # (B, 3, S, S) -> (B, C) log-odds, float32


def log_odds(classifier: Classifier, batch: torch.Tensor) -> torch.Tensor:
    """(B, 3, S, S) → (B, C) log-odds of each class against all others, at the temperature of the scores shown.

    What is explained by every method that asks for scores. A class's logit alone would not do: softmax is blind to what
    all logits share, and these networks' own class often loses logit while it gains probability.
    """
    step()
    logits = classifier.network(batch.contiguous(memory_format=torch.channels_last)).float()
    scores = logits / classifier.calibration.temperature
    own = torch.eye(scores.shape[1], dtype=torch.bool, device=scores.device)
    return scores - scores[:, None].masked_fill(own, -torch.inf).logsumexp(2)


def probe(classifier: Classifier) -> Probe:
    """Log-odds of hundreds of altered images: half precision where the machine is faster with it, BATCH at a time."""
    device = classifier.device.type
    half = torch.float16 if device == "cuda" else torch.bfloat16

    @torch.inference_mode()
    def scores(batch: torch.Tensor) -> torch.Tensor:
        with torch.autocast(device, half, enabled=quick(device)):
            return torch.cat([log_odds(classifier, part) for part in batch.split(BATCH)])

    return scores


def quick(device: str) -> bool:
    """Whether half precision is the faster one there."""
    return device == "cuda" or torch.backends.cpu.get_cpu_capability().startswith("AVX512")


def blurred(image: torch.Tensor, share: float = BASELINE_BLUR) -> torch.Tensor:
    """(1, 3, S, S) without its details; `share` is the blur's sigma in shares of the canvas.

    Fading to black, as in the original papers, passes images of no contrast, where these networks' scores swing: four
    times the completeness gap for the same number of steps.
    """
    sigma = share * image.shape[-1]
    return gaussian_blur(image, [2 * round(3 * sigma) + 1] * 2, [sigma, sigma])


def veil(image: torch.Tensor) -> torch.Tensor:
    """(1, 3, S, S): what stands where a region is taken away."""
    return blurred(image, VEIL_BLUR)


def on_scan(
    canvas: np.ndarray, classifier: Classifier, scan: Scan, method: str, target: str, **details: object
) -> Attribution:
    """(S, S) map on the network's canvas → Attribution on the scan's grid, with the method's fixed colour scale."""
    values = undo_letterbox(canvas.astype(np.float32), scan.shape).copy()
    failed = classifier.calibration.failed_of(method)
    return Attribution(values, method, target, scale_of(classifier, method), failed_study=failed, **details)


def scale_of(classifier: Classifier, method: str) -> float:
    """The |value| drawn at full colour; raises WeightsError when the weights were exported without it."""
    scale = classifier.calibration.attribution_scale.get(method)
    if scale is None:
        raise WeightsError(
            "no_scale",
            f"These weights hold no colour scale for {method!r}: run `python -m mri_models scale`, or choose "
            f"one of {', '.join(classifier.calibration.attribution_scale)}.",
        )
    return scale
