"""Everything that is said about one file; its `to_dict` is the public JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mri_models.types.discs import SpineGrading
from mri_models.types.maps import Anomaly, Attribution, Mask
from mri_models.types.scan import Scan
from mri_models.types.stages import Orientation, Prediction, Rejection

if TYPE_CHECKING:
    from pathlib import Path

    from mri_models.advice import Context

SCHEMA = "1.0"
DISCLAIMER = (
    "For research and teaching only. Not a medical device: this software describes patterns in an image, "
    "it does not diagnose, and it can be wrong. Ask a radiologist."
)


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """Everything that is said about one file; `to_dict` is the public JSON (schema 1.0).

    localization: the outlined structure; None where no outline network is asked for this image.
    orientation: how the image lay, where it was turned upright before it was judged; None where it was left as it came.
    spine: the discs of a spine's slice, level by level; None elsewhere and where they could not be counted.
    warnings: sentences about what was amiss with the image, but not enough to refuse; they end the findings too.
    overlap: by name of a map, the share of its positive values that lies inside the outline.
    input_sha256: of the file's bytes; None for arrays and pictures in memory.
    scan: the image as it was judged, for the PDF; never part of the JSON.
    """

    file: str
    rejection: Rejection | None = None
    gate: Prediction | None = None
    body_part: Prediction | None = None
    diagnosis: Prediction | None = None
    anomaly: Anomaly | None = None
    explanation: Attribution | None = None
    localization: Mask | None = None
    spine: SpineGrading | None = None
    overlap: Mapping[str, float] = field(default_factory=dict)
    findings: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    timing_ms: Mapping[str, float] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    input_sha256: str | None = None
    scan: Scan | None = None
    orientation: Orientation | None = None

    @property
    def located(self) -> bool:
        """Whether the pattern follows from an outlined structure, not from a classifier of the whole image."""
        part = self.body_part
        return self.spine is not None or (self.localization is not None and part is not None and part.label == "knee")

    @property
    def status(self) -> str:
        """ "predicted" when every stage accepted, else "rejected"."""
        return "rejected" if self.rejection else "predicted"

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract: plain str, float, bool, None, list and dict; `file` is a bare name."""

        def of(part: Orientation | Prediction | Anomaly | Attribution | Mask | None) -> dict[str, Any] | None:
            return part.to_dict() if part else None

        rejection, found = self.rejection, of(self.localization)
        return {
            "file": self.file,
            "schema": SCHEMA,
            "status": self.status,
            "rejection": rejection and {"stage": rejection.stage, "code": rejection.code, "message": rejection.message},
            "orientation": of(self.orientation),
            "gate": of(self.gate),
            "body_part": of(self.body_part),
            "diagnosis": of(self.diagnosis),
            "anomaly": of(self.anomaly),
            "localization": found and found | {"overlap": {name: round(v, 4) for name, v in self.overlap.items()}},
            "discs": self.spine and [disc.to_dict() for disc in self.spine.discs],
            "explanation": of(self.explanation),
            "findings": list(self.findings),
            "warnings": list(self.warnings),
            "timing_ms": {stage: round(ms, 1) for stage, ms in self.timing_ms.items()},
            "models": dict(self.models),
            "input_sha256": self.input_sha256,
            "disclaimer": DISCLAIMER,
        }

    def to_markdown(self) -> str:
        """The report for people, as Markdown."""
        from mri_models.report import markdown  # the rules live there; types stay free of wording

        return markdown(self)

    def to_pdf(self, path: Path | str | None = None, *, language: str = "en", context: Context | None = None) -> bytes:
        """The report as PDF in English or German, also written to `path` where one is given."""
        from mri_models.document import write_pdf

        return write_pdf(self, path, language, context)
