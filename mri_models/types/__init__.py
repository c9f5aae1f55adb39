"""The values that travel between the stages: small, frozen, numpy only."""

from mri_models.types.maps import CATEGORIES, Anomaly, Attribution, Mask
from mri_models.types.report import DISCLAIMER, SCHEMA, Report
from mri_models.types.scan import Scan
from mri_models.types.stages import STAGES, Prediction, Rejection

__all__ = [
    "CATEGORIES",
    "DISCLAIMER",
    "SCHEMA",
    "STAGES",
    "Anomaly",
    "Attribution",
    "Mask",
    "Prediction",
    "Rejection",
    "Report",
    "Scan",
]
