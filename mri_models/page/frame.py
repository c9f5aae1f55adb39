"""Head and foot of the page; frame.js, which comes with the foot, sees to what Gradio forgot."""

from __future__ import annotations

from pathlib import Path

SCRIPT = Path(__file__).with_name("frame.js")


def header() -> str:
    """Name and one-line promise at the top of the page."""
    return (
        '<header class="mri-head"><h1>MRI patterns</h1>'
        "<p>Drop one MRI image. See what the models see, how sure they are, and when they refuse.</p></header>"
    )


def footer() -> str:
    """Last line of the page."""
    return (
        '<footer class="mri-foot"><span>For research and teaching only</span>'
        '<button type="button">Use it from a program</button></footer>'
    )
