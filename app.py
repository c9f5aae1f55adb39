"""The Space: `python app.py`. Layout, events and error mapping; what things look like is in mri_models/page."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from mri_models.drift.live import LiveMonitor
from mri_models.errors import WeightsError
from mri_models.explain import METHODS, overlay
from mri_models.page import explained, frame, memory, outlined, paper, render, server, unusual
from mri_models.page.desk import Desk, lay_out
from mri_models.page.explore import STYLE_SHEET as EXPLORE_STYLE
from mri_models.page.explore import Explorer, explore_tab
from mri_models.page.gallery import Example, gallery, load_examples
from mri_models.page.monitor import Player, drift_call, monitor_tab
from mri_models.page.session import NUMBER_JS, Answer, Ordered, Session
from mri_models.page.shown import File, Reader, Shown
from mri_models.page.theme import STYLE_SHEET, ReadingRoom
from mri_models.page.traffic import (
    MOST_WAITING,
    ON_BATCHES,
    ON_CALLS,
    ON_MAPS,
    ON_VERDICTS,
    ON_VOLUMES,
    Traffic,
    handler,
)
from mri_models.page.uploads import private_folder
from mri_models.page.viewer import OPACITY, view
from mri_models.page.volume_tab import STYLE_SHEET as VOLUME_STYLE
from mri_models.page.volume_tab import VolumeReader, viewer_route, volume_call, volume_tab
from mri_models.pipeline import Pipeline
from mri_models.volumes.pipeline import VolumePipeline

try:
    import spaces
except ImportError:  # only Hugging Face's GPU Spaces have it
    spaces = None

TITLE = "MRI patterns"
EXAMPLES = Path(__file__).with_name("examples")
ABOUT = Path(render.__file__).with_name("about.md")
MAX_BATCH = 32
SESSIONS = 200  # whose last image and maps are held; the oldest is told that its image is held no longer
UPLOAD_LIMIT = "66mb"  # above the intakes' own 5 and 64 MB, whose refusals explain themselves; beyond: HTTP 413
PAGE_ONLY: dict[str, Any] = {"api_visibility": "private"}


def build_app(pipeline: Pipeline, examples: Path = EXAMPLES, volumes: VolumePipeline | None = None) -> gr.Blocks:
    """The page and its named endpoints; start it with `launch`."""
    known = load_examples(examples)
    corpus = Path(folder) if (folder := os.environ.get("MRI_CORPUS")) else None
    explorer = Explorer(pipeline.folder, pipeline.hashes, known, pipeline.read, corpus)
    monitor = LiveMonitor.from_weights(pipeline.folder, pipeline.judges)
    lend = {"lend": spaces.GPU(duration=60)} if spaces else {}
    traffic = Traffic()
    reader = Reader(pipeline, monitor.remember, traffic=traffic, **lend)
    volume_reader = VolumeReader(volumes or VolumePipeline(pipeline), traffic=traffic, **lend)
    with Ordered(title=TITLE, analytics_enabled=False, delete_cache=(600, 600), fill_width=True) as demo:
        gr.HTML(frame.header(), apply_default_css=False)
        with gr.Tabs():
            with gr.Tab("Analyse"):
                _connect(lay_out(gallery(known, pipeline.read)), reader, known)
            with gr.Tab("Volume"):
                volume_tab(volume_reader, examples)
            with gr.Tab("Explore") as tab:
                explore_tab(tab, explorer)
            with gr.Tab("Monitor") as tab:
                monitor_tab(tab, monitor, Player(pipeline.folder))
            with gr.Tab("Models"):
                _models_tab(pipeline.cards)
            with gr.Tab("About"):
                gr.Markdown(ABOUT.read_text(encoding="utf-8"), elem_classes="mri-prose")
        gr.HTML(frame.footer(), js_on_load=frame.SCRIPT.read_text("utf-8"), apply_default_css=False)
        _endpoints(reader, volume_reader, monitor)
    return demo.queue(max_size=MOST_WAITING)


def launch(demo: gr.Blocks, **options: Any) -> tuple[Any, str, str]:
    """Start the server: own look, /healthz, no analytics, no history. `options` go to Gradio's launch."""
    memory.hold_no_values()
    settings: dict[str, Any] = {
        "theme": ReadingRoom(),
        "css_paths": [STYLE_SHEET, VOLUME_STYLE, EXPLORE_STYLE],
        "footer_links": [],  # the page has its own
        "app_kwargs": server.app_kwargs(viewer_route()),
        "max_file_size": UPLOAD_LIMIT,
        "show_error": True,
        "run_history": False,
        "enable_monitoring": False,
        "state_session_capacity": SESSIONS,
        "ssr_mode": False,  # one process, and /healthz is not behind Node
    }
    return demo.launch(**settings | options)


def _connect(desk: Desk, reader: Reader, examples: Mapping[str, Example]) -> None:
    def show(session: Session, asked: int, file: File) -> Answer:
        seen = dataclasses.replace(reader.look(file), asked=asked)
        return Answer(_answer(desk, seen), partial(session.show, asked))

    @handler
    def show_upload(session: Session, asked: int, file: str) -> Answer:
        return show(session, asked, file)

    @handler
    def show_example(session: Session, asked: int, event: gr.EventData) -> Answer:
        return show(session, asked, examples[event.name].path)

    numbered = [desk.session, desk.asked]
    kept = (*numbered, desk.tiles, desk.paper)
    answer = [part for field in dataclasses.fields(desk) if (part := getattr(desk, field.name)) not in kept]
    answer.append(desk.paper.fold)
    waiting = {"js": NUMBER_JS, "trigger_mode": "multiple", "show_progress": "minimal", "show_progress_on": desk.way}
    ends = [desk.drop.upload(None, **PAGE_ONLY), desk.tiles.select(None, **PAGE_ONLY)]  # of the last image's maps
    uploaded = desk.drop.upload(show_upload, [*numbered, desk.drop], answer, **waiting, **ON_VERDICTS, **PAGE_ONLY)
    chosen = desk.tiles.select(show_example, numbered, answer, **waiting, **ON_VERDICTS, **PAGE_ONLY)
    mapped = explained.connect(desk, reader, [uploaded, chosen], ends, handler, **ON_MAPS, **PAGE_ONLY)
    paper.connect(desk.paper, desk.shown, [uploaded.success, chosen.success, *mapped], **PAGE_ONLY)


def _answer(desk: Desk, seen: Shown) -> dict[Any, Any]:
    """The verdict at once; the map follows."""
    return {
        desk.shown: seen,
        desk.drop: None,  # ready for the next file
        desk.way: render.way(seen.report),
        desk.verdict: render.verdict(seen.report),
        desk.evidence: gr.Row(visible=True),
        desk.viewer: gr.Column(visible=seen.scan is not None),
        desk.view: view(seen.scan, seen.report),
        desk.method: gr.Radio(visible=len(seen.methods) > 1),
        desk.note: render.map_note(None) if seen.explainable else explained.unexplained(seen.report),
        desk.maps: gr.HTML("", visible=False),
        desk.compare: gr.Button(visible=False),
        desk.scores: render.scores(seen.report),
        desk.outlined: gr.HTML(outlined.panel(seen.scan, seen.report), visible=seen.report.localization is not None),
        desk.unusual: gr.HTML(unusual.panel(seen.report), visible=True),
        desk.paper.fold: gr.Accordion(visible=True),
        desk.details: gr.Accordion(visible=True),
        desk.json: seen.report.to_dict(),
    }


def _models_tab(cards: Mapping[str, str]) -> None:
    first = next(iter(cards), None)
    names = [(render.model_name(model), model) for model in cards]
    choice = gr.Radio(names, value=first, label="Model", elem_id="models")
    card = gr.Markdown(cards.get(first, "No model is loaded."), elem_id="card", elem_classes="mri-prose")
    choice.input(cards.get, choice, card, show_progress="hidden", **PAGE_ONLY)


def _endpoints(reader: Reader, volume_reader: VolumeReader, monitor: LiveMonitor) -> None:
    """Named endpoints for gradio_client, curl and MCP; their components stay hidden."""
    analyze, analyze_batch, explain = _calls(reader)
    with gr.Column(visible=False):
        file, files = gr.File(label="file"), gr.File(label="files", file_count="multiple")
        flag, report = gr.Checkbox(False, label="explain"), gr.JSON(label="report")
        method = gr.Radio(list(METHODS), value=METHODS[0], label="method")
        opacity, image = gr.Slider(0, 1, OPACITY, label="opacity"), gr.Image(label="overlay", format="png")
        fields, call = paper.hidden_fields(), gr.Button()
    call.click(analyze, [file, flag], report, api_name="analyze", **ON_CALLS)
    call.click(analyze_batch, files, report, api_name="analyze_batch", **ON_BATCHES)
    call.click(explain, [file, method, opacity], [image, report], api_name="explain", **ON_MAPS)
    call.click(handler(paper.report_call(reader)), [file, *fields], report, api_name="report", **ON_MAPS)
    volume = handler(volume_call(volume_reader))
    call.click(volume, files, report, api_name="analyze_volume", **ON_VOLUMES)
    call.click(drift_call(monitor), None, report, api_name="drift")


def _calls(reader: Reader) -> tuple[Callable, Callable, Callable]:
    """What the named endpoints do; the docstrings and hints are what API and MCP clients read."""

    @handler
    def analyze(file: str, explain: bool = False) -> dict[str, Any]:
        """Analyse one MRI image. A bad image gives a report with status "rejected", not an error.

        Args:
            file: PNG, JPEG, TIFF, BMP, GIF, WebP or single-frame DICOM, up to 5 MB.
            explain: also compute Integrated Gradients and report the completeness gap (slower).
        """
        seen = reader.look(file)
        return (reader.explain(seen, METHODS[0]) if explain else seen).report.to_dict()

    @handler
    def analyze_batch(files: list[str]) -> list[dict[str, Any]]:
        """Analyse up to 32 images; the reports come in the order of the files.

        Args:
            files: PNG, JPEG, TIFF, BMP, GIF, WebP or single-frame DICOM, up to 5 MB each.
        """
        if len(files or ()) > MAX_BATCH:
            raise gr.Error(
                f"{len(files)} files sent, at most {MAX_BATCH} a call: send them in parts.", print_exception=False
            )
        return reader.look_at_all(files or ())

    @handler
    def explain(
        file: str, method: str = METHODS[0], opacity: float = OPACITY
    ) -> tuple[Image.Image | None, dict[str, Any]]:
        """Show where the model looked: an overlay (red speaks for the class, blue against it) and the report.

        An image that lies on its side or stands on its head is shown upright, see the report's orientation.

        The report's explanation.checks says whether this very map may be believed, failed_study what test patients say.

        Args:
            file: PNG, JPEG, TIFF, BMP, GIF, WebP or single-frame DICOM, up to 5 MB.
            method: integrated_gradients, grad_cam, layer_cam, consensus, shap or occlusion.
            opacity: strength of the colours, 0 to 1.
        """
        seen = reader.look(file)
        seen = reader.check(reader.explain(seen, method))
        found = seen.report.explanation
        return found and overlay(seen.scan, found, opacity), seen.report.to_dict()

    return analyze, analyze_batch, explain


def main() -> int:
    """Load the weights and serve until interrupted or terminated; 1 and a line of words when the weights can't be used.

    Termination goes the way of Ctrl-C, so that no upload outlives the server.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    memory.share_heaps()
    try:
        pipeline = Pipeline.from_pretrained()
    except WeightsError as error:
        print(error.message, file=sys.stderr)
        return 1
    with private_folder(), suppress(KeyboardInterrupt):  # Gradio expects it only once the server is up
        launch(build_app(pipeline))
    return 0


if __name__ == "__main__":
    sys.exit(main())
