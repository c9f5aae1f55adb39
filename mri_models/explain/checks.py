"""Quick checks of one map, half a second on two cores; what test patients say of its method is in `failed_study`."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from mri_models.classify import Classifier
from mri_models.explain.cam import GRAD_CAM, LAYER_CAM, grad_cam, layer_cam
from mri_models.explain.cells import cells, content, rank_correlation
from mri_models.explain.curves import area, measure_curves, order_of, random_orders
from mri_models.explain.randomise import HEAD, randomised
from mri_models.types import Attribution, Check, Scan

GAP = 0.05  # completeness gap that still counts as adding up
SAME = 0.5  # rank correlation above which two maps count as the same
RANDOM_ORDERS = 2
_QUICK = {GRAD_CAM: grad_cam, LAYER_CAM: layer_cam}  # methods that can afford a second map


def checked(classifier: Classifier, scan: Scan, attribution: Attribution) -> Attribution:
    """The same map with everything that can be checked in a moment."""
    return dataclasses.replace(attribution, checks=tuple(_checks(classifier, scan, attribution)))


def completeness(attribution: Attribution) -> Iterator[Check]:
    """Whether the map adds up to the score; costs nothing. Class activation maps make no such claim."""
    if (gap := attribution.completeness_gap) is not None:
        yield Check("completeness", gap, GAP, gap <= GAP)


def similarity(first: Attribution, second: Attribution, scan: Scan) -> float:
    """|rank correlation| of two signed maps over the cells that show something; an inverted map is the same map."""
    inside = content(scan)
    return abs(rank_correlation(cells(first)[inside], cells(second)[inside]))


def _checks(classifier: Classifier, scan: Scan, attribution: Attribution) -> Iterator[Check]:
    yield from completeness(attribution)
    orders = [order_of(attribution, scan), *random_orders(scan, RANDOM_ORDERS)]
    own, *drawn = area(measure_curves(classifier, scan, attribution.target, orders).deletion).tolist()
    by_lot = sum(drawn) / len(drawn)
    yield Check("deletion", own, by_lot, own < by_lot)
    if again := _QUICK.get(attribution.method):
        alike = similarity(attribution, again(randomised(classifier, HEAD), scan, attribution.target), scan)
        yield Check("random_head", alike, SAME, alike <= SAME)
