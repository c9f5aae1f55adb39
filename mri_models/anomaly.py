"""How unusual is a brain image? An autoencoder of normal brains, features of the brain network, tumours → Anomaly."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file

from mri_models.autoencoder import Autoencoder, read_autoencoder, similarity
from mri_models.classify import Classifier, FeatureMaps
from mri_models.errors import WeightsError
from mri_models.hub import CONFIG, WEIGHTS, check_version, loading, verify
from mri_models.localize import Segmenter
from mri_models.normals import COMPONENTS, Evidence, NormalMemory, Rule
from mri_models.pixels import stretch
from mri_models.preprocess import letterbox, to_batch
from mri_models.types import Anomaly, Scan

NAME = "anomaly"  # of its folder, and of its place in a report's timing and hashes
CONFIG_VERSION = 3
MEMORY = "memory.safetensors"
AGAIN = "run `python -m mri_models train anomaly` again (`export anomaly` is enough where its run is kept)"


@dataclass(frozen=True, slots=True, eq=False)
class Observer:
    """Scans → Evidence, in one plain pass each of the autoencoder, the brain network and the tumour network.

    levels: which of the brain network's feature maps give the patches, the finest first.
    head: (E,) weights and bias of the lesion outline, a 1x1 convolution over its last feature map.
    tumours: the network that outlines tumours, here at tumour_size pixels.
    """

    autoencoder: Autoencoder
    encoder: Classifier
    levels: tuple[int, ...]
    head: tuple[np.ndarray, float]
    tumours: Segmenter
    tumour_size: int

    @torch.inference_mode()
    def __call__(self, scans: Sequence[Scan], seen: FeatureMaps | None = None) -> list[Evidence]:
        """`seen`: what the brain network saw in these scans, where that is known."""
        stretched = [stretch(scan.pixels) for scan in scans]
        images = np.stack([letterbox(pixels, self.autoencoder.size) for pixels in stretched])[:, None]
        codes, drawn, unlike = self._draw(torch.from_numpy(images).to(self.encoder.device))
        patches, pooled, outline = self._features(seen or self.encoder.maps(to_batch(stretched, self.encoder.spec)))
        tumour = self.tumours.log_odds(to_batch(stretched, replace(self.tumours.spec, size=self.tumour_size)))
        rows = (images[:, 0], drawn, unlike, codes, patches, pooled, outline, tumour)
        return [Evidence(*parts) for parts in zip(*rows, strict=True)]

    def _draw(self, images: torch.Tensor) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(B, 1, S, S) → codes (B, L), reconstructions and 1 - SSIM (B, S, S)."""
        codes = self.autoencoder.encoder(images)
        drawn = self.autoencoder.decoder(codes)
        unlike = 1 - similarity(images, drawn)
        return codes.flatten(1).cpu().numpy(), drawn[:, 0].cpu().numpy(), unlike[:, 0].cpu().numpy()

    def _features(self, seen: FeatureMaps) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Feature maps → patches (B, P, D), pooled (B, E), outline (B, g, g)."""
        maps = [seen.levels[level] for level in self.levels]
        grid = maps[-1].shape[2:]
        # Averaged over their neighbourhood (Roth 2022), and all on the coarsest level's grid
        soft = [F.adaptive_avg_pool2d(F.avg_pool2d(level, 3, 1, 1), grid) for level in maps]
        patches = torch.cat(soft, 1).flatten(2).transpose(1, 2)
        weights = torch.from_numpy(self.head[0]).to(seen.last.device)
        outline = torch.einsum("bdhw,d->bhw", seen.last, weights) + self.head[1]
        return patches.cpu().numpy(), seen.pooled.cpu().numpy(), outline.cpu().numpy()


class AnomalyDetector:
    """Scan of a brain → Anomaly. Thread-safe: nothing changes after construction."""

    def __init__(self, observer: Observer, memory: NormalMemory, rule: Rule, digest: str, folder: Path):
        self.observer = observer
        self.memory = memory
        self.rule = rule
        self.digest = digest
        self.folder = folder

    @classmethod
    def load(cls, folder: Path, encoder: Classifier, tumours: Segmenter, device: str = "cpu") -> AnomalyDetector:
        """Read a model folder: config.json, model.safetensors, memory.safetensors.

        Raises WeightsError when a file is missing or altered, and when it was fitted on other networks than these.
        """
        digest = verify(folder)
        with loading(folder, "an anomaly score", f"fetch it again or {AGAIN}"):
            config = json.loads((folder / CONFIG).read_text("utf-8"))
            mri = config["mri"]
            check_version(folder, mri, CONFIG_VERSION)
            for used, model in ((mri["encoder"], encoder), (mri["tumour"], tumours)):
                if used["sha256"] != model.digest:
                    raise WeightsError(
                        "stale_anomaly",
                        f"{folder} was fitted on {used['model']} with SHA-256 {used['sha256'][:12]}, "
                        f"the one beside it has {model.digest[:12]}: {AGAIN}.",
                    )
            arrays = load_file(folder / MEMORY)
            network = read_autoencoder(config, folder / WEIGHTS).to(device)
            head = (arrays["outline.weight"].astype(np.float32), float(arrays["outline.bias"]))
            levels = tuple(mri["encoder"]["levels"])
            observer = Observer(network, encoder, levels, head, tumours, mri["tumour"]["size"])
            rule = Rule.from_config(mri, arrays["normals"])
            return cls(observer, NormalMemory.from_arrays(arrays), rule, digest, folder)

    def __call__(self, scan: Scan, seen: FeatureMaps | None = None) -> Anomaly:
        """`seen`: what the brain network saw in this scan, where that is known."""
        [evidence] = self.observer([scan], seen)
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
