"""The Analyse tab's components and where they stand; app.py connects them."""

from __future__ import annotations

import dataclasses
from typing import Any

import gradio as gr

from mri_models.explain import METHODS
from mri_models.page import paper, render
from mri_models.page.gallery import SELECT_JS
from mri_models.page.session import Session
from mri_models.page.viewer import VIEW_JS

PLAIN: dict[str, Any] = {"apply_default_css": False}  # page.css alone dresses our HTML
METHOD_CHOICES = [(render.METHOD_NAMES[method], method) for method in METHODS]
# A live region must outlive its content; after a click on a low tile, or on a phone, the answer is out of sight.
# Of work that shows its progress, only start and end are scrolled to.
ANNOUNCE_JS = """
element.setAttribute('aria-live', 'polite');
let busy = false;
watch('value', () => {
  const was = busy;
  busy = Boolean(element.querySelector('progress'));
  if (was && busy) return;
  const way = element.closest('[role=tabpanel]').querySelector('#way, #vol-way');
  const { top } = way.getBoundingClientRect();
  if (top < 0 || top > innerHeight / 2) way.scrollIntoView();
});
"""


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Desk:
    """The components of the Analyse tab."""

    session: gr.State
    asked: gr.Number
    shown: gr.State
    drop: gr.File
    tiles: gr.HTML
    way: gr.HTML
    verdict: gr.HTML
    evidence: gr.Row
    viewer: gr.Column
    view: gr.HTML
    note: gr.HTML
    method: gr.Radio
    scores: gr.HTML
    maps: gr.HTML
    compare: gr.Button
    outlined: gr.HTML
    unusual: gr.HTML
    paper: paper.Paper
    details: gr.Accordion
    json: gr.JSON


def lay_out(tiles: str) -> Desk:
    """Rail (drop zone, examples) and reading desk (way, verdict, evidence); `tiles` is the gallery's HTML."""
    with gr.Row(elem_id="desk"):
        with gr.Column(scale=4, min_width=300, elem_id="rail"):
            rail = {
                "drop": gr.File(label="MRI image: PNG, JPEG or DICOM, up to 5 MB", elem_id="drop", height=170),
                "tiles": gr.HTML(tiles, js_on_load=SELECT_JS, elem_id="gallery", **PLAIN),
            }
        with gr.Column(scale=9, min_width=300, elem_id="reading"):
            answer = {
                "way": gr.HTML(render.way(), elem_id="way", **PLAIN),
                "verdict": gr.HTML(render.invitation(), js_on_load=ANNOUNCE_JS, elem_id="verdict", **PLAIN),
            }
            with gr.Row(visible=False, elem_id="evidence") as evidence:
                with gr.Column(min_width=280, visible=False) as viewer:
                    looked = {
                        "view": gr.HTML(js_on_load=VIEW_JS, elem_id="view", **PLAIN),
                        "note": gr.HTML(elem_id="note", **PLAIN),
                        # always all of them: Gradio refuses a visitor's choice that another image took away
                        "method": gr.Radio(METHOD_CHOICES, value=METHODS[0], label="Method", elem_id="method"),
                    }
                with gr.Column(min_width=280):
                    scores = gr.HTML(elem_id="scores", **PLAIN)
            compared = {
                "maps": gr.HTML(visible=False, elem_id="maps", **PLAIN),
                "compare": gr.Button("Compare", visible=False, size="md", elem_id="compare"),
            }
            outlined = gr.HTML(visible=False, elem_id="outlined", **PLAIN)
            unusual = gr.HTML(visible=False, elem_id="unusual", **PLAIN)
            report = paper.lay_out()
            with gr.Accordion("The same as JSON", open=False, visible=False, elem_id="details") as details:
                json = gr.JSON(show_label=False)
    shown = gr.State(time_to_live=600)
    return Desk(
        session=gr.State(Session()),
        asked=gr.Number(visible=False, precision=0),
        shown=shown,
        evidence=evidence,
        viewer=viewer,
        scores=scores,
        outlined=outlined,
        unusual=unusual,
        paper=report,
        details=details,
        json=json,
        **rail,
        **answer,
        **looked,
        **compared,
    )
