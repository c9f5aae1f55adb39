"""Occlusion (Zeiler & Fergus 2014, captum): how far the class's log-odds fall when a window is veiled."""

from __future__ import annotations

from captum.attr import Occlusion

from mri_models.classify import Classifier
from mri_models.explain.network import BATCH, on_scan, probe, veil
from mri_models.preprocess import to_tensor
from mri_models.types import Attribution, Scan

NAME = "occlusion"
WINDOW, STRIDE = 1 / 8, 1 / 16  # in shares of the canvas: 225 windows


def occlusion(classifier: Classifier, scan: Scan, target: str) -> Attribution:
    """Mean fall of the class's log-odds over the windows that cover a place, as (H, W) on the scan's grid."""
    image = to_tensor(scan, classifier.spec).to(classifier.device)
    size, channels = image.shape[-1], image.shape[1]
    window, stride = round(size * WINDOW), round(size * STRIDE)
    found = Occlusion(probe(classifier)).attribute(
        image,
        sliding_window_shapes=(channels, window, window),
        strides=(channels, stride, stride),
        baselines=veil(image),
        target=classifier.labels.index(target),
        perturbations_per_eval=BATCH,
    )
    windows = ((size - window) // stride + 1) ** 2
    return on_scan(found[0, 0].cpu().numpy(), classifier, scan, NAME, target, steps=windows, baseline="veiled")
