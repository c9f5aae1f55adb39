"""What is on a visitor's screen now: Gradio hands an event its session as it was when that event began."""

from __future__ import annotations

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
