"""MRI pattern analysis that refuses rather than guesses: `Pipeline.from_pretrained()("scan.png")`."""

from typing import TYPE_CHECKING

from mri_models.errors import InputError, MriError, WeightsError
from mri_models.types import Attribution, Prediction, Rejection, Report, Scan

if TYPE_CHECKING:
    from mri_models.pipeline import Pipeline
    from mri_models.volumes.pipeline import VolumePipeline

__all__ = [
    "Attribution",
    "InputError",
    "MriError",
    "Pipeline",
    "Prediction",
    "Rejection",
    "Report",
    "Scan",
    "VolumePipeline",
    "WeightsError",
]


def __getattr__(name: str) -> object:
    """Pipelines are imported on first use: they bring torch, which `--help` and the intake can do without."""
    if name == "Pipeline":
        from mri_models.pipeline import Pipeline

        return Pipeline
    if name == "VolumePipeline":
        from mri_models.volumes.pipeline import VolumePipeline

        return VolumePipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
