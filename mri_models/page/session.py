"""What is on a visitor's screen now: Gradio hands an event its session as it was when that event began."""

from __future__ import annotations

from mri_models.page.shown import Shown


class Session:
    """One object for all events of a session, so that one that ends late knows what another has shown meanwhile.

    Times are those at which an image was begun (perf_counter); no image is held.
    """

    def __init__(self):
        self._begun = 0.0

    def show(self, seen: Shown) -> bool:
        """Let a verdict stand on screen, unless that of an image that was begun later stands there."""
        if seen.begun < self._begun:
            return False
        self._begun = seen.begun
        return True

    def shows(self, seen: Shown) -> bool:
        """Whether this image's verdict is still the one on screen."""
        return seen.begun == self._begun
