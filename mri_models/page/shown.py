"""What one visitor is looking at: a verdict first, where the model looked later."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from time import perf_counter
from typing import Any

from mri_models.clock import Clock, since
from mri_models.errors import FileRejected, InputError, ServiceError
from mri_models.explain import on_grid, shrunk, within
from mri_models.intake import fingerprint
from mri_models.page.traffic import BATCH_S, Traffic
from mri_models.page.trust import is_checked
from mri_models.page.viewer import SIDE as DRAWN
from mri_models.pipeline import Pipeline, with_explanation
from mri_models.report import reason
from mri_models.types import Attribution, Rejection, Report, Scan

KEPT = 512  # px: twice a network's canvas
File = str | Path | None
GONE = "This image is held no longer. Analyse it again."


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Shown:
    """One analysed file; lives in its visitor's session only.

    scan: None where the file was refused before any model saw it.
    methods: how the accepted class can be explained; none where no stage accepted the image.
    maps: every map worked out so far, on a grid of at most KEPT pixels a side; comparing: whether all are asked for.
    asked: the number that its visitor's browser gave it, which tells one image of a session from the next.
    failed: why the last map or check asked for is missing; the report's findings say it as well.
    """

    report: Report
    scan: Scan | None = None
    methods: tuple[str, ...] = ()
    maps: tuple[Attribution, ...] = ()
    comparing: bool = False
    asked: int = 0
    failed: str = ""

    @property
    def explainable(self) -> bool:
        """Whether a stage accepted the image, so that there is a class to explain."""
        return bool(self.methods)

    @property
    def missing(self) -> tuple[str, ...]:
        """The methods without a map yet."""
        return tuple(method for method in self.methods if method not in {found.method for found in self.maps})


class Reader:
    """The pipeline as the page uses it.

    `lend` wraps what needs a GPU. Hugging Face lends one to a process of its own, so the pipeline goes there by closure
    and only files, `Shown` and words cross the border; a list of files is one loan.
    `remember` is told of every analysed image, in this process: the drift monitor lives here.
    `traffic` says what waits for what. A stage that fails or takes too long gives a report that says so; a map or its
    checks leave the report as it was, but for a finding that says so.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        remember: Callable[[Scan | None, Report], None] = lambda scan, report: None,
        lend: Callable[[Callable], Callable] = lambda function: function,
        traffic: Traffic | None = None,
    ):
        traffic = traffic or Traffic()

        def look(file: File) -> Shown:
            return _look(pipeline, file, traffic.verdict())

        def look_at_all(files: Sequence[File]) -> Iterator[Shown]:
            pace = traffic.after_verdicts(BATCH_S)
            for file in files:
                yield _look(pipeline, file, pace.kept())

        def explain(seen: Shown, method: str) -> Shown:
            if not seen.explainable:
                return seen
            with traffic.map():
                return _explain(pipeline, seen, method)

        def check(seen: Shown) -> Shown:
            if not seen.maps:
                return seen
            with traffic.map():
                return _check(pipeline, seen)

        lent: Callable[[File], Shown] = lend(look)
        lent_for_all: Callable[[Sequence[File]], Iterator[Shown]] = lend(look_at_all)

        def look_and_remember(file: File) -> Shown:
            seen = lent(file)
            remember(seen.scan, seen.report)
            return _light(seen)

        def look_at_all_and_remember(files: Sequence[File]) -> list[dict[str, Any]]:
            reports = []
            for seen in lent_for_all(files):
                remember(seen.scan, seen.report)
                reports.append(seen.report.to_dict())  # without pixels: 32 large images would take gigabytes
            return reports

        self.look = look_and_remember
        self.look_at_all = look_at_all_and_remember
        self.explain: Callable[[Shown, str], Shown] = _or_say("There is no map", lend(explain))
        self.check: Callable[[Shown], Shown] = _or_say("The map was not checked", lend(check))


def _look(pipeline: Pipeline, file: File, pace: AbstractContextManager[None]) -> Shown:
    if file is None:
        return Shown(pipeline.refuse(FileRejected("no_file", "No file was sent. Send one image."), "none"))
    path, start = Path(file), perf_counter()
    try:
        scan = pipeline.read(path)
    except InputError as error:
        return Shown(dataclasses.replace(pipeline.refuse(error, path.name), input_sha256=fingerprint(path)))
    read_ms = since(start)
    try:
        with pace:
            report = pipeline.verdict(scan, path.name, read_ms=read_ms)
    except ServiceError as error:
        error.log_cause()
        report = pipeline.refuse(error, path.name)
    scan = report.scan or scan  # as it was judged: upright
    report = dataclasses.replace(report, scan=scan, input_sha256=fingerprint(path))
    return Shown(report, scan, pipeline.methods(report))


def _or_say(lost: str, work: Callable[..., Shown]) -> Callable[..., Shown]:
    """`work` that can't cost a verdict: what is late or breaks leaves everything as it was, and says so."""

    def worked(seen: Shown, *choice: str) -> Shown:
        try:
            with Clock({})("explanation"):
                return dataclasses.replace(work(seen, *choice), failed="")
        except ServiceError as error:
            error.log_cause()
            failed = f"{lost}. {reason(Rejection(error.stage, error.code, error.message))}"
        report = dataclasses.replace(seen.report, findings=(*seen.report.findings, failed))
        return dataclasses.replace(seen, report=report, failed=failed)

    return worked


def _light(seen: Shown) -> Shown:
    """Without the pixels that are only drawn: a photograph of 12 megapixels takes 48 MB, for as long as it is held."""
    if seen.scan is None or seen.explainable or seen.report.localization or max(seen.scan.shape) <= DRAWN:
        return seen
    scan = shrunk(seen.scan, DRAWN)
    return dataclasses.replace(seen, scan=scan, report=dataclasses.replace(seen.report, scan=scan))


def _explain(pipeline: Pipeline, seen: Shown, method: str) -> Shown:
    """The map of `method` as the report's explanation; one that was worked out before is taken up again.

    Where the class has no such map, another method's: a disc knows Integrated Gradients only.
    """
    start = perf_counter()
    method = method if method in seen.methods else seen.methods[0]
    known = next((found for found in seen.maps if found.method == method), None)
    attribution = on_grid(known, seen.scan.shape) if known else pipeline.explain(seen.scan, seen.report, method)
    report = with_explanation(seen.report, attribution, took_ms=since(start))
    maps = seen.maps if known else (*seen.maps, on_grid(attribution, within(seen.scan.shape, KEPT)))
    return dataclasses.replace(seen, report=report, maps=maps)


def _check(pipeline: Pipeline, seen: Shown) -> Shown:
    """The same maps, those that were not checked yet with their quick checks."""
    maps = tuple(found if is_checked(found) else pipeline.check(seen.scan, seen.report, found) for found in seen.maps)
    current = seen.report.explanation
    by_method = {found.method: found for found in maps}
    if current and (same := by_method.get(current.method)):
        current = dataclasses.replace(current, checks=same.checks, failed_study=same.failed_study)
    return dataclasses.replace(seen, report=dataclasses.replace(seen.report, explanation=current), maps=maps)
