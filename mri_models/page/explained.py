"""Events of the Analyse tab's maps: Grad-CAM at once, the chosen method after it, its checks, the others on demand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr
from gradio.context import get_blocks_context
from gradio.events import Dependency

from mri_models.explain import METHODS, QUICK
from mri_models.page import maps, outlined, render
from mri_models.page.desk import Desk
from mri_models.page.shown import GONE, Reader, Shown
from mri_models.page.viewer import view

Answer = dict[Any, Any]
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
    maps.
    """

    def first(seen: Shown | None, method: str) -> Answer:
        if not (seen and seen.explainable):
            return {desk.note: render.no_map()}
        seen = reader.explain(seen, QUICK)
        return _mapped(desk, seen) | {desk.note: render.map_note(seen.report.explanation, _other(method))}

    def chosen(seen: Shown | None, method: str) -> Answer:
        if seen is None:
            return {desk.note: render.no_map(GONE)}
        return _mapped(desk, reader.explain(seen, method)) if seen.explainable else {desk.note: render.no_map()}

    def check(seen: Shown | None) -> Answer:
        return _mapped(desk, reader.check(seen)) if seen and seen.maps else {desk.compare: gr.skip()}

    inputs, quiet = [desk.shown, desk.method], {"show_progress": "hidden", **options}
    outputs = [desk.shown, desk.view, desk.note, desk.outlined, desk.maps, desk.compare, desk.json]
    busy = {key: value for key, value in quiet.items() if not key.startswith("concurrency")}
    radio = desk.method.input(lambda: render.map_note(None), None, desk.note, **busy)
    at_once = [verdict.success(guard(first), inputs, outputs, **quiet) for verdict in verdicts]
    mapped = [event.success(guard(chosen), inputs, outputs, **quiet) for event in (*at_once, radio)]
    for event in (*at_once, *mapped):
        event.failure(lambda: render.no_map(FAILED), None, desk.note, **busy)
    checked = [event.success(guard(check), desk.shown, outputs, **quiet) for event in mapped]
    compared = _connect_comparison(desk, reader, guard, quiet)
    _cancel([radio, *at_once, *mapped, *checked, *compared], ends)
    return [event.success for event in (*mapped, *checked)]


def _cancel(maps: Sequence[Dependency], ends: Sequence[Dependency]) -> None:
    """A new image drops what is still worked out of the last one, which would else replace it on page and in session.

    A thread can't be stopped, so a dropped map is finished, and the next one waits for it.

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

    def start(seen: Shown | None) -> Answer:
        if seen is None:
            return {desk.note: render.no_map(GONE)}
        return _compared(desk, dataclasses.replace(seen, comparing=True))

    def another(seen: Shown | None) -> Answer:
        if not (seen and seen.comparing and seen.missing):
            return {desk.compare: gr.skip()}
        current = seen.report
        seen = reader.check(reader.explain(seen, seen.missing[0]))
        comparing = bool(seen.missing)
        return _compared(desk, dataclasses.replace(seen, report=current, comparing=comparing))

    def stop(seen: Shown | None) -> Answer:
        return _compared(desk, dataclasses.replace(seen, comparing=False)) if seen else {desk.compare: gr.skip()}

    waiting = quiet | {"show_progress": "minimal", "show_progress_on": desk.maps}
    events = [desk.compare.click(guard(start), desk.shown, [desk.shown, desk.maps, desk.compare, desk.note], **waiting)]
    for _ in METHODS:
        another_one = events[-1].success(guard(another), desk.shown, [desk.shown, desk.maps, desk.compare], **quiet)
        another_one.failure(guard(stop), desk.shown, [desk.shown, desk.maps, desk.compare], **quiet)
        events.append(another_one)
    return events


def _mapped(desk: Desk, seen: Shown) -> Answer:
    """Everything that shows the current map."""
    return _compared(desk, seen) | {
        desk.view: view(seen.scan, seen.report),
        desk.note: render.map_note(seen.report.explanation),
        desk.outlined: outlined.panel(seen.scan, seen.report),
        desk.json: seen.report.to_dict(),
    }


def _compared(desk: Desk, seen: Shown) -> Answer:
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
