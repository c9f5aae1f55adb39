"""What holds nothing to analyse is refused by its own code; a plain phantom passes, noisy, small or scaled up."""

from __future__ import annotations

import io
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from mri_models.errors import QualityRejected
from mri_models.intake import read_scan
from mri_models.quality import check_quality
from mri_models.types import Scan


def phantom(height: int = 256, width: int = 256) -> np.ndarray:
    """An ellipse with a rim, two inner structures and a shading, on black."""
    y, x = np.mgrid[:height, :width]
    y, x = 2 * y / height - 1, 2 * x / width - 1
    radius = np.hypot(x / 0.7, y / 0.85)
    image = np.where(radius < 1, 0.45 + 0.15 * x, 0.0) + 0.4 * ((radius > 0.9) & (radius < 1))
    image[np.hypot(x - 0.2, y) < 0.15] = 0.15
    image[np.hypot(x + 0.25, y + 0.2) < 0.12] = 0.85
    return image


def scan_of(values: np.ndarray) -> Scan:
    return Scan(np.ascontiguousarray(np.clip(values, 0, 1), np.float32))


def code_of(values: np.ndarray) -> str:
    with pytest.raises(QualityRejected) as caught:
        check_quality(scan_of(values))
    assert caught.value.stage == "quality"
    return caught.value.code


@pytest.mark.parametrize("shape", [(64, 64), (256, 64), (256, 256), (300, 448), (1200, 1200)])
def test_a_phantom_of_any_size_passes(shape: tuple[int, int]) -> None:
    check_quality(scan_of(phantom(*shape)))


@pytest.mark.parametrize("sigma", [0.05, 0.1])
def test_a_noisy_phantom_passes(sigma: float) -> None:
    rng = np.random.default_rng(0)
    real, imaginary = rng.normal(0, sigma, (2, 256, 256))
    check_quality(scan_of(np.hypot(phantom() + real, imaginary)))


def test_an_upsampled_phantom_passes() -> None:
    small = Image.fromarray((phantom(96, 96) * 255).astype(np.uint8))
    check_quality(read_scan(small.resize((960, 960), Image.Resampling.BICUBIC)))


@pytest.mark.parametrize(
    ("shape", "code"), [((63, 200), "too_small"), ((200, 40), "too_small"), ((64, 257), "extreme_aspect")]
)
def test_shapes_that_no_model_knows(shape: tuple[int, int], code: str) -> None:
    assert code_of(phantom(*shape)) == code


def test_nearly_constant_images_are_blank() -> None:
    specks = np.zeros((256, 256))
    specks[100:104, 100:104] = 1
    faint = 0.5 + 0.004 * phantom()
    assert [code_of(values) for values in (np.full((90, 90), 0.7), specks, faint)] == ["blank"] * 3


@pytest.mark.parametrize("side", [64, 200, 1000])
@pytest.mark.parametrize("kind", ["gaussian", "uniform", "rician", "grey specks"])
def test_pure_noise_is_refused(kind: str, side: int) -> None:
    rng = np.random.default_rng(side)
    size = (side, side)
    values = {
        "gaussian": rng.normal(0.5, 0.15, size),
        "uniform": rng.random(size),
        "rician": np.hypot(*rng.normal(0, 0.2, (2, *size))),
        "grey specks": np.where(rng.random(size) < 0.1, rng.random(size), 0.4),
    }[kind]
    assert code_of(values) == "noise"


def test_noise_is_refused_after_jpeg() -> None:
    noise = np.random.default_rng(0).normal(128, 40, (256, 256)).clip(0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG", quality=30)
    with pytest.raises(QualityRejected) as caught:
        check_quality(read_scan(file.getvalue()))
    assert caught.value.code == "noise"


def test_salt_and_pepper_and_masks_have_two_levels() -> None:
    salt = np.random.default_rng(0).random((256, 256)) < 0.5
    assert code_of(salt) == code_of(phantom() > 0.3) == "two_level"


def test_soft_shades_are_blurred() -> None:
    smooth = Image.fromarray((phantom() * 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(40))
    ramp = np.tile(np.linspace(0, 1, 256), (256, 1))
    assert code_of(ramp) == "blurred"
    assert code_of(np.asarray(smooth) / 255) == "blurred"


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 90), st.integers(1, 400), st.integers(0, 2**32 - 1), st.floats(0, 1), st.floats(0, 1))
def test_any_image_passes_or_is_refused(height: int, width: int, seed: int, level: float, spread: float) -> None:
    values = level + spread * (np.random.default_rng(seed).random((height, width)) - 0.5)
    with suppress(QualityRejected):
        check_quality(scan_of(values))
