"""Where two methods agree: SHAP's evidence for the class, weighted by Grad-CAM.

Guided Grad-CAM (Selvaraju 2017) weights a fine map of the input by a coarse one of the last layer, because each is
wrong in its own way. Here SHAP knows which regions the score needs, and Grad-CAM which of them tell the class. Chosen
on 26 validation patients among products, means and sums with Integrated Gradients and LayerCAM: their product lies more
inside the outline, but veiling its strongest cells first beat random orders in 0.81 of the slices, this one in all.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import gaussian_filter

from mri_models.classify import Classifier
from mri_models.explain.cam import grad_cam
from mri_models.explain.draw import resized, within
from mri_models.explain.network import scale_of
from mri_models.explain.owen import shap
from mri_models.types import Attribution, Scan

NAME = "consensus"
BLUR = 0.02  # of SHAP's regions, in shares of the longer side: their edges are where it stopped to halve
SIDE = 512  # px at most of the grid that is blurred: the regions are coarser, and photos have megapixels
FLOOR = 0.05  # of the weights: what is left of evidence where Grad-CAM sees none


def consensus(classifier: Classifier, scan: Scan, target: str) -> Attribution:
    """SHAP's map with its positive part weighted by Grad-CAM's, which is 1 at its maximum; (H, W) on the scan's grid.

    Evidence against the class stays as SHAP has it.
    """
    regions = shap(classifier, scan, target)
    small = within(scan.shape, SIDE)
    soft = resized(gaussian_filter(resized(regions.values, small), BLUR * max(small)), scan.shape)
    coarse = grad_cam(classifier, scan, target).values
    weights = (coarse / max(float(coarse.max()), 1e-12) + FLOOR) / (1 + FLOOR)
    return Attribution(
        np.where(soft > 0, soft * weights, soft).astype(np.float32),
        NAME,
        target,
        scale_of(classifier, NAME),
        steps=regions.steps,
        baseline=regions.baseline,
        failed_study=classifier.calibration.failed_of(NAME),
    )
