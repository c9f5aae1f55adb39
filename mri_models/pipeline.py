"""The way of the data: file → quality → gate → body part → diagnosis → explanation → report."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter
from types import MappingProxyType

import numpy as np
import torch
from PIL import Image

from mri_models import report as rules
from mri_models.anomaly import NAME as ANOMALY
from mri_models.anomaly import AnomalyDetector
from mri_models.classify import Classifier
from mri_models.errors import InputError, WeightsError
from mri_models.explain import METHODS, attribute
from mri_models.hub import model_folders, resolve
from mri_models.intake import fingerprint, read_scan
from mri_models.quality import check_quality
from mri_models.types import Attribution, Prediction, Rejection, Report, Scan

Source = str | os.PathLike | bytes | np.ndarray | Image.Image
GATE, BODY_PART, DIAGNOSIS = "gate", "body_part", "diagnosis/"
BRAIN = DIAGNOSIS + "brain"


class Pipeline:
    """Analyse images; holds the loaded models and no other state.

    >>> report = Pipeline.from_pretrained()("scan.png")
    """

    def __init__(
        self,
        models: Mapping[str, Classifier],
        cards: Mapping[str, str] | None = None,
        anomaly: AnomalyDetector | None = None,
    ):
        if missing := {GATE, BODY_PART} - set(models):
            raise WeightsError("missing_stage", f"The weights lack {sorted(missing)}; every analysis needs them.")
        self.models = MappingProxyType(dict(models))
        self.cards = MappingProxyType(dict(cards or {}))
        self.anomaly = anomaly

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike | None = None, device: str | None = None) -> Pipeline:
        """Load every model below a folder or "owner/repo@revision" (default: MRI_WEIGHTS, else weights/).

        Raises WeightsError, saying what is missing or altered.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        folders = model_folders(resolve(source))
        models = {name: Classifier.load(folder, device) for name, folder in folders.items() if name != ANOMALY}
        anomaly = None
        if ANOMALY in folders and BRAIN in models:
            anomaly = AnomalyDetector.load(folders[ANOMALY], models[BRAIN], device)
        return cls(models, {name: _card(folder) for name, folder in folders.items()}, anomaly)

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each model's weights."""
        anomaly = {ANOMALY: self.anomaly.digest} if self.anomaly else {}
        return {name: model.digest for name, model in self.models.items()} | anomaly

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return self.models[GATE].device

    def __call__(self, source: Source, *, name: str | None = None, explain: bool = True) -> Report:
        """Analyse one image. A bad one gives a Report with a rejection, never an exception."""
        name = name or (Path(source).name if isinstance(source, str | os.PathLike) else "image")
        digest = fingerprint(source)
        start = perf_counter()
        try:
            scan = self.read(source)
        except InputError as error:
            return dataclasses.replace(self.refuse(error, name), input_sha256=digest)
        report = self.verdict(scan, name, read_ms=_since(start))
        report = dataclasses.replace(report, scan=scan, input_sha256=digest)
        if not explain or self.explained(report) is None:
            return report
        start = perf_counter()
        attribution = self.explain(scan, report)
        timing = dict(report.timing_ms) | {"explanation": _since(start)}
        return dataclasses.replace(report, explanation=attribution, timing_ms=timing)

    def read(self, source: Source) -> Scan:
        """Bytes to a scan that is worth looking at; raises InputError."""
        scan = read_scan(source)
        check_quality(scan)
        return scan

    def refuse(self, error: InputError, name: str) -> Report:
        """The report about an image that no network has seen."""
        return rules.complete(
            Report(file=name, rejection=Rejection(error.stage, error.code, error.message), models=self.hashes)
        )

    def verdict(self, scan: Scan, name: str = "image", *, read_ms: float | None = None) -> Report:
        """The three stages and a brain's anomaly score, without explanation; the first that refuses ends the way."""
        timing = {} if read_ms is None else {"file": read_ms}
        found: dict[str, Prediction] = {}
        looks: dict[object, np.ndarray] = {}  # stages exported from one trunk share one look at the image
        rejection = None
        for stage in (GATE, BODY_PART, "diagnosis"):
            start = perf_counter()
            model = self.models.get(stage if stage != "diagnosis" else DIAGNOSIS + found[BODY_PART].label)
            if model:
                if model.features_key not in looks:
                    looks[model.features_key] = model.look(scan)
                found[stage] = model.judge(looks[model.features_key])
                timing[stage] = _since(start)
            rejection = rules.refusal(stage, found.get(stage), scan, part=found.get(BODY_PART))
            if rejection:
                break
        anomaly, part = None, found.get(BODY_PART)
        if self.anomaly and part and part.accepted and part.label == "brain":  # also where no pattern could be named
            start = perf_counter()
            anomaly = self.anomaly(scan)
            timing[ANOMALY] = _since(start)
        return rules.complete(Report(name, rejection, **found, anomaly=anomaly, timing_ms=timing, models=self.hashes))

    def explained(self, report: Report) -> tuple[str, str] | None:
        """(model, class) that an explanation is about: the deepest accepted stage; None if nothing was accepted."""
        if report.diagnosis and report.diagnosis.accepted and report.body_part:
            return DIAGNOSIS + report.body_part.label, report.diagnosis.label
        for stage, prediction in ((BODY_PART, report.body_part), (GATE, report.gate)):
            if prediction and prediction.accepted:
                return stage, prediction.label
        return None

    def explain(self, scan: Scan, report: Report, method: str = METHODS[0]) -> Attribution:
        """Attribution of the class that `explained` names; raises ValueError when there is none."""
        chosen = self.explained(report)
        if chosen is None:
            raise ValueError("no stage accepted this image, so there is no class to explain")
        model, target = chosen
        return attribute(self.models[model], scan, target, method)


def _since(start: float) -> float:
    """Milliseconds since `start`."""
    return (perf_counter() - start) * 1000


def _card(folder: Path) -> str:
    """A model card without its YAML front matter; empty when there is none."""
    path = folder / "README.md"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    if text.startswith("---"):
        text = text.split("---", 2)[-1]
    return text.strip()
