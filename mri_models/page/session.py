"""What is on a visitor's screen now: Gradio hands an event its session as it was when that event began."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

# An event's `js`: the browser numbers what its visitor asks for, because requests may overtake each other on their way.
# It goes with the inputs (session, a hidden number, ...).
NUMBER_JS = """(session, asked, ...others) => {
  window.mriAsked = (window.mriAsked ?? 0) + 1;
  return [session, window.mriAsked, ...others];
}"""


class Session:
    """One object for all events of a session, so that one that ends late knows what another has shown meanwhile.

    asked: the number that the visitor's browser gave to an image or a volume (NUMBER_JS); no image is held.
    """

    def __init__(self):
        self._asked = 0

    def show(self, asked: int) -> bool:
        """Let an answer stand on screen, unless that of something asked for later stands there."""
        if asked < self._asked:
            return False
        self._asked = asked
        return True

    def shows(self, asked: int) -> bool:
        """Whether the answer to this is still the one on screen."""
        return asked == self._asked


class Answer(dict[Any, Any]):
    """What an event changes, by component; it goes to the screen if `stands` says so.

    stands: asked twice, when the session is told of the answer and when the visitor is; in one thread for all answers.
    """

    def __init__(self, changes: Mapping[Any, Any], stands: Callable[[], bool]):
        super().__init__(changes)
        self.stands = stands


class Ordered(gr.Blocks):
    """Blocks whose answers can't overtake each other between an event's end and the screen.

    Gradio takes an answer through other threads meanwhile, component by component: one that was the last when its
    event ended may come after a later one. Between the last word here and the visitor's queue nothing else runs.
    """

    async def postprocess_data(self, block_fn: Any, predictions: Any, state: Any) -> list[Any]:
        """Gradio's own, without what no longer stands."""
        if not isinstance(predictions, Answer):
            return await super().postprocess_data(block_fn, predictions, state)
        changes = predictions if predictions.stands() else gr.skip()
        sent = await super().postprocess_data(block_fn, changes, state)
        return sent if predictions.stands() else [gr.skip() for _ in sent]
