"""How unusual is a brain image? An autoencoder of normal brains and features of the brain network → Anomaly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file

from mri_models.autoencoder import Autoencoder, read_autoencoder, similarity
from mri_models.classify import Classifier
from mri_models.errors import WeightsError
from mri_models.hub import CONFIG, WEIGHTS, verify
from mri_models.normals import COMPONENTS, Evidence, NormalMemory, Rule
from mri_models.pixels import stretch
from mri_models.preprocess import InputSpec, letterbox, normalise
from mri_models.types import Anomaly, Scan

NAME = "anomaly"  # of its folder, and of its place in a report's timing and hashes
CONFIG_VERSION = 1
MEMORY = "memory.safetensors"
AGAIN = "run `python -m mri_models train anomaly` again (`export anomaly` is enough where its run is kept)"


@dataclass(frozen=True, slots=True, eq=False)
class Observer:
    """Scans → Evidence, in one plain pass of the brain network and one of the autoencoder.

    size: the brain network's input in pixels. levels: which of its feature maps give the patches, the finest first.
    head: (E,) weights and bias of the lesion outline, a 1x1 convolution over the last feature map.
    """

    autoencoder: Autoencoder
    encoder: Classifier
    size: int
    levels: tuple[int, ...]
    head: tuple[np.ndarray, float]

    @torch.inference_mode()
    def __call__(self, scans: Sequence[Scan]) -> list[Evidence]:
        stretched = [stretch(scan.pixels) for scan in scans]
        images = np.stack([letterbox(pixels, self.autoencoder.size) for pixels in stretched])[:, None]
        codes, drawn, unlike = self._draw(torch.from_numpy(images).to(self.encoder.device))
        spec = InputSpec(self.size, self.encoder.spec.mean, self.encoder.spec.std)
        batch = torch.stack([normalise(letterbox(pixels, self.size), spec) for pixels in stretched])
        patches, pooled, outline = self._features(batch)
        rows = (images[:, 0], drawn, unlike, codes, patches, pooled, outline)
        return [Evidence(*parts) for parts in zip(*rows, strict=True)]

    def _draw(self, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(B, 1, S, S) → codes (B, L), reconstructions and 1 - SSIM (B, S, S)."""
        codes = self.autoencoder.encoder(images)
        drawn = self.autoencoder.decoder(codes)
        unlike = 1 - similarity(images, drawn)
        return codes.flatten(1).cpu().numpy(), drawn[:, 0].cpu().numpy(), unlike[:, 0].cpu().numpy()

    def _features(self, batch: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(B, 3, S, S) → patches (B, P, D), pooled (B, E), outline (B, g, g)."""
        network, device = self.encoder.network, self.encoder.device
        batch = batch.to(device, memory_format=torch.channels_last)
        with torch.autocast("cuda", torch.float16, enabled=device.type == "cuda"):
            last, maps = network.forward_intermediates(batch, indices=list(self.levels))
            pooled = network.forward_head(last, pre_logits=True)
        grid = maps[-1].shape[2:]
        # Averaged over their neighbourhood (Roth 2022), and all on the coarsest level's grid
        soft = [F.adaptive_avg_pool2d(F.avg_pool2d(level.float(), 3, 1, 1), grid) for level in maps]
        patches = torch.cat(soft, 1).flatten(2).transpose(1, 2)
        weights = torch.from_numpy(self.head[0]).to(device)
        outline = torch.einsum("bdhw,d->bhw", last.float(), weights) + self.head[1]
        return patches.cpu().numpy(), pooled.float().cpu().numpy(), outline.cpu().numpy()


class AnomalyDetector:
    """Scan of a brain → Anomaly. Thread-safe: nothing changes after construction."""

    def __init__(self, observer: Observer, memory: NormalMemory, rule: Rule, digest: str, folder: Path):
        self.observer = observer
        self.memory = memory
        self.rule = rule
        self.digest = digest
        self.folder = folder

    @classmethod
    def load(cls, folder: Path, encoder: Classifier, device: str = "cpu") -> AnomalyDetector:
        """Read a model folder: config.json, model.safetensors, memory.safetensors.

        Raises WeightsError when a file is missing or altered, and when the memory was made with another brain network.
        """
        digest = verify(folder)
        try:
            config = json.loads((folder / CONFIG).read_text("utf-8"))
            mri = config["mri"]
            if mri["version"] != CONFIG_VERSION:
                raise WeightsError(
                    "config_version",
                    f"{folder.name} has config version {mri['version']}, this package reads {CONFIG_VERSION}: "
                    "update the package or pin another revision of the weights.",
                )
            if mri["encoder"]["sha256"] != encoder.digest:
                raise WeightsError(
                    "stale_anomaly",
                    f"{folder} was fitted on features of a brain network with SHA-256 {mri['encoder']['sha256'][:12]}, "
                    f"the one beside it has {encoder.digest[:12]}: {AGAIN}.",
                )
            arrays = load_file(folder / MEMORY)
            network = read_autoencoder(config, folder / WEIGHTS).to(device)
            head = (arrays["outline.weight"].astype(np.float32), float(arrays["outline.bias"]))
            levels = tuple(mri["encoder"]["levels"])
            observer = Observer(network, encoder, mri["encoder"]["size"], levels, head)
            rule = Rule.from_config(mri, arrays["normals"])
            return cls(observer, NormalMemory.from_arrays(arrays), rule, digest, folder)
        except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
            raise WeightsError(
                "bad_model", f"{folder} can't be loaded ({error}); fetch it again or {AGAIN}."
            ) from error

    def __call__(self, scan: Scan) -> Anomaly:
        [evidence] = self.observer([scan])
        components = self.memory.measure(evidence)
        z_scores = self.rule.z_scores(components)
        score = self.rule.score(z_scores)
        category = self.rule.category(score)
        return Anomaly(
            score=score,
            percentile=self.rule.percentile(score),
            borderline=self.rule.borderline,
            threshold=self.rule.threshold,
            category=category,
            confidence=self.rule.confidence[category],
            components=components,
            z_scores=dict(zip(COMPONENTS, map(float, z_scores), strict=True)),
            image=evidence.image,
            reconstruction=evidence.reconstruction,
            error_map=evidence.error,
            error_scale=self.rule.error_scale,
            normals=self.rule.histogram,
        )
