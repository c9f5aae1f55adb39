"""Classifier: a network with its temperature, thresholds and out-of-distribution score. One class serves all stages."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file
from torch import nn
from transformers import AutoModelForImageClassification, TimmWrapperForImageClassification

from mri_models.calibration import Calibration
from mri_models.fold import Runner, folded
from mri_models.hub import check_version, loading, verify
from mri_models.ood import MahalanobisScore
from mri_models.preprocess import InputSpec, to_tensor
from mri_models.types import Prediction, Scan

CONFIG_VERSION = 1
EMBEDDING = 16  # coordinates of each image that drift monitoring may keep


@dataclass(frozen=True, slots=True, eq=False)
class FeatureMaps:
    """One pass of a trunk over images as they are.

    levels: (B, C, h, w) each, the finest first. last: (B, E, h, w), what is pooled. pooled: (B, D) float32.
    """

    levels: tuple[torch.Tensor, ...]
    last: torch.Tensor
    pooled: torch.Tensor

    def first(self, count: int) -> FeatureMaps:
        """Those of the first images."""
        return FeatureMaps(tuple(level[:count] for level in self.levels), self.last[:count], self.pooled[:count])


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What a trunk sees: pooled features (B, D), over an image and its mirror if asked, and the image's own maps."""

    features: np.ndarray
    maps: FeatureMaps


class Trunk(nn.Module):
    """A timm network without its head: (B, 3, S, S) → pooled features, the last feature map, and every level's."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        last, levels = self.network.forward_intermediates(images)
        return self.network.forward_head(last, pre_logits=True), last, *levels


class Classifier:
    """Scan → Prediction. Thread-safe: nothing changes after construction.

    network: a folded copy of the one given. runner: its trunk, for looking.
    """

    def __init__(
        self,
        network: nn.Module,
        labels: tuple[str, ...],
        spec: InputSpec,
        calibration: Calibration,
        ood: MahalanobisScore,
        digest: str,
    ):
        self.network = folded(network)
        self.runner = Runner(Trunk(self.network))
        self.labels = labels
        self.spec = spec
        self.calibration = calibration
        self.ood = ood
        self.digest = digest

    @classmethod
    def load(cls, folder: Path, device: str = "cpu") -> Classifier:
        """Read a model folder: config.json, model.safetensors, ood.safetensors.

        Raises WeightsError when a file is missing, altered, or of a version this package does not know.
        """
        digest = verify(folder)
        with loading(folder, "a classifier"):
            model, spec = read_model(folder, CONFIG_VERSION)
            labels = tuple(model.config.id2label[i] for i in range(model.config.num_labels))
            ood = MahalanobisScore.from_arrays(load_file(folder / "ood.safetensors"))
            calibration = Calibration.from_config(model.config.mri)
        network = model.timm_model.to(device, memory_format=torch.channels_last)
        return cls(network, labels, spec, calibration, ood, digest)

    @property
    def device(self) -> torch.device:
        return next(self.network.parameters()).device

    def with_network(self, network: nn.Module) -> Classifier:
        """The same calibration around another network, which is taken as it is."""
        other = copy.copy(self)
        other.__dict__.pop("trunk", None)  # that of the network before
        other.network, other.runner = network, Runner(Trunk(network))
        return other

    @cached_property
    def trunk(self) -> str:
        """SHA-256 of everything before the last layer; equal for classifiers that may share it."""
        return trunk_digest(self.network)

    @property
    def features_key(self) -> tuple[object, ...]:
        """What `features` depends on: stages with equal keys see the same, and one look serves them all."""
        return self.trunk, self.spec, self.calibration.flip

    def maps(self, batch: torch.Tensor) -> FeatureMaps:
        """(B, 3, S, S) → what one pass of the trunk makes of it."""
        pooled, last, *levels = self.runner(batch)
        return FeatureMaps(tuple(levels), last, pooled)

    def features(self, batch: torch.Tensor) -> np.ndarray:
        """(B, 3, S, S) → pooled features (B, D), the mean over an image and its mirror if asked."""
        return self._look(batch).features

    def _look(self, batch: torch.Tensor) -> Look:
        views = [batch, batch.flip(3)] if self.calibration.flip else [batch]
        seen = self.maps(torch.cat(views))  # one pass over both is a fifth quicker than two
        pooled = torch.stack(seen.pooled.split(len(batch))).mean(0)
        return Look(pooled.cpu().numpy(), seen.first(len(batch)))

    @torch.inference_mode()
    def logits(self, features: np.ndarray) -> np.ndarray:
        """Pooled features (B, D) → logits (B, C): one linear layer ends every network here."""
        return self.network.get_classifier()(torch.from_numpy(features).to(self.device)).cpu().numpy()

    def outputs(self, batch: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
        """(B, 3, S, S) → logits (B, C) and features (B, D)."""
        features = self.features(batch)
        return self.logits(features), features

    def decide(self, logits: np.ndarray, features: np.ndarray) -> list[Prediction]:
        """Logits (N, C) and features (N, D) → calibrated predictions."""
        distances = self.ood.score(features)
        informed = self.calibration.informed(logits.astype(np.float64), distances, self.labels)
        scaled = informed / self.calibration.temperature
        shares = np.exp(scaled - scaled.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        nearer = self.ood.percentile(distances)
        places = self.ood.embed(features)[:, :EMBEDDING]
        return [
            self._prediction(row, float(share), tuple(map(float, place)))
            for row, share, place in zip(shares, nearer, places, strict=True)
        ]

    def _prediction(self, probabilities: np.ndarray, ood_score: float, embedding: tuple[float, ...]) -> Prediction:
        best = int(probabilities.argmax())
        label, confidence = self.labels[best], float(probabilities[best])
        threshold = self.calibration.thresholds[label]
        return Prediction(
            label=label,
            confidence=confidence,
            threshold=threshold,
            probabilities=dict(zip(self.labels, map(float, probabilities), strict=True)),
            ood_score=ood_score,
            ood_threshold=self.calibration.ood_threshold,
            accepted=confidence >= threshold and ood_score <= self.calibration.ood_threshold,
            embedding=embedding,
        )

    def look(self, scan: Scan) -> Look:
        """What the trunk sees in one scan; stages with equal `features_key` may judge it."""
        return self._look(to_tensor(scan, self.spec))

    def judge(self, look: Look) -> Prediction:
        """What the trunk saw in one scan → calibrated prediction."""
        return self.decide(self.logits(look.features), look.features)[0]

    def __call__(self, scan: Scan) -> Prediction:
        return self.judge(self.look(scan))


def read_model(folder: Path, version: int) -> tuple[TimmWrapperForImageClassification, InputSpec]:
    """The network of a model folder with what it expects, for use inside `loading`; its config has "mri".

    Raises WeightsError for a config of another version.
    """
    model = AutoModelForImageClassification.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    mri, inputs = model.config.mri, model.config.pretrained_cfg
    check_version(folder, mri, version)
    return model, InputSpec(mri["input_size"], tuple(inputs["mean"]), tuple(inputs["std"]))


def share_trunks(classifiers: Iterable[Classifier]) -> None:
    """Let classifiers with equal trunks hold its weights once."""
    first: dict[str, Classifier] = {}
    for classifier in classifiers:
        owner = first.setdefault(classifier.trunk, classifier)
        if owner is not classifier:
            classifier.network.load_state_dict(_trunk(owner.network), strict=False, assign=True)
            classifier.runner = owner.runner


def trunk_digest(network: nn.Module) -> str:
    """SHA-256 of everything before the last linear layer."""
    digest = hashlib.sha256()
    for name, tensor in _trunk(network).items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _trunk(network: nn.Module) -> dict[str, torch.Tensor]:
    """The tensors before the last linear layer, by name."""
    head = {id(tensor) for tensor in network.get_classifier().state_dict(keep_vars=True).values()}
    return {name: tensor for name, tensor in network.state_dict(keep_vars=True).items() if id(tensor) not in head}
