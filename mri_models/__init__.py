"""MRI pattern analysis that refuses rather than guesses: `Pipeline.from_pretrained()("scan.png")`."""

from typing import TYPE_CHECKING

from mri_models.errors import InputError, MriError, WeightsError
from mri_models.types import Attribution, Prediction, Rejection, Report, Scan

if TYPE_CHECKING:
    from mri_models.pipeline import Pipeline

__all__ = [
    "Attribution",
    "InputError",
    "MriError",
    "Pipeline",
    "Prediction",
    "Rejection",
    "Report",
    "Scan",
    "WeightsError",
]


def __getattr__(name: str) -> object:
    """`Pipeline` is imported on first use: it brings torch, which `--help` and the intake can do without."""
    if name == "Pipeline":
        from mri_models.pipeline import Pipeline

        return Pipeline
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
