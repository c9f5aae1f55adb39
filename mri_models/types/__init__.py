"""The values that travel between the stages: small, frozen, numpy only."""

from mri_models.types.discs import Disc, SpineGrading
from mri_models.types.maps import CATEGORIES, Anomaly, Attribution, Check, Mask
from mri_models.types.report import DISCLAIMER, SCHEMA, Report
from mri_models.types.scan import Scan
from mri_models.types.stages import STAGES, Orientation, Prediction, Rejection
from mri_models.types.volume import PLANES, Grid, SliceSegmenter, Volume, VolumeMask, VolumeSegmenter
from mri_models.types.volume_report import AnomalySummary, Pooled, SliceAnomaly, SliceVerdict, VolumeReport

__all__ = [
    "CATEGORIES",
    "DISCLAIMER",
    "PLANES",
    "SCHEMA",
    "STAGES",
    "Anomaly",
    "AnomalySummary",
    "Attribution",
    "Check",
    "Disc",
    "Grid",
    "Mask",
    "Orientation",
    "Pooled",
    "Prediction",
    "Rejection",
    "Report",
    "Scan",
    "SliceAnomaly",
    "SliceSegmenter",
    "SliceVerdict",
    "SpineGrading",
    "Volume",
    "VolumeMask",
    "VolumeReport",
    "VolumeSegmenter",
]
