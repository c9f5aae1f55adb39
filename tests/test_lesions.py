"""Simulated lesions in healthy brains, and healed slices among the classifiers' training images."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from PIL import Image

from mri_models.preprocess import InputSpec
from mri_models.training.corpus import IGNORE, TASKS, Sample
from mri_models.training.data import ABNORMAL, HEALTHY, Images
from mri_models.training.lesions import cyst, depths, spots, swelling, with_lesion
from mri_models.training.recipe import Recipe

SPEC = InputSpec(64, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def head() -> np.ndarray:
    """(120, 100) a head with ventricles, texture and a bright skull, symmetric."""
    y, x = np.mgrid[:120, :100].astype(np.float32)
    radius = np.hypot((x - 50) / 40, (y - 60) / 54)
    image = (radius < 1) * (0.45 + 0.1 * np.cos(np.abs(x - 50) / 4) * np.sin(y / 5))
    image -= 0.3 * (np.hypot(np.abs(x - 50) - 9, (y - 55) / 2) < 6)
    image[(radius > 0.93) & (radius < 1)] = 0.95
    return np.clip(image, 0, 1).astype(np.float32)


def test_a_lesion_is_seen_inside_its_outline_and_nowhere_far_from_it():
    image, rng = head(), np.random.default_rng(0)
    drawn = 0
    for _ in range(30):
        changed, outline = with_lesion(image, rng)
        assert set(np.unique(outline)) <= {0, 255}
        if not outline.any():
            np.testing.assert_array_equal(changed, image)
            continue
        drawn += 1
        difference = np.abs(changed - image)
        assert difference[outline > 0].mean() > 0.1
        assert difference[cv2.dilate(outline, np.ones((41, 41), np.uint8)) == 0].max(initial=0) < 0.02
        assert changed.dtype == np.float32
        assert changed.min() >= 0
        assert changed.max() <= 1
    assert drawn > 20


def test_lesions_begin_in_tissue_and_not_in_the_skull_or_outside():
    inside = depths(head())
    assert inside[60, 75]
    assert not inside[60, 92]
    assert not inside[5, 5]


@pytest.mark.parametrize("kind", [spots, swelling, cyst])
def test_each_kind_changes_the_image(kind):
    image = head()
    strength, changed = kind(image, depths(image), np.random.default_rng(3))
    assert strength.shape == image.shape
    assert strength.max() > 0.5
    assert np.abs(strength * (changed - image)).max() > 0.05


@pytest.mark.parametrize("image", [np.zeros((50, 40), np.float32), np.eye(60, dtype=np.float32)])
def test_where_no_brain_is_nothing_is_drawn(image):
    changed, outline = with_lesion(image, np.random.default_rng(0))
    assert not outline.any()
    np.testing.assert_array_equal(changed, image)


def sample(folder, name: str, label: str, mask: np.ndarray | None) -> Sample:
    image = head()
    if mask is not None:
        image = np.where(mask > 0, np.float32(1), image)
        Image.fromarray(mask).save(folder / f"{name}_mask.png")
    Image.fromarray((image * 255).astype(np.uint8)).save(folder / f"{name}.png")
    targets = {"gate": 0, "body_part": 0, "brain": TASKS["brain"].index(label), "spine": IGNORE}
    outlined = folder / f"{name}_mask.png" if mask is not None else None
    return Sample(folder / f"{name}.png", outlined, name, "here", "train", "mri", "brain", targets, "")


@pytest.fixture
def samples(tmp_path) -> list[Sample]:
    mask = np.zeros((120, 100), np.uint8)
    cv2.circle(mask, (72, 60), 9, 255, -1)
    return [sample(tmp_path, "sick", "glioma", mask), sample(tmp_path, "well", "no_tumor", None)]


def recipe(**changes: object) -> Recipe:
    return Recipe("brain", "resnet10t", "brain", {"brain": 1.0}, size=64, transplant=0.0, **changes)


def test_healed_slices_join_as_healthy_brains_of_a_source_of_their_own(samples):
    images = Images(samples, recipe(healed=True), SPEC, train=True)
    [twin] = images.samples[2:]
    assert twin.targets["brain"] == HEALTHY
    assert twin.mask is None
    assert twin.source == "here, healed"
    inside = images.masks[0] > 0
    assert images.pixels[0][inside].mean() > 250  # the tumour
    assert images.pixels[2][inside].mean() < 180
    assert images.healthy == [1, 2]
    assert images.tumours == [0]
    assert len(images[2]["pixel_values"]) == 3


@pytest.mark.parametrize(("healed", "train"), [(False, True), (True, False)])
def test_none_are_healed_without_being_asked_for_and_none_for_validation(samples, healed, train):
    assert len(Images(samples, recipe(healed=healed), SPEC, train=train)) == 2


def test_the_recipes_share_of_healthy_brains_gets_a_lesion(samples):
    images = Images(samples, recipe(lesions=0.5), SPEC, train=True)
    rng = np.random.default_rng(0)
    labels = [images._with_patch(head(), rng)[2] for _ in range(200)]
    assert set(labels) == {HEALTHY, ABNORMAL}
    assert 0.3 < np.mean([label == ABNORMAL for label in labels]) < 0.6  # some would not be seen
    always = [images._with_patch(head(), rng) for _ in range(50)]
    assert all(outline.any() == (label == ABNORMAL) for _, outline, label in always)
