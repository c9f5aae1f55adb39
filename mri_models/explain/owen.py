"""SHAP by regions: Owen values over a tree of rectangles, the rule of the `shap` package's PartitionExplainer.

The image is halved again and again. Each half is worth what the score gains when it appears, averaged over
whether its sibling is there already; what a region is worth is what its parts are worth, so the values always add up
to the score's whole change from the veiled image (local accuracy). Regions of large worth are split first, until the
evaluations are spent. Our own form because `shap` brings numba, llvmlite and pandas for two hundred lines.

Lundberg & Lee 2017 (SHAP), Owen 1977 (values with a prior coalition structure).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch

from mri_models.classify import Classifier
from mri_models.explain.network import log_odds, on_scan, probe, veil
from mri_models.preprocess import to_tensor
from mri_models.types import Attribution, Scan

NAME = "shap"
GRID = 32  # cells a side; one cell is the smallest region
EVALUATIONS = 224  # altered images that the network sees; two cores take about 6 s
BOTH = 3  # halvings in which both orders (left or right half first) are measured; below, one drawn by lot
DEAD = 0.02  # of the mean mass, up to which a cell counts as unchanged: Shapley's axiom of the dummy player
AT_ONCE = 16  # altered images a forward pass
SEED = 0

Game = Callable[[np.ndarray], np.ndarray]  # (B, G, G) bool, which cells are there -> (B,) score
Cells = tuple[slice, slice]


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A rectangle that joins the cells of `context` (G, G): the score rises from `before` to `after`."""

    cells: Cells
    context: np.ndarray
    before: float
    after: float
    weight: float
    depth: int

    @property
    def worth(self) -> float:
        return self.weight * (self.after - self.before)


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """Splitting `region`: what if its part `first` joins the context before `second` does?"""

    region: Region
    first: Cells
    second: Cells
    weight: float

    @property
    def mask(self) -> np.ndarray:
        mask = self.region.context.copy()
        mask[self.first] = True
        return mask

    def parts(self, between: float) -> tuple[Region, Region]:
        """Both parts, when the score with `first` alone is `between`."""
        parent, depth = self.region, self.region.depth + 1
        return (
            Region(self.first, parent.context, parent.before, between, self.weight, depth),
            Region(self.second, self.mask, between, parent.after, self.weight, depth),
        )


def owen_values(game: Game, mass: np.ndarray, evaluations: int, generator: np.random.Generator) -> np.ndarray:
    """Owen values (G, G) of the cells; they sum to game(all) - game(none).

    mass: (G, G) >= 0, how much a cell changes when it appears. Cells that hardly do get nothing, and a region is cut
    where half of its mass lies on either side, so that empty margins cost nothing.
    """
    nothing, all_of_it = np.zeros(mass.shape, bool), np.ones(mass.shape, bool)
    low, high = game(np.stack([nothing, all_of_it])).tolist()
    whole = Region((slice(0, mass.shape[0]), slice(0, mass.shape[1])), nothing, low, high, 1.0, 0)
    waiting, settled, counter = [(-abs(whole.worth), 0, whole)], [], 1
    spent = 2
    while waiting and spent < evaluations:
        questions: list[Question] = []
        while waiting and len(questions) + 2 <= min(AT_ONCE, evaluations - spent):  # a split asks up to two
            region = heapq.heappop(waiting)[2]
            asked = list(_split(region, mass, generator))
            questions += asked
            settled += [] if asked else [region]
        if not questions:
            break
        answers = game(np.stack([question.mask for question in questions])).tolist()
        spent += len(questions)
        for question, between in zip(questions, answers, strict=True):
            for part in question.parts(between):
                heapq.heappush(waiting, (-abs(part.worth), counter, part))
                counter += 1
    values, alive = np.zeros(mass.shape), mass > DEAD * mass.mean()
    for region in [*settled, *(entry[2] for entry in waiting)]:
        shares = alive[region.cells] if alive[region.cells].any() else np.ones(mass[region.cells].shape)
        values[region.cells] += region.worth * shares / shares.sum()
    return values


def _split(region: Region, mass: np.ndarray, generator: np.random.Generator) -> Iterator[Question]:
    """The questions that halve a region; none for a single cell."""
    rows, columns = region.cells
    inside = mass[region.cells]
    if inside.size == 1:
        return
    down = inside.shape[0] >= inside.shape[1]
    cut = _middle(inside.sum(1 if down else 0))
    edge = (rows if down else columns).start + cut
    halves = (
        ((slice(rows.start, edge), columns), (slice(edge, rows.stop), columns))
        if down
        else ((rows, slice(columns.start, edge)), (rows, slice(edge, columns.stop)))
    )
    if region.depth < BOTH:
        yield Question(region, *halves, region.weight / 2)
        yield Question(region, *halves[::-1], region.weight / 2)
    else:
        yield Question(region, *(halves if generator.random() < 0.5 else halves[::-1]), region.weight)


def _middle(mass: np.ndarray) -> int:
    """Where to cut a line of cells so that about half of the mass lies before; always inside the line."""
    summed = np.cumsum(mass + mass.sum() / 100 / len(mass) + 1e-12)
    return int(np.clip(np.searchsorted(summed, summed[-1] / 2) + 1, 1, len(mass) - 1))


def shap(classifier: Classifier, scan: Scan, target: str) -> Attribution:
    """Owen values of image regions for the class's log-odds, as (H, W) on the scan's grid.

    A region's value is spread evenly over its cells that change.

    completeness_gap: local accuracy against log-odds in full precision; the evaluations may run in half.
    """
    image = to_tensor(scan, classifier.spec).to(classifier.device)
    without = veil(image)
    index, side = classifier.labels.index(target), image.shape[-1]
    scores = probe(classifier)

    def game(masks: np.ndarray) -> np.ndarray:
        shown = torch.from_numpy(masks).to(image.device)[:, None].float()
        shown = torch.nn.functional.interpolate(shown, (side, side), mode="nearest")
        return scores(torch.lerp(without, image, shown))[:, index].cpu().numpy().astype(np.float64)

    detail = (image - without).abs().mean(1, keepdim=True)
    mass = torch.nn.functional.adaptive_avg_pool2d(detail, GRID)[0, 0].cpu().numpy().astype(np.float64)
    values = owen_values(game, mass, EVALUATIONS, np.random.default_rng(SEED))
    with torch.inference_mode():
        high, low = log_odds(classifier, torch.cat([image, without]))[:, index].tolist()
    gap = abs(values.sum() - (high - low)) / max(abs(high - low), 1e-6)
    canvas = np.asarray(_stretched(values, side)) * GRID**2 / side**2
    return on_scan(canvas, classifier, scan, NAME, target, completeness_gap=gap, steps=EVALUATIONS, baseline="veiled")


def _stretched(values: np.ndarray, side: int) -> np.ndarray:
    """(G, G) → (S, S), each cell repeated."""
    places = np.arange(side) * len(values) // side
    return values[np.ix_(places, places)]
