"""The outline of largest expected Dice, against simulated truths."""

from __future__ import annotations

import numpy as np
import pytest

from mri_models.evaluation.segmentation import dice
from mri_models.rankdice import rank_dice


def blob(height: float, width: float, size: int = 60) -> np.ndarray:
    """A probability map that falls off from its middle: steep for a small `width`."""
    y, x = np.mgrid[:size, :size] - size / 2
    return (height / (1 + np.exp(np.minimum((np.hypot(y, x) - 15) / width, 50)))).astype(np.float32)


def test_a_certain_structure_is_drawn_as_it_is():
    truth = blob(1, 0.01) > 0.5
    outline, expected = rank_dice(truth.astype(np.float32), 1.0)
    assert np.array_equal(outline, truth)
    assert expected == pytest.approx(1, abs=1e-4)


def test_nothing_is_outlined_where_nothing_is_probable():
    outline, expected = rank_dice(np.full((8, 8), 0.001, np.float32), 1.0)
    assert not outline.any()
    assert expected == 0


def test_a_doubtful_structure_is_drawn_whole():
    """Each pixel has a chance under one half, so that a threshold of one half would draw none."""
    outline, expected = rank_dice(np.where(blob(1, 0.01) > 0.5, 0.3, 0).astype(np.float32), 1.0)
    assert np.array_equal(outline, blob(1, 0.01) > 0.5)
    assert expected == pytest.approx(2 * 0.3 / 1.3, abs=1e-4)


@pytest.mark.parametrize(("height", "width"), [(0.95, 1.0), (0.95, 5.0), (0.5, 3.0), (0.3, 6.0)])
def test_no_threshold_expects_more_on_truths_drawn_from_the_map(height, width):
    rng = np.random.default_rng(0)
    map_ = blob(height, width)
    truths = [rng.random(map_.shape) < map_ for _ in range(200)]

    def mean_dice(outline):
        return np.mean([dice(outline, truth) for truth in truths])

    outline, expected = rank_dice(map_, 1.0)
    best = max(mean_dice(map_ >= t) for t in np.linspace(0.02, 0.9, 89))
    assert mean_dice(outline) == pytest.approx(best, abs=0.003)
    assert expected == pytest.approx(mean_dice(outline), abs=0.01)


def test_an_overconfident_network_gets_a_wider_outline():
    map_ = blob(0.9, 2.0)
    narrow, wide = (rank_dice(map_, temperature)[0] for temperature in (1.0, 3.0))
    assert narrow.sum() < wide.sum()
    assert not (narrow & ~wide).any()
