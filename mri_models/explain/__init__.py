"""Where did the model look? Several methods, one interface: a signed map on the scan's grid, drawn in one way.

Each method has its file. `attribute` runs one by name, `checked` says whether its map may be believed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from time import perf_counter

from mri_models.classify import Classifier
from mri_models.clock import since
from mri_models.explain.cam import grad_cam, layer_cam
from mri_models.explain.checks import checked, completeness
from mri_models.explain.consensus import consensus
from mri_models.explain.disc import explain_disc
from mri_models.explain.draw import COOL, HEAT, WARM, heat, on_grid, overlay, picture, shrunk, within
from mri_models.explain.integrated import integrated_gradients
from mri_models.explain.occlusion import occlusion
from mri_models.explain.owen import shap
from mri_models.types import Attribution, Scan

_EXPLAINERS: dict[str, Callable[[Classifier, Scan, str], Attribution]] = {
    "integrated_gradients": integrated_gradients,
    "grad_cam": grad_cam,
    "layer_cam": layer_cam,
    "consensus": consensus,
    "shap": shap,
    "occlusion": occlusion,
}
METHODS = tuple(_EXPLAINERS)  # the first is the default
QUICK = "grad_cam"  # one pass back through the network: what is shown at once

__all__ = [
    "COOL",
    "HEAT",
    "METHODS",
    "QUICK",
    "WARM",
    "attribute",
    "checked",
    "explain_disc",
    "heat",
    "on_grid",
    "overlay",
    "picture",
    "shrunk",
    "within",
]


def attribute(classifier: Classifier, scan: Scan, target: str, method: str = METHODS[0]) -> Attribution:
    """Explain the class `target` of one scan; takes the time, and makes the checks that cost nothing.

    Raises ValueError for an unknown method or class.
    """
    if target not in classifier.labels:
        raise ValueError(f"target must be one of {classifier.labels}, got {target!r}")
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    start = perf_counter()
    found = _EXPLAINERS[method](classifier, scan, target)
    took = since(start)
    return dataclasses.replace(found, took_ms=took, checks=tuple(completeness(found)))
