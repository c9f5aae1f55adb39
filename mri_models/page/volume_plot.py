"""Class scores along the volume as a drawn curve, and every slice's answer as a table. Pure HTML."""

from __future__ import annotations

from html import escape

from mri_models.page.render import name_of
from mri_models.page.text import scored
from mri_models.report import score
from mri_models.types import SliceVerdict, VolumeReport

# Clicks on the plot and on the table move the viewer, which is another component, to that slice.
SELECT_JS = """
element.addEventListener('click', (event) => {
  const part = event.target.closest('[data-slice]');
  if (part) document.dispatchEvent(new CustomEvent('vol-slice', {detail: Number(part.dataset.slice)}));
});
"""
TITLES = {
    "diagnosis": "Pattern scores by slice",
    "body_part": "Body part scores by slice",
    "gate": "MRI score by slice",
}
_WIDTH, _HEIGHT, _TOP, _BASE = 440, 196, 10, 170
_LINES = 3  # classes drawn: the ones with the highest mean
_STAGES = ("diagnosis", "body_part", "gate")


def plot(report: VolumeReport) -> str:
    """Scores of the deepest stage over slice numbers: a dot is an accepted slice, a ring a refused one."""
    stage = next((stage for stage in _STAGES if getattr(report, stage)), None)
    if stage is None:
        return '<p class="mri-quiet">No model saw these slices, so there are no scores.</p>'
    pooled = getattr(report, stage)
    labels = sorted(pooled.probabilities, key=lambda label: -pooled.probabilities[label])[:_LINES]
    if pooled.label not in ("mri", "not_mri"):
        labels = [label for label in labels if pooled.probabilities[label] > 0.005 or label == pooled.label]
    shown = [verdict for verdict in report.slices if getattr(verdict, stage)]
    last = report.volume.shape[0]
    lines = "".join(_line(number, label, shown, stage, last) for number, label in enumerate(labels, 1))
    least = "" if pooled.threshold > 1 else _rule(pooled.threshold)
    alt = f"{TITLES[stage]}, 1 to {last}; mean of {pooled.label}: {score(pooled.confidence)}"
    return (
        f'<figure class="vol-plot"><figcaption>{TITLES[stage]}</figcaption>'
        f'<svg viewBox="-30 0 {_WIDTH + 40} {_HEIGHT}" role="img" aria-label="{escape(alt, quote=True)}">'
        f"{_axis(last)}{least}{lines}{_targets(report, last)}</svg>"
        f"{_legend(labels, pooled.probabilities, least)}</figure>"
    )


def table(report: VolumeReport) -> str:
    """One row a slice; its number shows it in the viewer."""
    rows = "".join(_row(verdict) for verdict in report.slices)
    return (
        '<details class="vol-slices"><summary>Every slice</summary><div tabindex="0" role="group" '
        'aria-label="Every slice"><table><thead><tr><th scope=col>slice</th>'
        "<th scope=col>answer</th><th scope=col>score</th><th scope=col>anomaly</th>"
        f"<th scope=col>counts</th></tr></thead><tbody>{rows}</tbody></table></div></details>"
    )


def _row(verdict: SliceVerdict) -> str:
    answer = verdict.deepest and verdict.deepest[1]
    said = escape(name_of(answer.label)) if answer else escape(verdict.rejection.code.replace("_", " "))
    number = scored(answer.confidence) if answer else "–"
    unusual = "–" if verdict.anomaly is None else scored(verdict.anomaly)
    why = "yes" if verdict.rejection is None else f"no: {escape(verdict.rejection.code.replace('_', ' '))}"
    see = f'<button type="button" data-slice="{verdict.number}" aria-label="Show slice {verdict.number}">'
    return (
        f"<tr><th scope=row>{see}{verdict.number}</button></th><td>{said}</td><td>{number}</td>"
        f"<td>{unusual}</td><td>{why}</td></tr>"
    )


def _x(number: int, last: int) -> float:
    return _WIDTH * (number - 0.5) / last


def _y(value: float) -> float:
    return _BASE - (_BASE - _TOP) * value


def _line(number: int, label: str, shown: list[SliceVerdict], stage: str, last: int) -> str:
    points = [
        (_x(v.number, last), _y(getattr(v, stage).probabilities.get(label, 0.0)), v.rejection is None) for v in shown
    ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in points)
    dots = "".join(
        f'<circle class="{"is-in" if counted else "is-out"}" cx="{x:.1f}" cy="{y:.1f}" r="2.6"/>'
        for x, y, counted in points
    )
    return f'<g class="vol-line s{number}"><polyline points="{path}"/>{dots}</g>'


def _rule(threshold: float) -> str:
    y = _y(threshold)
    return f'<line class="vol-least" x1="0" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}"/>'


def _axis(last: int) -> str:
    ticks = "".join(
        f'<text x="-6" y="{_y(value) + 4:.1f}" text-anchor="end">{value:g}</text>'
        f'<line class="vol-grid" x1="0" x2="{_WIDTH}" y1="{_y(value):.1f}" y2="{_y(value):.1f}"/>'
        for value in (0, 0.5, 1)
    )
    return (
        f'{ticks}<text x="0" y="{_HEIGHT - 6}">slice 1</text>'
        f'<text x="{_WIDTH}" y="{_HEIGHT - 6}" text-anchor="end">{last}</text>'
    )


def _targets(report: VolumeReport, last: int) -> str:
    """An invisible column over each slice, with its answer as the tooltip."""
    width = _WIDTH / max(last, 1)
    parts = []
    for verdict in report.slices:
        answer = verdict.deepest
        said = f"{name_of(answer[1].label)} {score(answer[1].confidence)}" if answer else verdict.rejection.code
        state = "counts" if verdict.rejection is None else "does not count"
        parts.append(
            f'<rect class="vol-hit" data-slice="{verdict.number}" x="{_x(verdict.number, last) - width / 2:.1f}" '
            f'y="{_TOP}" width="{width:.1f}" height="{_BASE - _TOP}">'
            f"<title>Slice {verdict.number}: {escape(said)}, {state}</title></rect>"
        )
    return "".join(parts)


def _legend(labels: list[str], means: object, least: str) -> str:
    items = "".join(
        f'<li><i class="s{number}" aria-hidden="true"></i>{escape(name_of(label))} <b>{scored(means[label])}</b></li>'
        for number, label in enumerate(labels, 1)
    )
    limit = '<li><i class="limit" aria-hidden="true"></i>accepted from</li>' if least else ""
    return (
        f'<ul class="mon-legend">{items}{limit}</ul><p class="mri-quiet">Numbers are means over the slices that count '
        "(dots; rings do not count). Click a slice to see it.</p>"
    )
