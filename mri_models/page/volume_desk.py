"""The Volume tab's components and where they stand; volume_tab connects them."""

from __future__ import annotations

import dataclasses
from typing import Any

import gradio as gr

from mri_models.page import render, volume_render
from mri_models.page.desk import ANNOUNCE_JS
from mri_models.page.gallery import SELECT_JS as TILES_JS
from mri_models.page.session import Session
from mri_models.page.volume_plot import SELECT_JS
from mri_models.page.volume_view import SCRIPT

PLAIN: dict[str, Any] = {"apply_default_css": False}  # the style sheets alone dress our HTML


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class VolumeDesk:
    """The components of the Volume tab."""

    session: gr.State
    asked: gr.Number
    drop: gr.File
    tiles: gr.HTML
    way: gr.HTML
    verdict: gr.HTML
    evidence: gr.Column
    view: gr.HTML
    plot: gr.HTML
    scores: gr.HTML
    measures: gr.HTML
    details: gr.Accordion
    json: gr.JSON


def lay_out(tiles: str) -> VolumeDesk:
    """Rail (drop zone, examples) and reading desk; `tiles` is the gallery's HTML."""
    with gr.Row(elem_id="vol-desk"):
        with gr.Column(scale=4, min_width=300, elem_id="vol-rail"):
            drop = gr.File(
                label="NIfTI, or one DICOM series as files or ZIP, up to 64 MB",
                file_count="multiple",
                elem_id="vol-drop",
                elem_classes="mri-drop",
                height=170,
            )
            gallery = gr.HTML(tiles, js_on_load=TILES_JS, elem_id="vol-gallery", **PLAIN)
        with gr.Column(scale=9, min_width=300):
            way = gr.HTML(render.way(), elem_id="vol-way", **PLAIN)
            verdict = gr.HTML(volume_render.invitation(), js_on_load=ANNOUNCE_JS, elem_id="vol-verdict", **PLAIN)
            with gr.Column(visible=False, elem_id="vol-evidence") as evidence:
                view = gr.HTML(js_on_load=SCRIPT.read_text("utf-8"), elem_id="vol-view", **PLAIN)
                plot = gr.HTML(js_on_load=SELECT_JS, elem_id="vol-plot", **PLAIN)
                with gr.Row():
                    with gr.Column(min_width=280):
                        scores = gr.HTML(elem_id="vol-scores", **PLAIN)
                    with gr.Column(min_width=280):
                        measures = gr.HTML(elem_id="vol-measures", **PLAIN)
            with gr.Accordion("The same as JSON", open=False, visible=False, elem_id="vol-details") as details:
                json = gr.JSON(show_label=False)
    session, asked = gr.State(Session()), gr.Number(visible=False, precision=0)
    return VolumeDesk(
        session, asked, drop, gallery, way, verdict, evidence, view, plot, scores, measures, details, json
    )
