"""What is done for one body part beyond the shared stages: outlines, the discs of a spine, the ligament of a knee."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Self

from mri_models import discs, knee
from mri_models.levels import LEAST, disc_boxes
from mri_models.localize import FOLDER, Segmenter
from mri_models.types import Mask, Prediction, Scan, SpineGrading
from mri_models.volumetric import NAME as VOLUMES  # outlines volumes, not slices
from mri_models.volumetric import PatchSegmenter


@dataclass(frozen=True, slots=True, eq=False)
class Specialists:
    """Networks for single parts; each may be missing. Thread-safe: nothing changes after construction."""

    outlines: Mapping[str, Segmenter] = field(default_factory=lambda: MappingProxyType({}))
    discs: discs.DiscGrader | None = None
    tear: knee.TearRule | None = None
    volumes: Mapping[str, PatchSegmenter] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def load(cls, folders: Mapping[str, Path], device: str) -> Self:
        """Those of the folders that are one of these; see `owns`."""
        outlines = {name: Segmenter.load(folders[name], device) for name in folders if _outlines(name)}
        grader = discs.DiscGrader.load(folders[discs.NAME], device) if discs.NAME in folders else None
        tear = knee.TearRule.load(folders[knee.NAME]) if knee.NAME in folders else None
        volumes = {}
        if VOLUMES in folders:
            volumes[VOLUMES] = PatchSegmenter.load(folders[VOLUMES], device, outlines)
        return cls(MappingProxyType(outlines), grader, tear, MappingProxyType(volumes))

    @property
    def models(self) -> dict[str, Segmenter | PatchSegmenter | discs.DiscGrader]:
        """By name, each with its digest."""
        return dict(self.outlines) | dict(self.volumes) | ({discs.NAME: self.discs} if self.discs else {})

    def outline(self, scan: Scan, part: Prediction | None, pattern: Prediction | None) -> Mask | None:
        """The structure that images with these answers are outlined for; None where there is none."""
        found = (one for one in self.outlines.values() if one.rule.applies(part, pattern))
        segmenter = next(found, None)
        return segmenter(scan) if segmenter else None

    def grade(self, scan: Scan, part: Prediction, mask: Mask | None) -> SpineGrading | None:
        """The discs of an outlined spine; None where fewer than three of them follow each other."""
        if self.discs is None or mask is None or part.label != "spine":
            return None
        boxes = disc_boxes(mask)
        return self.discs(scan, boxes) if len(boxes) >= LEAST else None

    def pattern(self, part: Prediction, mask: Mask | None, spine: SpineGrading | None) -> Prediction | None:
        """The answer that follows from what was located; None where that decides nothing."""
        if spine:  # how familiar the image is, the body part's features tell
            return replace(spine.overall, ood_score=part.ood_score, ood_threshold=part.ood_threshold)
        if self.tear and mask and part.label == "knee":
            return self.tear(mask, part)
        return None


def owns(name: str) -> bool:
    """Whether a model folder is loaded here, not as a classifier."""
    return name == discs.NAME or name.startswith(FOLDER)


def _outlines(name: str) -> bool:
    return name.startswith(FOLDER) and name != VOLUMES
