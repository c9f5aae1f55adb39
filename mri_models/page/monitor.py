"""The Monitor tab: what the app has seen lately against the reference, and a simulation to play with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from html import escape
from pathlib import Path
from time import sleep
from typing import Any

import gradio as gr

from mri_models.drift import FOLDER, draw
from mri_models.drift.levels import State
from mri_models.drift.live import LiveMonitor, by_group
from mri_models.drift.monitors import LEVELS
from mri_models.drift.profile import Profile, load_profile
from mri_models.drift.replay import BEFORE, TITLES, Look, Simulated, load_simulated, play
from mri_models.errors import WeightsError

PAUSE = 0.25  # seconds between two looks of a played stream, slow enough to watch
PAGE_ONLY: dict[str, Any] = {"api_visibility": "private"}
PLAIN: dict[str, Any] = {"apply_default_css": False}
# Told to screen readers: the alarm rings while the visitor's focus is on the button.
ANNOUNCE_JS = "element.setAttribute('aria-live', 'polite');"
INVITATION = (
    '<p class="mri-quiet">Choose what goes wrong and how badly, then play: fifty stored images of test patients pass, '
    "then sixty that were changed. Only scalars are stored, so nothing is uploaded and no network runs.</p>"
)
MEANING = (
    '<p class="mri-quiet mon-empty">The latest images differ from those that the models were checked on, so their '
    "scores mean less. On a public page, where anyone tries anything, that is to be expected.</p>"
)


@dataclass(frozen=True)
class Player:
    """Streams from the scalars below a weights folder; reads them when first asked."""

    folder: Path

    @cached_property
    def _stored(self) -> tuple[Simulated, Profile]:
        profile = load_profile(self.folder / FOLDER)
        return load_simulated(self.folder / FOLDER, profile.models), profile

    def stream(self, drift: str, severity: int) -> Iterator[str]:
        """HTML after each look; one sentence when there is nothing to play."""
        try:
            simulated, profile = self._stored
        except WeightsError as error:
            yield f'<p class="mri-quiet">{escape(error.message)}</p>'
            return
        looks: list[Look] = []
        for look in play(simulated, profile, drift, int(severity)):
            looks.append(look)
            yield played(looks, f"Simulation: {TITLES[drift].lower()}, severity {int(severity)}")


def monitor_tab(tab: gr.Tab, monitor: LiveMonitor, player: Player) -> None:
    """Fill the tab and connect it; call inside `with tab`."""
    with gr.Column(elem_id="monitor"):
        live = gr.HTML(shown(monitor), js_on_load=ANNOUNCE_JS, elem_id="live", **PLAIN)
        refresh = gr.Button("Look again", size="sm", elem_id="look")
        gr.HTML("<h2>Play a drift</h2>", elem_id="play-head", **PLAIN)
        with gr.Row(elem_id="play-choices"):
            drift = gr.Dropdown(
                [(title, name) for name, title in TITLES.items()], value="blur", label="What goes wrong", min_width=220
            )
            severity = gr.Slider(1, 5, value=3, step=1, label="Severity", min_width=220)
        with gr.Row(elem_id="play-buttons"):
            start = gr.Button("Play", variant="primary", elem_id="play")
            reset = gr.Button("Reset", elem_id="reset")
        stage = gr.HTML(INVITATION, js_on_load=ANNOUNCE_JS, elem_id="played", **PLAIN)

    def run(name: str, strength: float) -> Iterator[str]:
        for html in player.stream(name, int(strength)):
            yield html
            sleep(PAUSE)

    for event in (tab.select, refresh.click):
        event(lambda: shown(monitor), None, live, show_progress="hidden", **PAGE_ONLY)
    playing = start.click(run, [drift, severity], stage, show_progress="hidden", concurrency_limit=4, **PAGE_ONLY)
    reset.click(lambda: INVITATION, None, stage, cancels=[playing], show_progress="hidden", **PAGE_ONLY)


def drift_call(monitor: LiveMonitor) -> Callable[[], dict[str, Any]]:
    """What the named endpoint /drift does; the docstring and hint are what API and MCP clients read."""

    def drift() -> dict[str, Any]:
        """How the images that this app analysed lately compare with the reference: state of every monitor.

        The state is "ok", "watch", "alert", "insufficient" (fewer than 20 images), "stale" or "missing" (no usable
        reference). Scalars only; nothing about a single image is returned.
        """
        return monitor.state()

    return drift


def shown(monitor: LiveMonitor) -> str:
    """The live state as HTML."""
    state = monitor.state()
    meaning = MEANING if state["state"] in ("watch", "alert") else ""
    return draw.glance(state) + meaning + _evidence(state["history"], state["monitors"])


def played(looks: list[Look], title: str) -> str:
    """Headline, curves and monitors after some looks of a simulated stream."""
    states = {reading.monitor: State() for reading in looks[0].readings}
    for look in looks:
        for reading in look.readings:
            states[reading.monitor] = states[reading.monitor].after(reading.level, f"image {BEFORE + look.images}")
    monitors = [reading.to_dict() | {"level": states[reading.monitor].level} for reading in looks[-1].readings]
    level = max((m["level"] for m in monitors), key=LEVELS.index)
    rang = next((look.images for look in looks if any(r.level == "alert" for r in look.readings)), None)
    drifted = [m for m in monitors if m["level"] in ("watch", "alert")]
    strongest = max(drifted, key=lambda m: m["strength"] or 0, default=None)
    state = {
        "state": level,
        "since": None,
        "strongest": strongest,
        "message": _message(rang, looks[-1].images),
        "images": {"seen": 0, "judged": 0},
        "storage": {"message": "Simulated from stored scalars; these are not this app's visitors."},
    }
    history = [{"images": BEFORE + look.images, "strength": by_group(look.readings)} for look in looks]
    return draw.glance(state, title) + _evidence(history, monitors, BEFORE)


def _evidence(history: draw.History, monitors: Sequence[Mapping[str, Any]], turn: int | None = None) -> str:
    """Groups, curves, and every monitor, unfolded where one has something to say."""
    if not history:
        return ""
    spoken = any(monitor["level"] in ("watch", "alert") for monitor in monitors)
    every = f"<details{' open' if spoken else ''}><summary>All monitors</summary>{draw.board(monitors)}</details>"
    return f"{draw.groups(monitors)}{draw.curves(history, turn)}{every}"


def _message(rang: int | None, images: int) -> str:
    if rang:
        return f"The alarm rang within {rang} changed images."
    if rang == 0:
        return "A false alarm: it rang before the change began."
    return f"{images} changed images so far, and no alarm." if images else "Undrifted images, as a start."
