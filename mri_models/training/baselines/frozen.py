"""EfficientNet-Lite with ImageNet weights that nobody moves: features, and activations halfway, kept on disk."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import timm
import torch
from torch import nn

from mri_models.training.baselines.cases import Cases
from mri_models.training.baselines.features import SIZE, handmade
from mri_models.training.baselines.pictures import Preparation, canvases, kept_array, key, shrunk, varied
from mri_models.training.starts import lite_state

FEATURES = ("handmade", "frozen")
LITE = 2  # the larger of the two starts
INPUT = 256  # px; Lite2 was trained at 260
FIRST = 2  # features are taken behind this stage and all later ones


def lite(number: int) -> nn.Module:
    """EfficientNet-Lite1 or -Lite2 with ImageNet weights, evaluation mode, channels_last."""
    network = timm.create_model(f"tf_efficientnet_lite{number}", pretrained=False)
    network.load_state_dict(lite_state(number))
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def to_input(images: np.ndarray) -> torch.Tensor:
    """(B, S, S) float32 in [0, 1] -> (B, 3, S, S), scaled as the starts expect (mean = std = 0.5), channels_last."""
    grey = torch.from_numpy(np.ascontiguousarray(images))[:, None] * 2 - 1
    return grey.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


@torch.inference_mode()
def pooled(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """(B, S, S) in [0, 1] -> (B, D) float32: mean and maximum over positions of each late stage and of the head."""
    with torch.autocast("cpu", torch.bfloat16):
        x = network.bn1(network.conv_stem(to_input(images)))
        found = []
        for i, stage in enumerate(network.blocks):
            x = stage(x)
            if FIRST <= i < len(network.blocks) - 1:
                found += [x.float().mean((2, 3)), x.float().amax((2, 3))]
        x = network.bn2(network.conv_head(x)).float()
    return torch.cat([*found, x.mean((2, 3)), x.amax((2, 3))], 1).numpy()


def features(kind: str, cases: Cases, preparation: Preparation, cache: Path, size: int = INPUT) -> np.ndarray:
    """(N, D) float32 of `kind` in FEATURES, made once and read from CACHE afterwards."""
    pictures = canvases(cases, preparation, cache)
    extract = extractor(kind, size)
    width = extract(pictures[0]).shape[0]
    name = f"{kind}-{size if kind == 'frozen' else SIZE}-{preparation.slug}-{key(cases)}.npy"

    def fill(kept: np.ndarray) -> None:
        for i, picture in enumerate(pictures):
            kept[i] = extract(picture)

    return kept_array(cache / name, (len(cases), width), np.float32, fill)


def extractor(kind: str, size: int = INPUT):
    """(256, 256) uint8 -> (D,) float32, for features of `kind`."""
    if kind == "handmade":
        return lambda picture: handmade(shrunk(picture, SIZE))
    if kind == "frozen":
        network = lite(LITE)
        return lambda picture: pooled(network, shrunk(picture, size)[None])[0]
    raise ValueError(f"features must be one of {', '.join(FEATURES)}, got {kind!r}")


@torch.inference_mode()
def lower(network: nn.Module, images: np.ndarray, stages: int) -> torch.Tensor:
    """(B, S, S) in [0, 1] -> (B, C, s, s) bfloat16 behind the first `stages` stages."""
    with torch.autocast("cpu", torch.bfloat16):
        x = network.bn1(network.conv_stem(to_input(images)))
        for stage in network.blocks[:stages]:
            x = stage(x)
    return x.bfloat16()


def activations(cases: Cases, number: int, stages: int, size: int, views: int, cache: Path) -> np.ndarray:
    """(N, V, s, s, C) bfloat16 as int16: view 0 is the image, view 1 its mirror, the others are varied.

    What is frozen has seen no patient, so one cache serves all folds.
    """
    cv2.setNumThreads(0)
    pictures, network = canvases(cases, Preparation(), cache), lite(number)
    shape = lower(network, shrunk(pictures[0], size)[None], stages).permute(0, 2, 3, 1).shape[1:]

    def fill(kept: np.ndarray) -> None:
        for i, picture in enumerate(pictures):
            rng = np.random.default_rng((7, i))
            plain = shrunk(picture, size)
            images = [plain, plain[:, ::-1], *(varied(picture, size, rng) for _ in range(views - 2))]
            found = lower(network, np.stack(images), stages).permute(0, 2, 3, 1).contiguous()
            kept[i] = found.view(torch.int16).numpy()
            if i % 200 == 0:
                print(f"activations {i} of {len(pictures)}", flush=True)

    name = f"activations-lite{number}-{stages}-{size}-{views}-{key(cases)}.npy"
    return kept_array(cache / name, (len(cases), views, *shape), np.int16, fill)


def restore(kept: Iterable[np.ndarray]) -> torch.Tensor:
    """B arrays (s, s, C) of int16 -> (B, C, s, s) bfloat16, channels_last."""
    return torch.from_numpy(np.stack(list(kept))).view(torch.bfloat16).permute(0, 3, 1, 2)
