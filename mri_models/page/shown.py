"""What one visitor is looking at: a verdict first, where the model looked later."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from time import perf_counter

from mri_models.errors import FileRejected, InputError
from mri_models.pipeline import Pipeline
from mri_models.types import Report, Scan


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One analysed file; lives in its visitor's session only.

    scan: None where the file was refused before any model saw it.
    """

    report: Report
    scan: Scan | None = None


def look(pipeline: Pipeline, file: str | Path | None) -> Shown:
    """The verdict on one file; a bad one gives a rejected report."""
    if file is None:
        return Shown(pipeline.refuse(FileRejected("no_file", "No file was sent. Send one image."), "none"))
    path, start = Path(file), perf_counter()
    try:
        scan = pipeline.read(path)
    except InputError as error:
        return Shown(pipeline.refuse(error, path.name))
    return Shown(pipeline.verdict(scan, path.name, read_ms=(perf_counter() - start) * 1000), scan)


def explained(pipeline: Pipeline, seen: Shown, method: str) -> Shown:
    """The same with its attribution; unchanged where no stage accepted the image."""
    if seen.scan is None or pipeline.explained(seen.report) is None:
        return seen
    start = perf_counter()
    attribution = pipeline.explain(seen.scan, seen.report, method)
    timing = dict(seen.report.timing_ms) | {"explanation": (perf_counter() - start) * 1000}
    return Shown(dataclasses.replace(seen.report, explanation=attribution, timing_ms=timing), seen.scan)
