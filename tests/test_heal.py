"""Tumours taken out of a head by its own mirror image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mri_models.training.heal import heal, midline, reflected, reflection, twice_healthy


def head(angle: float = 0.0, shift: int = 0) -> np.ndarray:
    """(120, 100) a head with two ventricles and texture, symmetric about a line that is turned and shifted."""
    y, x = np.mgrid[:120, :100].astype(np.float32)
    inside = np.hypot((x - 50) / 38, (y - 60) / 52) < 1
    image = inside * (0.5 + 0.2 * np.cos(np.abs(x - 50) / 4) * np.sin(y / 5))
    image -= 0.3 * (np.hypot(np.abs(x - 50) - 9, (y - 55) / 2) < 6)
    turn = cv2.getRotationMatrix2D((50, 60), angle, 1.0)
    turn[0, 2] += shift
    return np.clip(cv2.warpAffine(image.astype(np.float32), turn, (100, 120)), 0, 1)


def with_tumour(image: np.ndarray, x: int, y: int) -> tuple[np.ndarray, np.ndarray]:
    region = np.zeros(image.shape, np.uint8)
    cv2.circle(region, (x, y), 9, 1, -1)
    return np.where(region > 0, np.float32(1.0), image), region


@pytest.mark.parametrize(("angle", "shift"), [(0, 0), (8, 0), (-4, 5)])
def test_a_tumour_gives_way_to_the_healthy_half(angle, shift):
    healthy = head(angle, shift)
    sick, region = with_tumour(healthy, 72 + shift, 60)
    matrix = midline(sick, region)
    assert matrix is not None
    for seed in range(4):  # both ways of healing
        healed = heal(sick, region, matrix, np.random.default_rng(seed))
        inside = region > 0
        assert np.abs(healed - healthy)[inside].mean() < 0.12
        assert np.abs(sick - healthy)[inside].mean() > 0.35


def test_what_lies_far_from_the_tumour_stays():
    sick, region = with_tumour(head(), 72, 60)
    healed = heal(sick, region, midline(sick, region), np.random.default_rng(0))
    np.testing.assert_array_equal(healed[:, :35], sick[:, :35])


def test_what_swells_around_a_tumour_goes_with_the_whole_half():
    healthy = head()
    sick, region = with_tumour(healthy, 72, 60)
    beside = with_tumour(healthy, 68, 85)[1] > 0
    twins = twice_healthy(np.where(beside, healthy + 0.3, sick), region)
    assert np.abs(twins - healthy)[beside].mean() < 0.12
    assert np.abs(twins - healthy)[region > 0].mean() < 0.12
    assert twice_healthy(*with_tumour(healthy, 52, 60)) is None


def test_a_tumour_on_the_midline_stays():
    assert midline(*with_tumour(head(), 52, 60)) is None


def test_a_head_without_symmetry_stays():
    y, x = np.mgrid[:120, :100].astype(np.float32)
    profile = (np.hypot((x - 50) / 38, (y - 60) / 52) < 1) * (0.2 + 0.7 * x / 100)
    assert midline(*with_tumour(profile.astype(np.float32), 72, 60)) is None


def test_an_empty_picture_has_no_midline():
    assert midline(np.zeros((80, 80), np.float32), np.ones((80, 80), np.uint8)) is None


def test_a_reflection_undoes_itself():
    matrix = reflection(50, 60, 7)
    image = cv2.GaussianBlur(head(), (0, 0), 2)
    twice = reflected(reflected(image, matrix.astype(np.float32)), matrix.astype(np.float32))
    assert np.abs(twice - image)[20:100, 25:75].max() < 0.05
