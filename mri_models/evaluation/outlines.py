"""Every served outline network on the corpus' images of a split."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from mri_models.evaluation.segmentation import measure_outlines
from mri_models.localize import FOLDER, Segmenter
from mri_models.orientation import as_it_came
from mri_models.training.outlines import SUBJECTS, Outlined
from mri_models.types import Orientation, Scan

LONGEST = 448  # px: the corpus' own size
BATCH = 8


Upright = Callable[[Scan], tuple[Scan, Orientation | None]]  # of Pipeline


def left_alone(scan: Scan) -> tuple[Scan, None]:
    """The scan as it came."""
    return scan, None


def measure_segmenter(
    name: str, segmenter: Segmenter, data: Path, split: str, limit: int | None, upright: Upright = left_alone
) -> dict[str, Any]:
    """{source or "source, kind": measures} of one network; every k-th image so that about `limit` remain."""
    pictures = [p for p in SUBJECTS[name.removeprefix(FOLDER)].read(data, LONGEST) if p.split == split]
    if limit and len(pictures) > limit:
        pictures = pictures[:: len(pictures) // limit + 1]
    answers = []
    for start in tqdm(range(0, len(pictures), BATCH), desc=name, leave=False):
        stands = [upright(as_scan(p)) for p in pictures[start : start + BATCH]]
        masks = segmenter.masks([scan for scan, _ in stands])
        answers += [
            (as_it_came(mask.values, lay), mask.expected_dice) for mask, (_, lay) in zip(masks, stands, strict=True)
        ]
    rows = list(zip(pictures, answers, strict=True))

    def measure(chosen: list[tuple[Outlined, Any]]) -> dict[str, Any]:
        outlined, drawn = zip(*chosen, strict=True)
        values, expected = zip(*drawn, strict=True)
        return measure_outlines(values, [p.mask for p in outlined], [p.patient for p in outlined], labels, expected)

    labels, found = segmenter.labels, {}
    for source in sorted({p.source for p in pictures}):
        here = [row for row in rows if row[0].source == source]
        found[source] = measure(here)
        kinds = sorted({p.kind for p, _ in here})
        if len(kinds) > 1:
            found |= {f"{source}, {kind}": measure([row for row in here if row[0].kind == kind]) for kind in kinds}
    return found


def as_scan(picture: Outlined) -> Scan:
    """The picture as serving reads it."""
    return Scan(picture.pixels.astype("float32") / 255)
