"""The picture under the map: before/after divider and colour strength, in the browser and usable by keyboard.

Own HTML because gr.ImageSlider has neither alt texts nor keyboard control and keeps its images on disk.
"""

from __future__ import annotations

import base64
import io
from html import escape

from PIL import Image

from mri_models.explain import on_grid, overlay, picture, shrunk
from mri_models.page.render import name_of
from mri_models.types import Report, Scan

SIDE = 1024  # px: more is not seen on the page
OPACITY = 0.6  # of the map at first; page.css has the same default
# Ranges write CSS variables on the persistent root, so that a new picture keeps the visitor's settings.
VIEW_JS = """
element.addEventListener('input', ({target}) => element.style.setProperty(target.dataset.variable, target.value));
watch('value', () => element.querySelectorAll('[data-variable]').forEach((range) => {
  range.value = element.style.getPropertyValue(range.dataset.variable) || range.value;
}));
"""
_SPLIT = (
    '<input type="range" class="mri-split" min="0" max="1" step="0.01" value="0" data-variable="--split" '
    'aria-label="Uncover the plain image from the left"><i class="mri-divider" aria-hidden="true"></i>'
)
_STRENGTH = (
    '<label class="mri-strength"><span>Strength of the colours</span>'
    f'<input type="range" min="0" max="1" step="0.05" value="{OPACITY}" data-variable="--strength"></label>'
)


def view(scan: Scan | None, report: Report) -> str:
    """The scan, and over it the explanation where there is one."""
    if scan is None:
        return ""
    height, width = scan.shape
    scan = shrunk(scan, SIDE)
    layers = _layer(picture(scan).convert("L"), f"{report.file}, as the models see it")
    controls = ""
    if report.explanation:
        target = name_of(report.explanation.target)
        # Blending the full-strength overlay by CSS equals `overlay` at that opacity: both are linear.
        mapped = overlay(scan, on_grid(report.explanation, scan.shape), opacity=1)
        layers += _layer(
            mapped, f"Map over the image: red regions speak for {target}, blue ones against it", "mri-over"
        )
        layers += _SPLIT
        controls = _STRENGTH
    stage = f'<div class="mri-stage" style="--ratio:{width / height:.4f}">{layers}</div>'
    return f'<div class="mri-view">{stage}{controls}</div>'


def _layer(image: Image.Image, alt: str, kind: str = "mri-under") -> str:
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_level=4)
    data = base64.b64encode(stream.getvalue()).decode()
    return f'<img class="{kind}" src="data:image/png;base64,{data}" alt="{escape(alt, quote=True)}">'
