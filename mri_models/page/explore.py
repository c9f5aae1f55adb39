"""The Explore tab: figures of figures.json, of the models' configs, and of the bundled images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from mri_models.errors import WeightsError
from mri_models.figures import REMAKE, Figures, learning_curves, load_figures
from mri_models.page import explore_answers, explore_data, explore_pictures, explore_training
from mri_models.page.explore_shown import ANY, Shown
from mri_models.page.gallery import Example
from mri_models.page.render import model_name, name_of
from mri_models.types import Scan

STYLE_SHEET = Path(__file__).with_name("explore.css")
SCRIPT = Path(__file__).with_name("explore.js")
ANSWERS, DATA, TRAINING, PICTURES = "Answers", "Data", "Training", "Pictures"
FIRST = "diagnosis/brain"
PAGE_ONLY: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}


@dataclass(frozen=True)
class Explorer:
    """What the tab shows; reads its numbers when first asked.

    folder: the weights. models: SHA-256 by name of those that are loaded. corpus: of images that may be shown, if any.
    """

    folder: Path
    models: Mapping[str, str]
    examples: Mapping[str, Example]
    read: Callable[[Path], Scan]
    corpus: Path | None = None

    @cached_property
    def figures(self) -> Figures | WeightsError:
        """The numbers, or why there are none."""
        try:
            return load_figures(self.folder)
        except WeightsError as error:
            return error

    @property
    def stages(self) -> list[str]:
        """The stages with numbers, the brain patterns first."""
        known = [] if isinstance(self.figures, WeightsError) else list(self.figures.stages)
        return sorted(known, key=lambda name: name != FIRST)

    def labels(self, stage: str) -> list[str]:
        """The answers that a stage may give."""
        return [] if isinstance(self.figures, WeightsError) else list(self.figures.stages[stage].classes)

    def draw(self, view: str, stage: str | None, answer: str = ANY, familiar: bool = True) -> str:
        """HTML of one view; one sentence where its numbers are missing."""
        if view == PICTURES:
            return self._montage
        if view == TRAINING:
            return explore_training.training(learning_curves(self.folder))
        if isinstance(self.figures, WeightsError) or stage is None:
            return empty(self.figures)
        if view == DATA:
            counts = explore_data.distribution(self.figures.counts.get(stage, ()), model_name(stage))
            return counts + explore_data.profiles(self.figures.greys)
        found = self.figures.stages[stage]
        answer = answer if answer in found.classes else ANY
        return self._origin(stage) + explore_answers.panel(Shown(found, answer, familiar))

    @cached_property
    def _montage(self) -> str:
        return explore_pictures.montage(self.examples, self.read, self.corpus)

    def _origin(self, stage: str) -> str:
        """Where the numbers come from, and a warning when that is not what is loaded."""
        found = self.figures.stages[stage]
        if stage in self.figures.stale(self.models):
            return (
                '<p class="exp-stale">These numbers were measured on other weights than those that are loaded. '
                f"Measure again with <code>{escape(REMAKE)}</code>.</p>"
            )
        return (
            f'<p class="mri-quiet exp-origin">{escape(model_name(stage))}: {found.images:,} {self.figures.split} '
            f"images of {found.patients:,} patients or groups.</p>"
        )


def empty(error: object) -> str:
    """What stands where figures would be."""
    why = error.message if isinstance(error, WeightsError) else f"There are no measured stages. Run `{REMAKE}`."
    text = escape(why).replace(f"`{REMAKE}`", f"<code>{REMAKE}</code>")
    return f'<p class="mri-quiet exp-empty">{text}</p>'


def explore_tab(tab: gr.Tab, explorer: Explorer) -> None:
    """Fill the tab and connect it; call inside `with tab`. Figures are drawn when the tab is first opened."""
    stages = [(model_name(name), name) for name in explorer.stages]
    first = explorer.stages[0] if stages else None
    with gr.Column(elem_id="explore"):
        view = gr.Radio(
            [ANSWERS, DATA, TRAINING, PICTURES],
            value=ANSWERS,
            label="Look at",
            elem_classes="mri-chips",
            elem_id="exp-view",
        )
        with gr.Row(elem_id="exp-choices", visible=bool(stages)) as choices:
            stage = gr.Radio(stages, value=first, label="Model", elem_classes="mri-chips", elem_id="exp-stage")
            answer = gr.Radio(_answers(explorer, first), value=ANY, label="Answer", elem_classes="mri-chips")
            familiar = gr.Checkbox(True, label="Refuse what looks unfamiliar, as served", elem_id="exp-familiar")
        board = gr.HTML(js_on_load=SCRIPT.read_text("utf-8"), elem_id="exp-board", apply_default_css=False)
    inputs = [view, stage, answer, familiar]

    def turn(chosen: str, *how: Any) -> dict[Any, Any]:
        """Another view: only the choices that it heeds are shown."""
        answers = chosen == ANSWERS
        return {
            choices: gr.Row(visible=bool(stages) and (answers or chosen == DATA)),
            answer: gr.Radio(visible=answers),
            familiar: gr.Checkbox(visible=answers),
            board: explorer.draw(chosen, *how),
        }

    def choose(chosen: str, model: str, known: bool) -> tuple[Any, str]:
        """Another model has other answers."""
        return gr.Radio(_answers(explorer, model), value=ANY), explorer.draw(chosen, model, ANY, known)

    tab.select(explorer.draw, inputs, board, **PAGE_ONLY)
    view.input(turn, inputs, [choices, answer, familiar, board], **PAGE_ONLY)
    stage.input(choose, [view, stage, familiar], [answer, board], **PAGE_ONLY)
    for event in (answer.input, familiar.input):
        event(explorer.draw, inputs, board, **PAGE_ONLY)


def _answers(explorer: Explorer, stage: str | None) -> list[tuple[str, str]]:
    return [("any", ANY), *((name_of(label), label) for label in (explorer.labels(stage) if stage else ()))]
