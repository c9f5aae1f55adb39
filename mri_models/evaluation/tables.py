"""The README's tables: rendered from the metrics' JSON, written between markers, and checked in CI."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COLUMNS = {
    "balanced_accuracy": "balanced accuracy",
    "patient_balanced_accuracy": "by patient",
    "auroc": "AUROC",
    "ece": "ECE",
    "ece_by_chance": "by chance",
    "coverage": "coverage",
    "accuracy_accepted": "accuracy, accepted",
}
PUT_RIGHT = "put_right"  # of a stage's metrics: without the corpus' wrong labels
NOTE = (
    "Brackets: 95 % interval over patients (bootstrap), none below 5 patients; equal ends differ by less than shown. "
    "Balanced accuracy: mean recall of the classes; by patient: the same with one vote a patient; ECE: expected "
    "calibration error, whose interval leans upwards; by chance: that of as many answers if each were right with "
    "exactly the probability that it states; coverage: share of all images that get an answer. A source of a single "
    "class shows that class's recall."
)


def render(metrics: Mapping[str, Any]) -> str:
    """{stage: {"overall": M, "sources": {source: M}}} -> Markdown, where M is `StageMetrics.to_dict()`."""
    return "\n\n".join([*(_stage(name, stage) for name, stage in metrics.items()), NOTE])


def _stage(name: str, stage: Mapping[str, Any]) -> str:
    """All images first, the classes, then the sources folded away: the gate alone has more than fifty."""
    header = ["source", "images", "patients", *COLUMNS.values()]
    overall = table(header, [_row("**all**", stage["overall"])])
    sources = table(header, [_row(source, m) for source, m in stage["sources"].items()])
    folded = f"<details><summary>{name} by source</summary>\n\n{sources}\n\n</details>"
    parts = [f"### {name}", overall, _classes(stage["overall"]), *_put_right(stage), folded]
    return "\n\n".join(parts)


def _put_right(stage: Mapping[str, Any]) -> list[str]:
    """What the stage comes to without the corpus' own mistakes, in a sentence, where there are any."""
    if not (right := stage.get(PUT_RIGHT)):
        return []
    told = ", ".join(f"{COLUMNS[key]} {cell(right['overall'][key])}" for key in ("balanced_accuracy", "auroc", "ece"))
    return [
        f"Of these images {right['images']} are not what the corpus says they are (`mislabelled.toml` names them, seen "
        f"by eye). With their labels put right: {told}."
    ]


def _row(source: str, metrics: Mapping[str, Any]) -> list[str]:
    cells = [cell(metrics[key]) for key in COLUMNS]
    if len(metrics["recall"]) == 1:
        ((label, recall),) = metrics["recall"].items()
        cells[0] = f"{label} {cell(recall)}"
    return [source, str(metrics["images"]), str(metrics["patients"]), *cells]


def _classes(metrics: Mapping[str, Any]) -> str:
    """Recall and confusion of each class: rows are the truth, columns what was predicted, accepted or not."""
    classes = metrics["classes"]
    rows = [
        [label, cell(metrics["recall"].get(label)), *map(str, counts)]
        for label, counts in zip(classes, metrics["confusion"], strict=True)
    ]
    return table(["truth", "recall", *(f"→ {label}" for label in classes)], rows)


def cell(estimate: Mapping[str, float | None] | None) -> str:
    """ "0.953 [0.93, 0.97]", the value alone without interval, a dash for None."""
    if estimate is None:
        return "–"
    value, low, high = estimate["value"], estimate["low"], estimate["high"]
    return f"{value:.3f}" if low is None else f"{value:.3f} [{low:.2f}, {high:.2f}]"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table: the first column left, the others right."""
    alignment = ["---", *["---:"] * (len(header) - 1)]
    return "\n".join(f"| {' | '.join(map(str, cells))} |" for cells in (header, alignment, *rows))


def update_readme(path: Path, name: str, text: str) -> None:
    """Put `text` between `<!-- results:NAME -->` and `<!-- /results:NAME -->`; the rest of the file stays as it is."""
    path.write_text(_with_section(path, name, text), encoding="utf-8")


def check_readme(path: Path, name: str, text: str) -> bool:
    """Whether `update_readme` would change nothing."""
    return path.read_text(encoding="utf-8") == _with_section(path, name, text)


def sections(path: Path) -> dict[str, str]:
    """What `update_readme` put into a file: text by name."""
    found = re.findall(r"<!-- results:(\S+) -->\n(.*?)\n?<!-- /results:\1 -->", path.read_text("utf-8"), re.DOTALL)
    return dict(found)


def _with_section(path: Path, name: str, text: str) -> str:
    opening, closing = f"<!-- results:{name} -->", f"<!-- /results:{name} -->"
    before, opened, rest = path.read_text(encoding="utf-8").partition(opening)
    _, closed, after = rest.partition(closing)
    if not opened or not closed:
        raise ValueError(f"{path} has no {opening} followed by {closing}; add both lines where the tables belong")
    return f"{before}{opening}\n{text.strip()}\n{closing}{after}"
