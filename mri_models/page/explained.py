"""Events of the Analyse tab's maps: Grad-CAM at once, the chosen method after it, its checks, the others on demand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gradio as gr
from gradio.context import get_blocks_context
from gradio.events import Dependency

from mri_models.explain import METHODS, QUICK
from mri_models.page import maps, outlined, render
from mri_models.page.desk import Desk
from mri_models.page.session import Answer, Session
from mri_models.page.shown import GONE, Reader, Shown
from mri_models.page.viewer import view
from mri_models.types import Report

Changes = dict[Any, Any]
Result = tuple[Shown, Changes]  # what was worked out, and what is to change
FAILED = "The map could not be worked out. Choose a method to try again."


def connect(
    desk: Desk,
    reader: Reader,
    verdicts: Sequence[Dependency],
    ends: Sequence[Dependency],
    guard: Callable[[Callable], Callable],
    **options: Any,
) -> list[Callable]:
    """Wire the maps to the events that give a verdict; gives the triggers after which a map stands.

    ends: empty events that come just before a verdict's. guard: turns errors into messages.
    Each map is an event of its own: a visitor's verdict may wait for another's verdict, never for all of another's
    maps. What is asked for while the same event runs comes after it.
    """

    def first(seen: Shown, method: str) -> Result:
        seen = reader.explain(seen, QUICK)
        coming = {} if seen.failed else {desk.note: render.map_note(seen.report.explanation, _other(method))}
        return seen, _mapped(desk, seen) | coming

    def chosen(seen: Shown, method: str) -> Result:
        seen = reader.explain(seen, method)
        return seen, _mapped(desk, seen)

    def check(seen: Shown) -> Result:
        seen = reader.check(seen)
        return seen, _mapped(desk, seen) if seen.maps and not seen.failed else gr.skip()

    first, chosen, check = (guard(_while_shown(desk, event)) for event in (first, chosen, check))
    quiet = {"show_progress": "hidden", "trigger_mode": "always_last", **options}
    held = [desk.session, desk.shown]
    outputs = [desk.shown, desk.view, desk.note, desk.outlined, desk.maps, desk.compare, desk.json]
    busy = {key: value for key, value in quiet.items() if not key.startswith("concurrency")}
    radio = desk.method.input(lambda: render.map_note(None), None, desk.note, **busy)
    at_once = [verdict.success(first, [*held, desk.method], outputs, **quiet) for verdict in verdicts]
    mapped = [event.success(chosen, [*held, desk.method], outputs, **quiet) for event in (*at_once, radio)]
    checked = [event.success(check, held, outputs, **quiet) for event in mapped]
    compared = _connect_comparison(desk, reader, guard, quiet)
    _cancel([radio, *at_once, *mapped, *checked, *compared], ends)
    return [event.success for event in (*mapped, *checked)]


def _cancel(maps: Sequence[Dependency], ends: Sequence[Dependency]) -> None:
    """A new image drops what is still waiting of the last one, so that its own maps need not wait for those.

    A thread can't be stopped, so a map that was begun is finished, and the next one waits for it. What is dropped goes
    on with its `failure` and `then`, so these events have neither.

    Gradio's `cancels=` wants events that exist already, and runs after those of the same click that are older than
    itself: after the verdict, whose own maps it would end.
    """
    known = get_blocks_context().fns
    for end in ends:
        known[end["id"]].cancels = [event["id"] for event in maps]


def _connect_comparison(
    desk: Desk, reader: Reader, guard: Callable[[Callable], Callable], quiet: dict[str, Any]
) -> list[Dependency]:
    """The button works out every method that has no map yet, one event each; a new image ends it.

    It waits its turn among the maps: beside one, each would write its own session over the other's.
    """

    def start(seen: Shown) -> Result:
        return seen, _compared(desk, dataclasses.replace(seen, comparing=True))

    def another(seen: Shown) -> Result:
        if not (seen.comparing and seen.missing):
            return seen, gr.skip()
        found = reader.explain(seen, seen.missing[0])
        found = found if found.failed else reader.check(found)
        comparing = bool(found.missing) and not found.failed
        return found, _compared(desk, dataclasses.replace(found, report=seen.report, comparing=comparing))

    start, another = (guard(_while_shown(desk, event)) for event in (start, another))
    waiting = quiet | {"show_progress": "minimal", "show_progress_on": desk.maps}
    held, outputs = [desk.session, desk.shown], [desk.shown, desk.maps, desk.compare, desk.note]
    events = [desk.compare.click(start, held, outputs, **waiting)]
    for _ in METHODS:
        events.append(events[-1].success(another, held, outputs, **quiet))
    return events


def _while_shown(desk: Desk, event: Callable[..., Result]) -> Callable[..., Changes]:
    """An event of the image on screen, which changes nothing once another one stands there; tells what failed."""

    def guarded(session: Session, seen: Shown | None, *choice: str) -> Changes:
        if seen is None:
            return {desk.note: render.no_map(GONE)}
        stands = partial(session.shows, seen.asked)
        if not seen.explainable:
            return Answer({desk.note: unexplained(seen.report)}, stands)
        seen, changes = event(seen, *choice)
        if seen.failed and stands():
            gr.Warning(seen.failed)
        return Answer(changes, stands)

    return guarded


def unexplained(report: Report) -> str:
    """The map's note where there is no class to explain."""
    return render.no_map(render.missing(report, "No stage accepted this image: nothing to explain."))


def _mapped(desk: Desk, seen: Shown) -> Changes:
    """Everything that shows the current map; where it failed, what stood there before stays."""
    if seen.failed:
        return {desk.note: render.no_map(FAILED)}
    return _compared(desk, seen) | {
        desk.view: view(seen.scan, seen.report),
        desk.note: render.map_note(seen.report.explanation),
        desk.outlined: outlined.panel(seen.scan, seen.report),
        desk.json: seen.report.to_dict(),
    }


def _compared(desk: Desk, seen: Shown) -> Changes:
    """The maps side by side, once there are two, and the button for those that are missing."""
    enough = len(seen.maps) > 1
    busy = seen.missing[0] if seen.comparing and seen.missing else None
    return {
        desk.shown: seen,
        desk.maps: gr.HTML(maps.panel(seen.scan, seen.maps, busy) if enough else "", visible=enough),
        desk.compare: gr.Button(button(seen), visible=enough and bool(seen.missing) and not seen.comparing),
    }


def button(seen: Shown) -> str:
    """The methods that are missing, by name."""
    names = [render.METHOD_NAMES[method] for method in seen.missing]
    return f"Compare with {' and '.join([', '.join(names[:-1]), names[-1]] if names[1:] else names)}"


def _other(method: str) -> str | None:
    """The method that follows the quick one, if it is another."""
    return None if method == QUICK else method
