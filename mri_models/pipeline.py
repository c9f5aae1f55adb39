"""The way of the data: file → quality → upright → gate → body part → diagnosis → explanation → report."""

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

from mri_models import ink, lettering
from mri_models import report as rules
from mri_models.anomaly import NAME as ANOMALY
from mri_models.anomaly import AnomalyDetector
from mri_models.classify import Classifier, Look, share_trunks
from mri_models.clock import Clock, since
from mri_models.discs import NAME as DISCS
from mri_models.errors import InputError, ServiceError, WeightsError
from mri_models.explain import METHODS, attribute, checked, explain_disc
from mri_models.hub import BUNDLED, card_of, model_folders, resolve
from mri_models.intake import fingerprint, read_scan
from mri_models.localize import TUMOUR, Segmenter, overlaps
from mri_models.orientation import NAME as ORIENTATION
from mri_models.orientation import Compass
from mri_models.parts import Specialists, owns
from mri_models.quality import check_quality
from mri_models.types import Attribution, Orientation, Prediction, Rejection, Report, Scan
from mri_models.volumetric import PatchSegmenter

Source = str | os.PathLike | bytes | np.ndarray | Image.Image
GATE, BODY_PART, DIAGNOSIS = "gate", "body_part", "diagnosis/"
BRAIN = DIAGNOSIS + "brain"
NONE = Specialists()


class Pipeline:
    """Analyse images; holds the loaded models and no other state.

    >>> report = Pipeline.from_pretrained()("scan.png")
    """

    def __init__(
        self,
        models: Mapping[str, Classifier],
        cards: Mapping[str, str] | None = None,
        anomaly: AnomalyDetector | None = None,
        specialists: Specialists = NONE,
        folder: Path = BUNDLED,
        compass: Compass | None = None,
    ):
        if missing := {GATE, BODY_PART} - set(models):
            raise WeightsError("missing_stage", f"The weights lack {sorted(missing)}; every analysis needs them.")
        self.models = MappingProxyType(dict(models))
        self.cards = MappingProxyType(dict(cards or {}))
        self.anomaly = anomaly
        self.specialists = specialists
        self.compass = compass
        self.folder = folder  # where the weights lie, and beside them the drift monitor's reference

    @classmethod
    def from_pretrained(cls, source: str | os.PathLike | None = None, device: str | None = None) -> Pipeline:
        """Load every model below a folder or "owner/repo@revision" (default: MRI_WEIGHTS, else weights/).

        Raises WeightsError, saying what is missing or altered.
        """
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        root = resolve(source)
        folders = model_folders(root)
        models = {
            name: Classifier.load(folder, device)
            for name, folder in folders.items()
            if name not in (ANOMALY, ORIENTATION) and not owns(name)
        }
        share_trunks(models.values())
        specialists, anomaly = Specialists.load(folders, device), None
        if ANOMALY in folders and BRAIN in models and TUMOUR in specialists.outlines:
            tumours = specialists.outlines[TUMOUR]
            anomaly = AnomalyDetector.load(folders[ANOMALY], models[BRAIN], tumours, device)
        compass = Compass.load(folders[ORIENTATION], device) if ORIENTATION in folders else None
        cards = {name: card_of(folder) for name, folder in folders.items()}
        return cls(models, cards, anomaly, specialists, root, compass)

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each model's weights."""
        anomaly = {ANOMALY: self.anomaly} if self.anomaly else {}
        compass = {ORIENTATION: self.compass} if self.compass else {}
        every = {**self.models, **anomaly, **compass, **self.specialists.models}
        return {name: model.digest for name, model in every.items()}

    @property
    def judges(self) -> dict[str, str]:
        """SHA-256 of the weights of each model that has a say about single images; others outline volumes."""
        return {name: digest for name, digest in self.hashes.items() if name not in self.volume_outlines}

    @property
    def outlines(self) -> Mapping[str, Segmenter]:
        """The networks that outline something on slices, by name."""
        return self.specialists.outlines

    @property
    def volume_outlines(self) -> Mapping[str, PatchSegmenter]:
        """The networks that outline something in volumes, by name."""
        return self.specialists.volumes

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return self.models[GATE].device

    def __call__(
        self, source: Source, *, name: str | None = None, explain: bool = True, method: str = METHODS[0]
    ) -> Report:
        """Analyse one image. A bad one gives a Report with a rejection, never an exception."""
        name = name or (Path(source).name if isinstance(source, str | os.PathLike) else "image")
        digest = fingerprint(source)
        start = perf_counter()
        try:
            scan = self.read(source)
        except InputError as error:
            return dataclasses.replace(self.refuse(error, name), input_sha256=digest)
        report = self.verdict(scan, name, read_ms=since(start))
        report = dataclasses.replace(report, input_sha256=digest)
        if not explain or self.explained(report) is None:
            return report
        start = perf_counter()
        return with_explanation(report, self.explain(report.scan, report, method), took_ms=since(start))

    def read(self, source: Source) -> Scan:
        """Bytes to a scan that is worth looking at; raises InputError."""
        scan = read_scan(source)
        check_quality(scan)
        return scan

    def refuse(self, error: InputError | ServiceError, name: str) -> Report:
        """The report about an image that no network has seen."""
        return rules.complete(
            Report(file=name, rejection=Rejection(error.stage, error.code, error.message), models=self.hashes)
        )

    def verdict(
        self, scan: Scan, name: str = "image", *, read_ms: float | None = None, upright: bool = False
    ) -> Report:
        """The three stages, a brain's anomaly score, outlines and discs, without explanation.

        The first stage that refuses ends the way; what the accepted ones allow is still measured. An image that lies on
        its side or stands on its head is turned first, unless `upright` says that it stands as it should; the report is
        about its `scan`, and so are explanations.
        """
        clock = Clock({} if read_ms is None else {"file": read_ms})
        found: dict[str, Prediction] = {}
        looks: dict[object, Look] = {}  # stages exported from one trunk share one look at the image
        orientation = None
        if not upright:
            with clock(ORIENTATION):
                scan, orientation = self.upright(scan, looks)
        rejection = mask = spine = None
        for stage in (GATE, BODY_PART):
            with clock(stage):
                found[stage] = self._judge(stage, scan, looks)
            rejection = rules.refusal(stage, found[stage], scan, part=found.get(BODY_PART))
            if rejection:
                break
        part = found.get(BODY_PART)
        if rejection is None:
            with clock("localization"):  # a knee's and a spine's pattern follow from what was located
                mask = self.specialists.outline(scan, part, None)
            with clock("diagnosis"):
                spine = self.specialists.grade(scan, part, mask)
                pattern = self.specialists.pattern(part, mask, spine) or self._judge(
                    DIAGNOSIS + part.label, scan, looks
                )
            found |= {"diagnosis": pattern} if pattern else {}
            rejection = rules.refusal("diagnosis", pattern, scan, part=part)
        anomaly = None
        if self.anomaly and part and part.accepted and part.label == "brain":  # also where no pattern could be named
            with clock(ANOMALY):
                seen = looks.get(self.models[BRAIN].features_key) if BRAIN in self.models else None
                anomaly = self.anomaly(scan, seen and seen.maps)
        if mask is None and (pattern := found.get("diagnosis")):
            with clock("localization"):
                mask = self.specialists.outline(scan, part, pattern)
            if rejection is None and (rejection := rules.disagreement(pattern, mask)):
                found["diagnosis"] = dataclasses.replace(pattern, accepted=False)
        located = {"localization": mask, "spine": spine}
        found |= {"warnings": (*rules.lay(orientation), *ink.warnings_of(scan), *lettering.warnings_of(scan))}
        seen = {"orientation": orientation, "scan": scan}
        report = Report(name, rejection, **found, anomaly=anomaly, **located, **seen, timing_ms=clock.taken)
        return rules.complete(dataclasses.replace(report, overlap=overlaps(report), models=self.hashes))

    def upright(self, scan: Scan, looks: dict[object, Look] | None = None) -> tuple[Scan, Orientation | None]:
        """The scan as it is judged, and how it lay: turned, where it surely lies and is an MRI once it stands.

        Else as it came, and None. looks: takes what the gate saw of a turned scan.
        """
        if self.compass and (found := self.compass(scan)):
            stands, seen = scan.turned(found.turn_deg), {}
            gate = self._judge(GATE, stands, seen)
            if gate.accepted and gate.label == rules.MRI:
                if looks is not None:
                    looks |= seen
                return stands, found
        return scan, None

    def _judge(self, name: str, scan: Scan, looks: dict[object, Look]) -> Prediction | None:
        """The answer of one classifier; None where the weights hold none of this name."""
        model = self.models.get(name)
        if model is None:
            return None
        if model.features_key not in looks:
            looks[model.features_key] = model.look(scan)
        return model.judge(looks[model.features_key])

    def explained(self, report: Report) -> tuple[str, str] | None:
        """(model, class) that an explanation is about: a graded spine's worst disc, else the deepest stage passed.

        None if none was. A class that is accepted and refuses the image (not an MRI, another part) is not explained.
        """
        if report.spine and self.specialists.discs and self.specialists.discs.scale is not None:
            return DISCS, report.spine.worst.level
        pattern, part = report.diagnosis, report.body_part
        model = self.models.get(DIAGNOSIS + part.label) if part else None
        if pattern and pattern.accepted and model and not report.located:
            return DIAGNOSIS + part.label, pattern.label
        for stage, prediction in ((BODY_PART, report.body_part), (GATE, report.gate)):
            if prediction and prediction.accepted and not (report.rejection and report.rejection.stage == stage):
                return stage, prediction.label
        return None

    def explain(self, scan: Scan, report: Report, method: str = METHODS[0]) -> Attribution:
        """Attribution of the class that `explained` names; raises ValueError when there is none.

        A disc has Integrated Gradients only, whatever method is asked for.
        """
        chosen = self.explained(report)
        if chosen is None:
            raise ValueError("no stage accepted this image, so there is no class to explain")
        model, target = chosen
        if model == DISCS:
            return explain_disc(self.specialists.discs, scan, report.spine)
        return attribute(self.models[model], scan, target, method)

    def methods(self, report: Report) -> tuple[str, ...]:
        """The explanation methods that the explained model has a colour scale for; none where nothing is explained."""
        chosen = self.explained(report)
        if chosen and chosen[0] == DISCS:
            return METHODS[:1]
        known = self.models[chosen[0]].calibration.attribution_scale if chosen else ()
        return tuple(method for method in METHODS if method in known)

    def check(self, scan: Scan, report: Report, attribution: Attribution) -> Attribution:
        """The same map of `explain` with its quick checks: whether it may be believed. About half a second."""
        model, _ = self.explained(report)
        if model == DISCS:  # its checks cost nothing and are made
            return attribution
        return checked(self.models[model], scan, attribution)


def with_explanation(report: Report, attribution: Attribution, *, took_ms: float) -> Report:
    """The report with its explanation, and how much of that lies inside the outline."""
    timing = dict(report.timing_ms) | {"explanation": took_ms}
    report = dataclasses.replace(report, explanation=attribution, timing_ms=timing)
    return dataclasses.replace(report, overlap=overlaps(report))
