"""What one visitor is looking at: a verdict first, where the model looked later."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

from mri_models.errors import FileRejected, InputError
from mri_models.intake import fingerprint
from mri_models.pipeline import Pipeline
from mri_models.types import Report, Scan

File = str | Path | None


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One analysed file; lives in its visitor's session only.

    scan: None where the file was refused before any model saw it.
    explainable: whether a stage accepted the image, so that there is a class to explain.
    """

    report: Report
    scan: Scan | None = None
    explainable: bool = False


class Reader:
    """The pipeline as the page uses it.

    `lend` wraps what needs a GPU. Hugging Face lends one to a process of its own, so the pipeline goes there by closure
    and only files, `Shown` and words cross the border; a list of files is one loan.
    `remember` is told of every analysed image, in this process: the drift monitor lives here.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        remember: Callable[[Scan | None, Report], None] = lambda scan, report: None,
        lend: Callable[[Callable], Callable] = lambda function: function,
    ):
        def look(files: Sequence[File]) -> list[Shown]:
            return [_look(pipeline, file) for file in files]

        def explain(seen: Shown, method: str) -> Shown:
            return _explain(pipeline, seen, method) if seen.explainable else seen

        lent: Callable[[Sequence[File]], list[Shown]] = lend(look)

        def look_and_remember(files: Sequence[File]) -> list[Shown]:
            found = lent(files)
            for seen in found:
                remember(seen.scan, seen.report)
            return found

        self.look = look_and_remember
        self.explain: Callable[[Shown, str], Shown] = lend(explain)


def _look(pipeline: Pipeline, file: File) -> Shown:
    if file is None:
        return Shown(pipeline.refuse(FileRejected("no_file", "No file was sent. Send one image."), "none"))
    path, start = Path(file), perf_counter()
    try:
        scan = pipeline.read(path)
    except InputError as error:
        return Shown(dataclasses.replace(pipeline.refuse(error, path.name), input_sha256=fingerprint(path)))
    report = pipeline.verdict(scan, path.name, read_ms=(perf_counter() - start) * 1000)
    report = dataclasses.replace(report, scan=scan, input_sha256=fingerprint(path))
    return Shown(report, scan, explainable=pipeline.explained(report) is not None)


def _explain(pipeline: Pipeline, seen: Shown, method: str) -> Shown:
    start = perf_counter()
    attribution = pipeline.explain(seen.scan, seen.report, method)
    timing = dict(seen.report.timing_ms) | {"explanation": (perf_counter() - start) * 1000}
    return dataclasses.replace(seen, report=dataclasses.replace(seen.report, explanation=attribution, timing_ms=timing))
