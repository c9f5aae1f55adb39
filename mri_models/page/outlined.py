"""Where it is: the outline over the image, its size, and how far other maps point to the same place."""

from __future__ import annotations

from html import escape

from PIL import Image

from mri_models.contour import colour_of, layer
from mri_models.explain import picture
from mri_models.page import levels
from mri_models.page.render import METHOD_NAMES
from mri_models.page.text import scored
from mri_models.page.unusual import data_uri
from mri_models.report import OUTLINED
from mri_models.types import Mask, Report, Scan

SIDE = 640  # px: more is not seen here
MAPS = METHOD_NAMES | {"consensus": "Consensus of SHAP and Grad-CAM", "anomaly": "Difference from a normal brain"}


def panel(scan: Scan | None, report: Report) -> str:
    """The outline with its measures; empty where none was asked for."""
    found = report.localization
    if scan is None or found is None:
        return ""
    if not found.found:
        peak, least = scored(found.score), scored(found.threshold)
        text = f"Nothing is outlined: the network's peak of {peak} stays under the {least} that an outline needs."
        return f'<section class="mri-outlined"><h3>Where it is</h3><p>{text}</p></section>'
    what = " + ".join(OUTLINED[label] for label in found.labels)
    return (
        f'<section class="mri-outlined"><h3>Where it is<span class="mri-chip">{escape(what)}</span></h3>'
        f'<div class="mri-pair"><figure>{_stage(scan, found, report, what)}</figure>'
        f"<div>{_measures(found)}{_agreement(report)}</div></div>{levels.table(report.spine)}</section>"
    )


def _stage(scan: Scan, found: Mask, report: Report, what: str) -> str:
    height, width = scan.shape
    under, over = picture(scan).convert("L"), layer(found)
    for image in (under, over):
        image.thumbnail((SIDE, SIDE), Image.Resampling.BILINEAR)
    return (
        f'<div class="mri-stage" style="--ratio:{width / height:.4f}">'
        f'<img class="mri-under" src="{data_uri(under)}" alt="{escape(report.file, quote=True)}">'
        f'<img class="mri-over mri-line" src="{data_uri(over)}" alt="Outline of {escape(what, quote=True)}">'
        f"{levels.names(report.spine, scan.shape)}</div>"
    )


def _measures(found: Mask) -> str:
    rows = ""
    for label in found.labels:
        colour = "#{:02x}{:02x}{:02x}".format(*colour_of(found, label))
        mm2 = found.area_mm2(label)
        size = f"{found.area_px(label):,} px" + ("" if mm2 is None else f" · {mm2:,.0f} mm²")
        rows += (
            f'<tr><th scope=row><i class="mri-swatch" style="background:{colour}"></i>{escape(OUTLINED[label])}</th>'
            f"<td>{size}</td></tr>"
        )
    known = "" if found.spacing_mm else " The file states no pixel spacing, so there is no size in millimetres."
    share = float((found.values > 0).mean())
    peak, least = scored(found.score), scored(found.threshold)
    return (
        f'<table class="mri-areas"><tbody>{rows}</tbody></table>{_expected(found)}<p class="mri-quiet">Peak {peak}; '
        f"an outline needs {least}. {share:.1%} of the image.{known}</p>"
    )


def _expected(found: Mask) -> str:
    """How well the outline is expected to fit, as a bar; empty where the network can't tell."""
    if found.expected_dice is None:
        return ""
    share = scored(found.expected_dice)
    return (
        f'<h4>How well does it fit?</h4><div class="mri-share"><span>Expected Dice</span><i class="mri-plain" '
        f'role="img" style="--share:{found.expected_dice:.4f}" aria-label="{share} of 1"></i>'
        f'<b class="mri-number">{share}</b></div><p class="mri-quiet">Overlap with a reader\'s outline, should there '
        "be a tumour: 1 is the same outline. From the network's own doubt about each pixel, put right on validation "
        "patients of one source; elsewhere it can be far too high.</p>"
    )


def _agreement(report: Report) -> str:
    """Share of each map inside the outline, with the outline's own share of the image as the mark of chance."""
    chance = report.overlap.get("area")
    if chance is None or len(report.overlap) < 2:
        return ""
    bars = "".join(
        f'<div class="mri-share"><span>{escape(MAPS.get(name, name))}</span><i role="img" style="--share:{share:.4f};'
        f'--chance:{chance:.4f}" aria-label="{share:.0%} inside the outline, {chance:.0%} by chance"></i>'
        f'<b class="mri-number">{share:.0%}</b></div>'
        for name, share in report.overlap.items()
        if name != "area"
    )
    return (
        f'<h4>Do the other maps agree?</h4>{bars}<p class="mri-quiet">Share of each map inside the outline. The tick '
        f"is the outline's share of the image, {chance:.1%}: what a map that knows nothing would have.</p>"
    )
