"""The discs of a spine: their names on the picture, and a table of grades."""

from __future__ import annotations

from html import escape

from mri_models.page.text import scored
from mri_models.report import ENGLISH
from mri_models.types import Disc, SpineGrading
from mri_models.types.discs import GRADES

_OFFSET = 0.62  # of the distance between discs: how far in front of its disc a name stands
_FINDINGS = ("narrowing", "bulging", "herniation")


def names(spine: SpineGrading | None, shape: tuple[int, int]) -> str:
    """SVG over the picture: each level's name in front of its disc."""
    if spine is None:
        return ""
    height, width = shape
    size = max(9.0, 0.032 * max(shape))
    texts = "".join(
        f'<text x="{max(2.0, disc.box[1] - 0.3 * _OFFSET * disc.spacing):.1f}" y="{disc.centre[0] + size / 3:.1f}" '
        f'font-size="{size:.1f}" text-anchor="end">{disc.level}</text>'
        for disc in spine.discs
    )
    return f'<svg class="mri-levels" viewBox="0 0 {width} {height}" aria-hidden="true">{texts}</svg>'


def table(spine: SpineGrading | None, title: str = "Disc by disc") -> str:
    """One row a disc: grade, its probabilities as a strip, and the three findings' scores."""
    if spine is None:
        return ""
    head = "".join(f"<th scope=col>{name}</th>" for name in ("grade", "chance of 1 to 5", *_FINDINGS))
    rows = "".join(_row(disc, disc is spine.worst) for disc in reversed(spine.discs))
    return (
        f'<h4>{title}</h4><div class="mri-scroll" tabindex="0" role="group" aria-label="{title}">'
        '<table class="mri-discs"><thead><tr><th scope=col>level</th>'
        f"{head}</tr></thead><tbody>{rows}</tbody></table></div>"
        '<p class="mri-quiet">Pfirrmann grade, 1 a bright, high disc to 5 a collapsed one; where one grade is not sure '
        "enough, the range in which the reader's lay for nine of ten validation discs. Levels are counted from the "
        "lowest disc in the image, taken for L5/S1: wrong where the sacrum is cut off or a vertebra more or fewer. "
        "Narrowing, bulging and herniation are scores from 0 to 1.</p>"
    )


def _row(disc: Disc, worst: bool) -> str:
    sure = f" {scored(disc.confidence)}" if disc.accepted else ""
    strip = "".join(f'<i style="--p:{p:.3f}"></i>' for p in disc.pfirrmann)
    told = escape(", ".join(f"{grade} {ENGLISH.share(p)}" for grade, p in zip(GRADES, disc.pfirrmann, strict=True)))
    findings = "".join(f"<td>{scored(getattr(disc, name))}</td>" for name in _FINDINGS)
    return (
        f"<tr{' data-worst' if worst else ''}><th scope=row>{disc.level}</th><td><b>{disc.stated}</b>{sure}</td>"
        f'<td><span class="mri-strip" role="img" aria-label="Probabilities of grades: {told}">{strip}</span></td>'
        f"{findings}</tr>"
    )
