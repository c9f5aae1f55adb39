"""Class activation maps: one pass forward, one back to a feature map; coarse, quick, and only evidence for the class.

Grad-CAM (Selvaraju 2017) on the last feature map, LayerCAM (Jiang 2021) on the one before, whose cells are finer.
There is no Grad-CAM++: these networks end in a mean over places and one linear layer, so the gradient is the same at
every place, and its weights would be Grad-CAM's without the negative ones.

Explained is the class's logit. Maps of the log-odds that other methods explain were measured on 26 validation patients:
veiling their strongest cells first beat random orders in 0.885 of the slices (the logit's: 0.923), and 0.37 of their
evidence lay in the outline (0.46).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from mri_models.classify import Classifier
from mri_models.explain.network import on_scan
from mri_models.preprocess import to_tensor
from mri_models.types import Attribution, Scan

GRAD_CAM, LAYER_CAM = "grad_cam", "layer_cam"
FINER = -2  # LayerCAM's feature map: the last but one of the network's strides


def grad_cam(classifier: Classifier, scan: Scan, target: str) -> Attribution:
    """Grad-CAM of the last feature map, as (H, W) on the scan's grid; values are >= 0."""
    image = to_tensor(scan, classifier.spec).to(classifier.device)
    network = classifier.network
    with torch.enable_grad():
        features = network.forward_features(image).requires_grad_()
        logit = network.forward_head(features)[0, classifier.labels.index(target)]
        (gradient,) = torch.autograd.grad(logit, features)
    weights = gradient.mean((2, 3), keepdim=True)
    return _placed((weights * features).sum(1, keepdim=True), classifier, scan, GRAD_CAM, target)


def layer_cam(classifier: Classifier, scan: Scan, target: str) -> Attribution:
    """LayerCAM of the feature map at half the last stride's cells, as (H, W) on the scan's grid; values are >= 0."""
    image = to_tensor(scan, classifier.spec).to(classifier.device)
    network = classifier.network
    with torch.enable_grad():
        last, (features,) = network.forward_intermediates(image.requires_grad_(), indices=_indices(network))
        logit = network.forward_head(last)[0, classifier.labels.index(target)]
        (gradient,) = torch.autograd.grad(logit, features)
    return _placed((F.relu(gradient) * features).sum(1, keepdim=True), classifier, scan, LAYER_CAM, target)


def _indices(network: torch.nn.Module) -> list[int]:
    """The place of FINER among the feature maps that a timm network names."""
    return [len(network.feature_info) + FINER]


def _placed(evidence: torch.Tensor, classifier: Classifier, scan: Scan, method: str, target: str) -> Attribution:
    """(1, 1, h, w) signed evidence → its positive part on the scan's grid."""
    size = classifier.spec.size
    heat = F.interpolate(F.relu(evidence.detach()), (size, size), mode="bilinear", align_corners=False)
    return on_scan(heat[0, 0].float().cpu().numpy(), classifier, scan, method, target)
