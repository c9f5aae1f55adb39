"""A pipeline without networks: real intake and quality checks, then answers chosen by the image's first pixel."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from mri_models import report as rules
from mri_models.errors import InputError
from mri_models.explain import METHODS
from mri_models.intake import read_scan
from mri_models.preprocess import letterbox
from mri_models.quality import check_quality
from mri_models.types import Anomaly, Attribution, Check, Prediction, Rejection, Report, Scan

LABELS = {
    "gate": ("mri", "not_mri"),
    "body_part": ("brain", "knee", "spine", "other"),
    "diagnosis": ("glioma", "meningioma", "pituitary", "no_tumor"),
}
# outcome → (label, confidence, out-of-distribution score) of each stage that runs; the first pixel is its index
OUTCOMES = {
    "glioma": {"gate": ("mri", 0.998, 0.21), "body_part": ("brain", 0.991, 0.34), "diagnosis": ("glioma", 0.93, 0.42)},
    "healthy": {"gate": ("mri", 0.997, 0.11), "body_part": ("brain", 0.99, 0.3), "diagnosis": ("no_tumor", 0.97, 0.2)},
    "doubt": {"gate": ("mri", 0.995, 0.4), "body_part": ("brain", 0.97, 0.5), "diagnosis": ("pituitary", 0.52, 0.86)},
    "unfamiliar": {"gate": ("mri", 0.97, 0.6), "body_part": ("brain", 0.9, 0.996)},
    "knee": {"gate": ("mri", 0.996, 0.3), "body_part": ("knee", 0.985, 0.4)},
    "shoulder": {"gate": ("mri", 0.99, 0.5), "body_part": ("other", 0.94, 0.7)},
    "photo": {"gate": ("not_mri", 0.999, 0.9)},
}
CARD = """# {name}

Answers one question about an image. For research and teaching only.

**Network** `{network}`, 32,000 augmented images at 160 px.

| source | n patients | balanced accuracy | ECE |
|---|---|---|---|
| all | 412 | 0.94 (0.92-0.96) | 0.021 |
| ixi | 120 | 0.97 (0.94-0.99) | 0.018 |
| medpix | 61 | 0.78 (0.69-0.86) | 0.064 |

```python
from transformers import AutoModelForImageClassification
model = AutoModelForImageClassification.from_pretrained("weights/{name}")
```
"""


class FakePipeline:
    """The interface of mri_models.Pipeline; counts nothing and holds no state. `folder` has the drift reference."""

    hashes = {"gate": "3f" * 32, "body_part": "a1" * 32}  # noqa: RUF012
    judges = hashes
    outlines = {}  # noqa: RUF012
    volume_outlines = {}  # noqa: RUF012
    cards = {  # noqa: RUF012
        name: CARD.format(name=name, network=network)
        for name, network in {
            "gate": "efficientnet_b1",
            "body_part": "efficientnet_b3",
            "diagnosis/brain": "densenet169",
            "diagnosis/spine": "densenet169",
        }.items()
    }

    def __init__(self, folder: Path = Path(__file__).parent.parent / "weights"):
        self.folder = folder

    def __call__(
        self, source: str | Path, *, name: str | None = None, explain: bool = True, method: str = "integrated_gradients"
    ) -> Report:
        name = name or Path(source).name
        try:
            scan = self.read(source)
        except InputError as error:
            return self.refuse(error, name)
        report = self.verdict(scan, name)
        if not explain or self.explained(report) is None:
            return report
        return dataclasses.replace(report, explanation=self.explain(scan, report, method))

    def read(self, source: str | Path | bytes) -> Scan:
        scan = read_scan(source)
        check_quality(scan)
        return scan

    def refuse(self, error: InputError, name: str) -> Report:
        return rules.complete(Report(name, Rejection(error.stage, error.code, error.message)))

    def verdict(
        self, scan: Scan, name: str = "image", *, read_ms: float | None = None, upright: bool = False
    ) -> Report:
        outcome = list(OUTCOMES.values())[round(scan.pixels[0, 0] * 255) % len(OUTCOMES)]
        found = {stage: _prediction(stage, *answer) for stage, answer in outcome.items()}
        rejection = None
        for stage in LABELS:
            rejection = rules.refusal(stage, found.get(stage), scan, part=found.get("body_part"))
            if rejection:
                break
        timing = {"file": read_ms or 9.0} | {stage: 61.5 + 10 * len(stage) for stage in found}
        brain = found.get("body_part") and found["body_part"].accepted and found["body_part"].label == "brain"
        usual = brain and "diagnosis" in found and found["diagnosis"].label == "no_tumor"
        anomaly = anomaly_of(scan, 0.04 if usual else 0.93) if brain else None
        about = {"anomaly": anomaly, "timing_ms": timing, "models": self.hashes, "scan": scan}
        return rules.complete(Report(name, rejection, **found, **about))

    def explained(self, report: Report) -> tuple[str, str] | None:
        refusing = report.rejection and report.rejection.stage
        passed = [s for s in reversed(LABELS) if s != refusing and (p := getattr(report, s)) and p.accepted]
        return (passed[0], getattr(report, passed[0]).label) if passed else None

    def methods(self, report: Report) -> tuple[str, ...]:
        return METHODS if self.explained(report) else ()

    def explain(self, scan: Scan, report: Report, method: str = "integrated_gradients") -> Attribution:
        """Red on the bright side, blue on its left."""
        height, width = scan.shape
        y, x = np.mgrid[0:height, 0:width].astype(np.float32) / max(height, width)
        bright = np.exp(-((x - 0.62) ** 2 + (y - 0.42) ** 2) / 0.008) - 0.6 * np.exp(
            -((x - 0.36) ** 2 + (y - 0.55) ** 2) / 0.004
        )
        gap = 0.021 if method == "integrated_gradients" else None
        target = self.explained(report)[1]
        values = (bright * (0.3 + scan.pixels)).astype(np.float32)
        steps, baseline = (16, "black") if gap else (None, None)
        return Attribution(values, method, target, 1.0, gap, steps, baseline, took_ms=140.0)

    def check(self, scan: Scan, report: Report, attribution: Attribution) -> Attribution:
        """Every map beats a random order, but Occlusion's does not; LayerCAM failed on test patients."""
        auc = 0.71 if attribution.method == "occlusion" else 0.31
        failed = ("random_weights",) if attribution.method == "layer_cam" else ()
        checks = (Check("deletion", auc, 0.52, auc < 0.52),)
        if (gap := attribution.completeness_gap) is not None:
            checks = (Check("completeness", gap, 0.05, gap <= 0.05), *checks)
        return dataclasses.replace(attribution, checks=checks, failed_study=failed)


def scan_png(outcome: str, side: int = 320) -> bytes:
    """A drawn axial brain, whose first pixel makes the fake answer `outcome`."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side - 0.5
    radius = np.hypot(x / 0.8, y)
    folds = np.sin(38 * x + 5 * np.sin(19 * y)) * np.sin(34 * y + 4 * np.cos(23 * x))
    grey = np.where(radius < 0.42, 92 + 26 * folds, 8)
    grey = np.where((radius > 0.44) & (radius < 0.475), 190, grey)  # skull fat
    grey = np.where(np.hypot((np.abs(x) - 0.05) / 0.5, y / 1.4) < 0.075, 30, grey)  # ventricles
    grey = np.where(np.hypot(x - 0.13, y + 0.08) < 0.07, 205 - 900 * np.hypot(x - 0.13, y + 0.08), grey)
    noise = np.random.default_rng(3).normal(0, 4, grey.shape)
    pixels = np.clip(grey + noise, 0, 255).astype(np.uint8)
    pixels[0, 0] = list(OUTCOMES).index(outcome)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@contextmanager
def served(pipeline: object = None, **options: object) -> Iterator[str]:
    """The app on a free port, with the fake pipeline unless another is given; gives its address."""
    from app import build_app, launch

    demo = build_app(pipeline or FakePipeline())
    try:
        _, url, _ = launch(demo, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1", **options)
        yield url.rstrip("/")
    finally:
        demo.close()


def anomaly_of(scan: Scan, value: float) -> Anomaly:
    """A made-up anomaly of this score, whose reconstruction is the blurred image."""
    image = letterbox(scan.pixels, 128)
    drawn = gaussian_filter(image, 2)
    category = "normal" if value < 0.3 else "borderline" if value < 0.6 else "anomalous"
    z_scores = {"pixel": 3.1 * value, "structure": 2 * value, "outline": 5 * value - 1}
    components = {"pixel": 0.02 + 0.05 * value, "structure": 0.2 + 0.3 * value, "outline": 6 * value - 4}
    pictures = (image, drawn, np.abs(image - drawn))
    return Anomaly(
        value, 0.99 * value, 0.3, 0.6, category, 0.9, components, z_scores, *pictures, 0.25, (60, 25, 9, 3, 1)
    )


def _prediction(stage: str, label: str, confidence: float, ood_score: float) -> Prediction:
    others = [name for name in LABELS[stage] if name != label]
    shares = np.arange(len(others), 0, -1) ** 2
    rest = (1 - confidence) * shares / shares.sum()
    probabilities = {label: confidence} | dict(zip(others, map(float, rest), strict=True))
    ordered = {name: probabilities[name] for name in LABELS[stage]}
    accepted = confidence >= 0.8 and ood_score <= 0.98
    return Prediction(label, confidence, 0.8, ordered, ood_score, 0.98, accepted)
