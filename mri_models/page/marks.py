"""Small drawings of the page: the icon of a state, and of the way in which an image was turned."""

from __future__ import annotations

from mri_models.types import Orientation

_MARKS = {
    "passed": '<path d="M5 10.5l3.4 3.4L15 6.8"/>',
    "stopped": '<path d="M6 6l8 8M14 6l-8 8"/>',
    "unsure": '<path d="M7.4 7.6a2.7 2.7 0 1 1 3.9 2.4c-.9.5-1.3 1-1.3 2"/><path d="M10 14.9v.1"/>',
    "waiting": '<path d="M10 10v.1"/>',
}
_TURN = '<path d="M16.6 3.6v4.3h-4.3M16.2 7.7a6.6 6.6 0 1 0 .3 4.3"/>'  # an arrow clockwise


def mark(state: str) -> str:
    """The icon of a state."""
    return f'<svg class="mri-mark" viewBox="0 0 20 20" aria-hidden="true">{_MARKS[state]}</svg>'


def turn(orientation: Orientation) -> str:
    """An arrow the way the image was turned."""
    way = " is-left" if orientation.turn_deg == 270 else ""
    return f'<svg class="mri-turn{way}" viewBox="0 0 20 20" aria-hidden="true">{_TURN}</svg>'
