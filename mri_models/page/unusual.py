"""The panel under the map: how unusual a brain is, what the autoencoder drew, where this image stands. Pure HTML."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from PIL import Image

from mri_models.explain import heat
from mri_models.page.render import missing
from mri_models.page.text import scored
from mri_models.report import ENGLISH, UNUSUAL, score
from mri_models.types import Anomaly, Report

CHIPS = {
    "normal": "usual, high confidence",
    "borderline": "borderline, medium confidence",
    "anomalous": "unusual, high confidence",
}
SURE = {
    "normal": "Of validation images called usual, {share} were normal brains.",
    "borderline": "Between the two thresholds: of validation images here, {share} belonged to the more frequent kind.",
    "anomalous": "Of validation images called unusual, {share} were abnormal.",
}
PARTS = {
    "pixel": "Autoencoder: grey levels",
    "structure": "Autoencoder: structure (1 − SSIM)",
    "latent": "Autoencoder: code",
    "patches": "Patches of the brain network",
    "pooled": "Whole image in the brain network",
    "outline": "Lesion outline (supervised)",
    "tumour": "Surest tumour pixels (supervised)",
    "intensity": "Brightness alone (baseline)",
}
_WIDTH, _HEIGHT, _BASE = 320, 92, 68  # of the histogram; bars stand on _BASE


def panel(report: Report) -> str:
    """Everything about one image's anomaly score, or one sentence why there is none."""
    found = report.anomaly
    if found is None:
        return f'<section class="mri-unusual"><p class="mri-quiet">{escape(why_not(report))}</p></section>'
    return (
        f'<section class="mri-unusual" data-category="{found.category}"><h3>Compared with normal brains'
        f'<span class="mri-chip">{CHIPS[found.category]}</span></h3><p>{_lead(found)}</p>'
        f'<div class="mri-pair"><div>{_pictures(found)}</div><div>{_histogram(found)}</div></div>'
        f"{_components(found)}</section>"
    )


def why_not(report: Report) -> str:
    """Why an image has no anomaly score."""
    part = report.body_part
    if part is None or not part.accepted or part.label == "other":
        why = "No anomaly score: only brain MRI that passes the first checks is compared with normal brains."
        return missing(report, why)
    if part.label != "brain":
        return f"No anomaly score: normal anatomy was learned from brains only, and this shows the {part.label}."
    return "No anomaly score: these weights hold no anomaly model."


def _lead(found: Anomaly) -> str:
    share = SURE[found.category].format(share=ENGLISH.share(found.confidence))
    place = f"{ENGLISH.above(found.percentile)}. {share}"
    number = f'<strong class="mri-number">{scored(found.score)}</strong>'
    return f"{UNUSUAL[found.category]}. Anomaly score {number}, {escape(place)}"


def _pictures(found: Anomaly) -> str:
    """Original, reconstruction and error map side by side, and the map's colour bar."""
    figures = (
        (_grey(found.image), "The image", "The image, as the autoencoder sees it"),
        (_grey(found.reconstruction), "As a normal brain", "What the autoencoder of normal brains draws instead"),
        (heat(found.error_map, found.error_scale), "Difference", "Difference of the two: bright where they disagree"),
    )
    shown = "".join(
        f'<figure><img src="{data_uri(picture)}" alt="{alt}"><figcaption>{caption}</figcaption></figure>'
        for picture, caption, alt in figures
    )
    scale = scored(found.error_scale)
    bar = f"Colours of the difference, the same for every image: black is 0, pale yellow {scale} or more"
    return (
        f'<div class="mri-triple">{shown}</div><div class="mri-heat" role="img" aria-label="{bar}"></div>'
        f'<p class="mri-ends"><span>0</span><span>grey levels differ by {scale} or more</span></p>'
    )


def _histogram(found: Anomaly) -> str:
    """Held-out normals by score as bars, the two thresholds, and this image as a marker."""
    if not found.normals:
        return ""
    step, tallest = _WIDTH / len(found.normals), max(found.normals)
    bars = "".join(
        f'<rect x="{i * step + 0.5:.1f}" y="{_BASE - height:.1f}" width="{step - 1:.1f}" height="{height:.1f}"/>'
        for i, count in enumerate(found.normals)
        if (height := 46 * count / tallest)
    )
    lines = "".join(
        f'<line x1="{at * _WIDTH:.1f}" x2="{at * _WIDTH:.1f}" y1="14" y2="{_BASE}"/>'
        for at in (found.borderline, found.threshold)
    )
    here = found.score * _WIDTH
    count = sum(found.normals)
    limits = f"borderline from {score(found.borderline)}, unusual from {score(found.threshold)}"
    alt = f"Scores of {count} held-out normal brains from 0 to 1; this image stands at {score(found.score)}; {limits}"
    return (
        f'<svg class="mri-normals" viewBox="-8 0 {_WIDTH + 16} {_HEIGHT}" role="img" aria-label="{escape(alt)}">'
        f'{bars}{lines}<path class="mri-here" d="M{here:.1f} {_BASE}l-6 10h12z"/>'
        f'<path class="mri-axis" d="M0 {_BASE}H{_WIDTH}"/>'
        f'<text x="0" y="{_HEIGHT - 2}">0</text><text x="{_WIDTH}" y="{_HEIGHT - 2}" text-anchor="end">1</text></svg>'
        f'<p class="mri-quiet">Bars: anomaly scores of {count} held-out normal brains. Dashed: '
        f"{escape(limits)}. Triangle: this image.</p>"
    )


def _components(found: Anomaly) -> str:
    rows = "".join(
        f"<tr><th scope=row>{escape(PARTS.get(name, name))}</th><td>{value:.3g}</td>"
        f"<td>{found.z_scores[name]:+.1f}</td></tr>"
        for name, value in found.components.items()
    )
    return (
        "<details><summary>What the score is made of</summary><table><thead><tr><th scope=col>measurement</th>"
        "<th scope=col>value</th><th scope=col>spreads above normal</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></details>"
    )


def _grey(values: np.ndarray) -> Image.Image:
    return Image.fromarray((np.clip(values, 0, 1) * 255).round().astype(np.uint8))


def data_uri(picture: Image.Image) -> str:
    stream = io.BytesIO()
    picture.save(stream, "PNG", compress_level=4)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
