"""The Volume tab: upload or example, progress, verdict, evidence; and the endpoint /analyze_volume."""

from __future__ import annotations

import dataclasses
import gzip
from collections.abc import Callable, Generator, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from mri_models.errors import ServiceError
from mri_models.page import memory, render, volume_plot, volume_render, volume_view
from mri_models.page.gallery import gallery, load_examples
from mri_models.page.session import NUMBER_JS, Session
from mri_models.page.traffic import ON_VOLUMES, VOLUME_S, Traffic, handler
from mri_models.page.volume_desk import VolumeDesk, lay_out
from mri_models.types import Scan, VolumeReport
from mri_models.volumes.intake import read_volume
from mri_models.volumes.pipeline import Progress, VolumePipeline, name_of

STYLE_SHEET = Path(__file__).with_name("volume.css")
VIEWER = Path(__file__).with_name("static") / "niivue.umd.js"
EXAMPLES = "volumes"  # folder below examples/
PAGE_ONLY: dict[str, Any] = {"api_visibility": "private"}
Steps = Generator[Progress | VolumeReport, None, None]


class VolumeReader:
    """The volume pipeline as the page uses it: every step of progress, then the report.

    `lend` wraps what needs a GPU; Hugging Face lends one to a process of its own, where a generator may run.
    """

    def __init__(
        self,
        pipeline: VolumePipeline,
        lend: Callable[[Callable], Callable] = lambda function: function,
        traffic: Traffic | None = None,
    ):
        traffic = traffic or Traffic()

        def look(files: Sequence[str | Path]) -> Steps:
            name, pace = name_of(files) if files else "none", traffic.after_verdicts(VOLUME_S)
            walk = pipeline.walk(files, name)
            try:
                while True:
                    with pace.kept():  # not around the yield: whoever takes the step may do so in another context
                        step = next(walk)
                    yield step
            except StopIteration as end:
                yield end.value
            except ServiceError as error:
                error.log_cause()
                yield pipeline.refuse(error, name)
            finally:
                memory.give_back()

        self.look: Callable[[Sequence[str | Path]], Steps] = lend(look)

    def report(self, files: Sequence[str | Path]) -> VolumeReport:
        """Only the report."""
        *_, report = self.look(files)
        return report


def volume_tab(reader: VolumeReader, examples: Path) -> None:
    """Fill the tab and connect it; call inside `with gr.Tab`."""
    known = load_examples(examples / EXAMPLES)
    desk = lay_out(gallery(known, _middle, "Examples"))

    def show(session: Session, asked: int, files: Sequence[str | Path]) -> Iterator[dict[Any, Any]]:
        if not session.show(asked):
            yield gr.skip()
            return
        for step in reader.look(files):
            yield _waiting(desk, step) if isinstance(step, Progress) else _answer(desk, step)

    @handler
    def show_upload(session: Session, asked: int, files: list[str] | None) -> Iterator[dict[Any, Any]]:
        yield from show(session, asked, files or ())

    @handler
    def show_example(session: Session, asked: int, event: gr.EventData) -> Iterator[dict[Any, Any]]:
        yield from show(session, asked, [known[event.name].path])

    numbered = [desk.session, desk.asked]
    kept = (*numbered, desk.tiles)
    answer = [part for field in dataclasses.fields(desk) if (part := getattr(desk, field.name)) not in kept]
    options = {"js": NUMBER_JS, "trigger_mode": "multiple", "show_progress": "hidden", **ON_VOLUMES, **PAGE_ONLY}
    desk.drop.upload(show_upload, [*numbered, desk.drop], answer, **options)
    desk.tiles.select(show_example, numbered, answer, **options)


def volume_call(reader: VolumeReader) -> Callable[[list[str]], dict[str, Any]]:
    """What the named endpoint /analyze_volume does; the docstring and hint are what API and MCP clients read."""

    def analyze_volume(files: list[str]) -> dict[str, Any]:
        """Analyse one MRI volume slice by slice. A bad one gives a report with status "rejected", not an error.

        Args:
            files: one NIfTI file (.nii, .nii.gz), one ZIP archive, or all files of one DICOM series; 64 MB together.
        """
        return reader.report(files or ()).to_dict()

    return analyze_volume


def viewer_route() -> Route:
    """NiiVue from our own server, packed once: a browser never asks anybody else."""
    return Route("/viewer/niivue.js", _viewer)


async def _viewer(_: Request) -> Response:
    headers = {"Content-Encoding": "gzip", "Cache-Control": "public, max-age=86400"}
    return Response(_packed_viewer(), media_type="text/javascript", headers=headers)


@cache
def _packed_viewer() -> bytes:
    return gzip.compress(VIEWER.read_bytes(), 6, mtime=0)


def _waiting(desk: VolumeDesk, step: Progress) -> dict[Any, Any]:
    return {
        desk.way: render.way(),
        desk.verdict: volume_render.progress(step),
        desk.evidence: gr.Column(visible=False),
        desk.details: gr.Accordion(visible=False),
    }


def _answer(desk: VolumeDesk, report: VolumeReport) -> dict[Any, Any]:
    return {
        desk.drop: None,  # ready for the next volume
        desk.way: render.way(report),
        desk.verdict: volume_render.verdict(report) + volume_render.downloads(report),
        desk.evidence: gr.Column(visible=report.volume is not None),
        desk.view: volume_view.view(report),
        desk.plot: volume_plot.plot(report) + volume_plot.table(report),
        desk.scores: render.scores(report),
        desk.measures: volume_render.measures(report),
        desk.details: gr.Accordion(visible=True),
        desk.json: report.to_dict(),
    }


def _middle(path: Path) -> Scan:
    """The thumbnail of an example."""
    volume = read_volume(path)
    return volume.scan(volume.shape[0] // 2)
