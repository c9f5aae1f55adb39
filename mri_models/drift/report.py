"""`drift report`: one HTML file that needs nothing else, with plots, and the same as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mri_models.drift import draw
from mri_models.drift.live import RECENT, LiveMonitor
from mri_models.drift.log import read_log, weights_key
from mri_models.drift.monitors import MONITORS, data_of
from mri_models.drift.observe import Window
from mri_models.drift.profile import Profile
from mri_models.drift.replay import AFTER, BEFORE, TITLES, Simulated
from mri_models.errors import DataError
from mri_models.types import DISCLAIMER

SHOWN = 8  # histograms, of the monitors that moved most
_STYLE = Path(__file__).parents[1] / "page" / "page.css"  # the report looks like the page
_DARK = "document.documentElement.classList.toggle('dark', matchMedia('(prefers-color-scheme: dark)').matches)"


@dataclass(frozen=True, slots=True, eq=False)
class Content:
    """title: what was judged. state: as /drift gives it. recent: the images judged last. turn: see `draw.curves`."""

    title: str
    state: Mapping[str, Any]
    recent: Window
    profile: Profile
    turn: int | None = None


def of_folder(folder: Path, profile: Profile) -> Content:
    """What a monitor folder (MRI_MONITOR_DIR) remembers of the profile's weights. Raises DataError without one."""
    try:
        entries, damaged = read_log(folder)
    except OSError as error:
        message = f"{folder} can't be read ({error.strerror}). Give the folder that MRI_MONITOR_DIR names."
        raise DataError("bad_folder", message) from error
    key = weights_key(profile.models)
    ours = [entry for entry in entries if entry.weights == key]
    moments = iter([entry.at for entry in ours])
    monitor = LiveMonitor(profile, profile.models, clock=lambda: next(moments))
    for entry in ours:
        monitor.add(entry.observation)
    others = len(entries) - len(ours)
    left_out = f"; {damaged} damaged lines and {others} images of other weights left out"
    title = f"{len(ours)} images of {folder.name}{left_out if damaged or others else ''}"
    recent = Window.of([entry.observation for entry in ours][-RECENT:])
    return Content(title, _stated(monitor, f"From the files of {folder.name}."), recent, profile)


def of_simulation(simulated: Simulated, profile: Profile, drift: str, severity: int) -> Content:
    """A calm stream that turns. Raises DataError for a drift that there is not."""
    if drift not in TITLES:
        raise DataError("unknown_drift", f"There is no drift {drift!r}. Choose one of {', '.join(TITLES)}.")
    rng = np.random.default_rng(0)
    calm, turned = simulated.draw(None, 0, BEFORE, rng), simulated.draw(drift, severity, AFTER, rng)
    stream = simulated.window.take(np.concatenate([calm, turned]))
    moments = iter(f"image {number}" for number in range(1, len(stream) + 1))
    monitor = LiveMonitor(profile, profile.models, clock=lambda: next(moments))
    for observation in stream.observations():
        monitor.add(observation)
    title = f"Simulation: {TITLES[drift].lower()} of severity {severity} from image {BEFORE} on"
    recent = stream.take(np.arange(len(stream) - RECENT, len(stream)))
    return Content(title, _stated(monitor, "Simulated from stored scalars."), recent, profile, BEFORE)


def write(content: Content, out: Path) -> Path:
    """report.html and report.json below `out`; gives the path of the first."""
    out.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"title": content.title} | dict(content.state), indent=1)
    (out / "report.json").write_text(text + "\n", encoding="utf-8")
    path = out / "report.html"
    path.write_text(html(content), encoding="utf-8")
    return path


def html(content: Content) -> str:
    """The whole page as text."""
    state, facts = content.state, content.profile.facts
    basis = (
        f"Reference: {facts.get('images')} images of {facts.get('patients')} {facts.get('split')} patients. Limits are "
        f"set so that {facts.get('false_alert_rate', 0):.0%} of undrifted windows raise any alert at a single look."
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Drift report</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE.read_text(encoding='utf-8')}</style><script>{_DARK}</script></head>"
        '<body class="mon-report gradio-container"><main><h1>Drift report</h1>'
        f"{draw.glance(state, content.title)}{draw.groups(state['monitors'])}"
        f"<h2>Over time</h2>{draw.curves(state['history'], content.turn)}"
        "<h2>What moved most</h2>"
        f'<p class="mri-quiet">Grey: the reference. Line: the last {RECENT} images.</p>{_histograms(content)}'
        f"<h2>All monitors</h2>{draw.board(state['monitors'])}"
        f'<p class="mri-quiet">{escape(basis)}</p><p class="mri-quiet">{escape(DISCLAIMER)}</p></main></body></html>'
    )


def _histograms(content: Content) -> str:
    """Reference against the recent images, for the distributions that moved most."""
    known = {monitor.name: monitor for monitor in MONITORS if monitor.kind == "distribution"}
    judged = [m for m in content.state["monitors"] if m["monitor"] in known and m["strength"] is not None]
    judged.sort(key=lambda m: -m["strength"])
    figures = [
        draw.histogram(m["title"], *(data_of(known[m["monitor"]], w) for w in (content.profile.window, content.recent)))
        for m in judged[:SHOWN]
    ]
    return f'<div class="mon-grid">{"".join(figures)}</div>' if figures else "<p>Too few images so far.</p>"


def _stated(monitor: LiveMonitor, origin: str) -> dict[str, Any]:
    """The monitor's state with where its images came from."""
    return monitor.state() | {"storage": {"state": "off", "message": origin}}
