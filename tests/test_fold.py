"""Folded batch norms: the same answers, with few left."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from mri_models.fold import folded
from mri_models.unet import ResUNet

NETWORKS = {
    "B3": lambda: timm.create_model("tf_efficientnet_b3", act_layer="relu6", num_classes=3),
    "B1": lambda: timm.create_model("efficientnet_b1", num_classes=3),
    "DenseNet169": lambda: timm.create_model("densenet169", num_classes=3),
    "ResNet10t": lambda: timm.create_model("resnet10t", num_classes=3),
    "ResUNet": lambda: ResUNet("tf_efficientnet_b3", ["tumour"], encoder_args={"act_layer": "relu6"}),
}


def unsettled(network: nn.Module) -> nn.Module:
    """With moments and scales that leave nothing as it was."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.running_var, module.weight.data):
                tensor.uniform_(0.5, 1.5)
            for tensor in (module.running_mean, module.bias.data):
                tensor.normal_(0, 0.2)
    return network.eval()


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_answers_stay_and_the_original_too(name):
    torch.manual_seed(0)
    network, images = unsettled(NETWORKS[name]()), torch.rand(2, 3, 96, 96)
    wanted = network(images)
    quick = folded(network)
    torch.testing.assert_close(quick(images), wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max()))
    torch.testing.assert_close(network(images), wanted)
    norms = [sum(isinstance(m, nn.BatchNorm2d) for m in one.modules()) for one in (quick, network)]
    assert norms[0] <= 0.2 * norms[1] if name != "DenseNet169" else norms[0] < norms[1]
