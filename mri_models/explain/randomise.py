"""Networks whose last layers were drawn by lot: a map that they leave unchanged does not show what was learned.

Adebayo 2018, "Sanity checks for saliency maps", cascading from the last layer.
"""

from __future__ import annotations

import copy

import torch

from mri_models.classify import Classifier

HEAD = 0.0  # as a share of the layers before it: nothing but the last layer


def randomised(classifier: Classifier, share: float, seed: int = 0) -> Classifier:
    """A copy whose last layer, and the last `share` of the layers before it, have shuffled weights.

    Shuffling keeps each layer's distribution of weights, so that scores stay in their usual range.
    """
    network = copy.deepcopy(classifier.network)
    head = network.get_classifier()
    layers = [m for m in network.modules() if m is not head and _weighted(m)]
    count = round(share * len(layers))
    generator = torch.Generator().manual_seed(seed)
    for layer in [head, *layers[len(layers) - count :]]:
        _shuffle(layer.weight.data, generator)
    return classifier.with_network(network)


def _weighted(layer: torch.nn.Module) -> bool:
    """Whether a layer has a kernel or matrix of its own; the norms' scales stay as they are."""
    weight = getattr(layer, "weight", None)
    return isinstance(weight, torch.nn.Parameter) and weight.ndim > 1


def _shuffle(weight: torch.Tensor, generator: torch.Generator) -> None:
    order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
    weight.copy_(weight.flatten()[order].view_as(weight))
