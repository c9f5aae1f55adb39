"""Everything that is said about one volume; its `to_dict` is the public JSON, the single image's with more fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mri_models.types.discs import SpineGrading
from mri_models.types.report import DISCLAIMER, SCHEMA
from mri_models.types.stages import Prediction, Rejection
from mri_models.types.volume import Volume, VolumeMask


@dataclass(frozen=True, slots=True)
class SliceVerdict:
    """What the stages said about one slice.

    index: in the Volume, from 0; people read `number`. source_index: along the input's own axis, from 0.
    anomaly: score of a brain slice.
    """

    index: int
    source_index: int
    rejection: Rejection | None = None
    gate: Prediction | None = None
    body_part: Prediction | None = None
    diagnosis: Prediction | None = None
    anomaly: float | None = None

    @property
    def number(self) -> int:
        """Counted from 1, as shown."""
        return self.index + 1

    @property
    def deepest(self) -> tuple[str, Prediction] | None:
        """The last stage that saw the slice, and its answer."""
        for stage in ("diagnosis", "body_part", "gate"):
            if prediction := getattr(self, stage):
                return stage, prediction
        return None

    def to_dict(self) -> dict[str, Any]:
        stage, prediction = self.deepest or (None, None)
        rejection = self.rejection
        return {
            "slice": self.number,
            "source_index": self.source_index,
            "status": "rejected" if rejection else "predicted",
            "rejection": rejection and {"stage": rejection.stage, "code": rejection.code},
            "stage": stage,
            "label": prediction and prediction.label,
            "confidence": prediction and round(prediction.confidence, 4),
            "probabilities": prediction and {name: round(p, 4) for name, p in prediction.probabilities.items()},
            "anomaly_score": None if self.anomaly is None else round(self.anomaly, 4),
        }


@dataclass(frozen=True, slots=True)
class Pooled:
    """How slices became one answer of a stage.

    reached: slices that came to the stage; accepted: slices it let pass, whose scores are averaged.
    spread: standard deviation of each class score over those. telling: numbers of the slices that say it loudest.
    """

    reached: int
    accepted: int
    spread: Mapping[str, float]
    telling: tuple[int, ...]

    @property
    def share(self) -> float:
        """Share of slices accepted."""
        return self.accepted / self.reached if self.reached else 0.0

    def to_dict(self) -> dict[str, Any]:
        return {
            "slices_reached": self.reached,
            "slices_accepted": self.accepted,
            "share_accepted": round(self.share, 4),
            "spread": {name: round(value, 4) for name, value in self.spread.items()},
            "telling_slices": list(self.telling),
        }


@dataclass(frozen=True, slots=True)
class SliceAnomaly:
    """How unusual one brain slice is, and the scores from which it would be borderline and anomalous."""

    number: int
    score: float
    category: str
    borderline: float
    threshold: float


@dataclass(frozen=True, slots=True)
class AnomalySummary:
    """Anomaly scores of the brain slices: mean, standard deviation, highest, slices by category, most unusual ones."""

    score: float
    spread: float
    highest: float
    borderline: float
    threshold: float
    counts: Mapping[str, int]
    telling: tuple[int, ...]

    @property
    def category(self) -> str:
        """That of the mean score."""
        if self.score >= self.threshold:
            return "anomalous"
        return "borderline" if self.score >= self.borderline else "normal"

    def to_dict(self) -> dict[str, Any]:
        return {
            "score": round(self.score, 4),
            "spread": round(self.spread, 4),
            "highest": round(self.highest, 4),
            "borderline": round(self.borderline, 4),
            "threshold": round(self.threshold, 4),
            "category": self.category,
            "slices": dict(self.counts),
            "telling_slices": list(self.telling),
        }


@dataclass(frozen=True, slots=True, eq=False)
class VolumeReport:
    """Everything that is said about one volume; `to_dict` is the public JSON (schema 1.0).

    gate, body_part, diagnosis: mean over accepted slices; `pooled` says of how many, by stage.
    spine: the discs of the slice on which most were counted, the middlemost of several; `spine_slice` is its number.
    volume, mask: for the page and for files; of these the JSON holds the measures only.
    """

    file: str
    rejection: Rejection | None = None
    volume: Volume | None = None
    gate: Prediction | None = None
    body_part: Prediction | None = None
    diagnosis: Prediction | None = None
    pooled: Mapping[str, Pooled] = field(default_factory=dict)
    anomaly: AnomalySummary | None = None
    slices: tuple[SliceVerdict, ...] = ()
    mask: VolumeMask | None = None
    spine: SpineGrading | None = None
    spine_slice: int | None = None
    findings: tuple[str, ...] = ()
    timing_ms: Mapping[str, float] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    input_sha256: str | None = None

    @property
    def status(self) -> str:
        """ "predicted" when every stage accepted, else "rejected"."""
        return "rejected" if self.rejection else "predicted"

    @property
    def accepted(self) -> int:
        """Slices that passed every stage."""
        return sum(verdict.rejection is None for verdict in self.slices)

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract: plain str, float, bool, None, list and dict; `file` is a bare name."""
        rejection, volume = self.rejection, self.volume
        analysed = len(self.slices)
        return {
            "file": self.file,
            "schema": SCHEMA,
            "status": self.status,
            "rejection": rejection and {"stage": rejection.stage, "code": rejection.code, "message": rejection.message},
            "orientation": None,  # slices are never turned
            "volume": volume and volume.to_dict(),
            "coverage": volume
            and {
                "slices": volume.shape[0],
                "analysed": analysed,
                "accepted": self.accepted,
                "share_accepted": round(self.accepted / analysed, 4) if analysed else 0.0,
            },
            **{stage: self._stage(stage) for stage in ("gate", "body_part", "diagnosis")},
            "anomaly": self.anomaly and self.anomaly.to_dict(),
            "localization": self.mask and self.mask.to_dict(),
            "discs": self.spine and [disc.to_dict() for disc in self.spine.discs],
            "discs_slice": self.spine_slice,
            "explanation": None,
            "slices": [verdict.to_dict() for verdict in self.slices],
            "findings": list(self.findings),
            "warnings": list(volume.warnings) if volume else [],
            "timing_ms": {stage: round(ms, 1) for stage, ms in self.timing_ms.items()},
            "models": dict(self.models),
            "input_sha256": self.input_sha256,
            "disclaimer": DISCLAIMER,
        }

    def _stage(self, stage: str) -> dict[str, Any] | None:
        prediction = getattr(self, stage)
        return prediction and prediction.to_dict() | self.pooled[stage].to_dict()
