"""The way of a volume: files → Volume → slices through the pipeline → pooled answers → outlines → report."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from mri_models import intake
from mri_models.clock import Clock, since
from mri_models.errors import InputError, ServiceError
from mri_models.localize import TUMOUR
from mri_models.pace import step
from mri_models.quality import check_quality
from mri_models.types import (
    Mask,
    Rejection,
    SliceAnomaly,
    SliceSegmenter,
    SliceVerdict,
    SpineGrading,
    Volume,
    VolumeMask,
    VolumeReport,
    VolumeSegmenter,
)
from mri_models.volumes.choose import MOST, informative
from mri_models.volumes.findings import complete
from mri_models.volumes.intake import Source, read_volume
from mri_models.volumes.limits import MAX_BYTES
from mri_models.volumes.pool import lesions, pool, summarise
from mri_models.volumetric import NAME as SPINE

if TYPE_CHECKING:  # torch loads with the caller's pipeline, not with the reading of files
    from mri_models.pipeline import Pipeline


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` steps of `what`."""

    done: int
    total: int
    what: str


class VolumePipeline:
    """Analyse volumes with a Pipeline for slices and, where there are any, networks that outline.

    >>> report = VolumePipeline(Pipeline.from_pretrained())("series.zip")

    tumour: the pipeline's own outline network unless another is given; runs on every slice of a brain of which
    neighbouring slices resemble a lesion, where the pipeline has not outlined it already. spine: likewise the
    pipeline's own; runs on spines.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        tumour: SliceSegmenter | None = None,
        spine: VolumeSegmenter | None = None,
        most: int = MOST,
    ):
        self.pipeline = pipeline
        self.tumour = tumour or pipeline.outlines.get(TUMOUR)
        self.spine = spine or pipeline.volume_outlines.get(SPINE)
        self.most = most

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of each model's weights."""
        tumour = {TUMOUR: self.tumour.digest} if self.tumour else {}
        return dict(self.pipeline.hashes) | tumour | ({self.spine.name: self.spine.digest} if self.spine else {})

    def __call__(
        self,
        source: Source | Sequence[Source],
        *,
        name: str | None = None,
        progress: Callable[[Progress], None] = lambda step: None,
    ) -> VolumeReport:
        """Analyse one volume. A bad one gives a report with a rejection, never an exception."""
        walk = self.walk(source, name or name_of(source))
        while True:
            try:
                progress(next(walk))
            except StopIteration as end:
                return end.value

    def walk(self, source: Source | Sequence[Source], name: str) -> Generator[Progress, None, VolumeReport]:
        """The same step by step, for callers that show progress; the report is the generator's return value."""
        start = perf_counter()
        yield Progress(0, 1, "Reading the volume")
        digest = fingerprint(source)
        try:
            volume = read_volume(source)
        except InputError as error:
            return dataclasses.replace(self.refuse(error, name), input_sha256=digest)
        timing = {"file": since(start)}
        report = yield from self.analyze(volume, name, timing)
        return dataclasses.replace(report, input_sha256=digest)

    def analyze(
        self, volume: Volume, name: str = "volume", timing: dict[str, float] | None = None
    ) -> Generator[Progress, None, VolumeReport]:
        """A volume that was read already; `timing` holds what that took."""
        timing = dict(timing or {})
        start = perf_counter()
        chosen, looks = informative(volume, self.most), []
        for done, index in enumerate(chosen):
            yield Progress(done, len(chosen), "Looking at slices")
            looks.append(self._look(volume, index))
        timing["slices"] = since(start)
        slices = tuple(look.verdict for look in looks)
        outcome = pool(slices)
        part = outcome.found.get("body_part")
        shown = part.label if part and part.accepted else None
        report = VolumeReport(
            name,
            outcome.rejection,
            volume,
            **outcome.found,
            pooled=outcome.pooled,
            anomaly=summarise(look.anomaly for look in looks if look.anomaly) if shown == "brain" else None,
            slices=slices,
            models=self.hashes,
            **(graded(looks) if shown == "spine" else {}),
        )
        mask, without = None, ()
        try:
            with Clock(timing)("localization"):
                mask = yield from self._outline(volume, shown, looks)
        except (InputError, ServiceError) as error:  # refused, late or broken: what the slices say stands without it
            without = (error.message,)
            if isinstance(error, ServiceError):
                error.log_cause()
        if not mask:
            timing.pop("localization", None)
        report = complete(dataclasses.replace(report, mask=mask, timing_ms=timing))
        return dataclasses.replace(report, findings=report.findings + without)

    def refuse(self, error: InputError | ServiceError, name: str) -> VolumeReport:
        """The report about files that no network has seen."""
        rejection = Rejection(error.stage, error.code, error.message)
        return complete(VolumeReport(name, rejection, models=self.hashes))

    def _look(self, volume: Volume, index: int) -> _Look:
        """One slice through the stages."""
        scan, place = volume.scan(index), (index, volume.source_index(index))
        try:
            check_quality(scan)
        except InputError as error:
            return _Look(SliceVerdict(*place, Rejection(error.stage, error.code, error.message)))
        report = self.pipeline.verdict(scan, upright=True)  # the file says how it lies
        found = report.anomaly
        verdict = SliceVerdict(
            *place, report.rejection, report.gate, report.body_part, report.diagnosis, found and found.score
        )
        score = found and SliceAnomaly(verdict.number, found.score, found.category, found.borderline, found.threshold)
        return _Look(verdict, score, report.localization, report.spine)

    def _outline(
        self, volume: Volume, part: str | None, looks: Sequence[_Look]
    ) -> Generator[Progress, None, VolumeMask | None]:
        """The network that knows this part, where there is one and something to outline."""
        if part == "spine" and self.spine:
            yield Progress(0, 1, "Outlining the spine")
            return self.spine(volume)
        known = {look.verdict.index: look.mask for look in looks if look.mask}
        if part != "brain" or not lesions([look.verdict for look in looks]) or not (known or self.tumour):
            return None
        values, sure = np.zeros(volume.shape, np.uint8), np.zeros(volume.shape, np.float32)
        labels: tuple[str, ...] = ()
        for index in range(volume.shape[0]) if self.tumour else sorted(known):
            yield Progress(index, volume.shape[0], "Outlining")
            step()
            mask = known.get(index) or self.tumour(volume.scan(index))
            labels = mask.labels
            if mask.found:
                values[index], sure[index] = mask.values, mask.probability
        return VolumeMask(values, sure, labels, volume.spacing_mm, TUMOUR)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class _Look:
    """What one slice left behind."""

    verdict: SliceVerdict
    anomaly: SliceAnomaly | None = None
    mask: Mask | None = None
    spine: SpineGrading | None = None


def graded(looks: Sequence[_Look]) -> dict[str, Any]:
    """`spine` and `spine_slice` of a VolumeReport: the slice with most discs, of several the middlemost."""
    seen = [look for look in looks if look.spine]
    if not seen:
        return {}
    middle = (looks[0].verdict.index + looks[-1].verdict.index) / 2
    best = max(seen, key=lambda look: (len(look.spine.discs), -abs(look.verdict.index - middle)))
    return {"spine": best.spine, "spine_slice": best.verdict.number}


def name_of(source: Source | Sequence[Source]) -> str:
    """A file's or a folder's bare name; of many files the number."""
    if isinstance(source, str | os.PathLike):
        return Path(os.path.abspath(source)).name  # not resolved: a link's own name, not that of what it points to
    if isinstance(source, bytes):
        return "volume"
    return name_of(source[0]) if len(source) == 1 else f"{len(source)} files"


def fingerprint(source: Source | Sequence[Source]) -> str | None:
    """SHA-256 of a single file's bytes; None for several files, a folder, what is too large or can't be read."""
    if isinstance(source, str | os.PathLike | bytes):
        return intake.fingerprint(source, MAX_BYTES)
    return fingerprint(source[0]) if len(source) == 1 else None
