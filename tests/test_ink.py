"""Coloured marks are painted over, coloured areas and pictures are not; what it is worth stands in the README."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from fakes import FakePipeline, scan_png
from PIL import Image
from places import EXAMPLES, ROOT
from standing_cases import pipeline, samples_in

from mri_models.evaluation import ink as measured
from mri_models.evaluation.ink import WAYS, as_jpeg, drawn_on, measure_ink, render, write_ink_table
from mri_models.evaluation.tables import check_readme
from mri_models.ink import FILLED, PAINTED, from_colour, warnings_of
from mri_models.intake import read_scan
from mri_models.page.render import verdict
from mri_models.report import complete

RED = (230, 30, 30)


def tissue(height: int = 240, width: int = 200) -> np.ndarray:
    """(H, W, 3) uint8, grey: smooth structures, no colour."""
    grey = cv2.GaussianBlur(np.random.default_rng(0).random((height, width)), (0, 0), height / 20)
    grey = (grey - grey.min()) / (grey.max() - grey.min())
    return np.repeat(np.rint(40 + 170 * grey).astype(np.uint8)[..., None], 3, axis=2)


def luma(colour: np.ndarray) -> np.ndarray:
    return colour @ np.array([0.299, 0.587, 0.114]) / 255


def arrow(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    start, tip = (width // 5, height // 5), (width // 2, height // 2)
    return cv2.arrowedLine(image.copy(), start, tip, RED, max(2, height // 60), cv2.LINE_AA, tipLength=0.3)


@pytest.mark.parametrize("size", [(240, 200), (1500, 1900)], ids=["small", "larger than it is looked at"])
@pytest.mark.parametrize("stored", ["png", "jpeg", "array", "float", "alpha"])
def test_an_arrow_is_painted_over_with_what_surrounds_it(size: tuple[int, int], stored: str):
    plain, drawn = tissue(*size), arrow(tissue(*size))
    opaque = np.dstack([drawn, np.full(size, 255, np.uint8)])
    source = {
        "png": png(drawn),
        "jpeg": as_jpeg(drawn),
        "array": drawn,
        "float": drawn / np.float32(255),
        "alpha": png(opaque),
    }[stored]
    scan, under = read_scan(source), (plain != drawn).any(2)
    assert (scan.painted, scan.filled) == (True, False)
    off = np.abs(scan.pixels - luma(plain))
    assert off[under].mean() < 0.3 * np.abs(luma(drawn) - luma(plain))[under].mean()
    assert off[~cv2.dilate(under.astype(np.uint8), np.ones((9, 9))).astype(bool)].max() < 0.03


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def test_letters_and_a_banner_go_whole():
    drawn = tissue()
    drawn[:12] = (20, 60, 200)
    cv2.putText(drawn, "www.example.org", (10, 9), 0, 0.3, (255, 255, 255), 1)  # white, in blue
    cv2.putText(drawn, "L4", (80, 150), 0, 0.9, RED, 2)
    scan = from_colour(drawn)
    assert (scan.painted, scan.filled) == (True, False)
    assert np.abs(scan.pixels[:12] - luma(tissue())[12]).max() < 0.35  # drawn on from the row below
    assert np.abs(scan.pixels - luma(tissue()))[120:160].max() < 0.15


def test_a_thick_banner_is_one_at_the_edge_only():
    drawn = tissue(400, 120)
    drawn[:16] = RED
    assert warnings_of(from_colour(drawn)) == (PAINTED,)
    assert warnings_of(from_colour(np.roll(drawn, 100, axis=0))) == (FILLED,)


def test_what_is_filled_with_colour_is_left_and_said():
    drawn = cv2.circle(tissue(), (100, 120), 25, RED, -1)  # as programs show what they outlined
    scan = from_colour(drawn)
    assert (scan.painted, scan.filled) == (False, True)
    np.testing.assert_allclose(scan.pixels, luma(drawn), atol=1e-6)
    both = from_colour(cv2.line(drawn, (10, 10), (60, 40), (0, 255, 0), 2))
    assert warnings_of(both) == (PAINTED, FILLED)


@pytest.mark.parametrize("tint", [(1.0, 0.8, 0.6), (0.7, 0.85, 1.0)], ids=["sepia", "blue film"])
def test_a_coloured_picture_is_only_made_grey(tint: tuple[float, float, float]):
    picture = np.rint(arrow(tissue()) * np.array(tint)).astype(np.uint8)
    scan = from_colour(picture)
    assert warnings_of(scan) == ()
    np.testing.assert_allclose(scan.pixels, luma(picture), atol=1e-6)


def test_grey_images_in_colour_files_stay_as_they_are_even_as_poor_jpeg():
    file = io.BytesIO()
    Image.fromarray(tissue()).save(file, "JPEG", quality=20)
    scan = read_scan(file.getvalue())
    assert warnings_of(scan) == ()
    np.testing.assert_allclose(scan.pixels, luma(np.asarray(Image.open(file))), atol=1e-6)


def test_of_the_examples_one_was_drawn_on():
    told = {}
    for path in EXAMPLES.glob("*.png"):
        if path.stem.startswith(("19", "20")):
            continue
        told[path.name] = warnings_of(read_scan(path))
    assert {name for name, texts in told.items() if PAINTED in texts or FILLED in texts} == {"22_brain_drawn_on.png"}


def test_the_warnings_stand_in_report_json_and_page():
    report = replace(FakePipeline().verdict(FakePipeline().read(scan_png("glioma")), "x"), warnings=(PAINTED, FILLED))
    assert complete(report).findings[-2:] == report.warnings
    assert report.to_dict()["warnings"] == [PAINTED, FILLED]
    assert PAINTED in verdict(report)
    assert PAINTED in complete(report).to_markdown()


# what it is worth


def test_the_same_marks_are_drawn_in_colour_and_in_white():
    pixels = tissue()[..., 0].astype(np.float32) / 255
    colour, white = drawn_on(pixels, seed=3)
    where = (white != np.rint(pixels * 255)[..., None].astype(np.uint8)).any(2)
    assert 0 < where.mean() < 0.3
    assert np.array_equal(colour[~where], np.rint(pixels * 255)[..., None].repeat(3, 2)[~where])
    assert np.ptp(colour.astype(int), axis=2)[where].max() > 200
    assert np.ptp(white.astype(int), axis=2).max() == 0
    assert all(np.array_equal(a, b) for a, b in zip(drawn_on(pixels, seed=3), (colour, white), strict=True))


def test_an_image_without_tissue_can_be_drawn_on():
    assert drawn_on(np.zeros((64, 64), np.float32), seed=0)[1].max() == 255


def test_each_way_of_an_image_is_asked_and_the_table_stands_in_the_readme(tmp_path):
    found = measure_ink(pipeline(), samples_in(tmp_path), "test", None)
    brain = next(one for one in found["questions"] if one["question"] == "brain accepted as brain")
    assert brain["number"] == 2
    assert brain["nothing drawn"]["value"] == 1.0
    assert all(0 <= brain[way]["value"] <= 1 for way in WAYS)
    assert found["strangers"] == {"images": 1, "painted": 0, "let_in": 0}
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results:ink -->\n<!-- /results:ink -->")
    write_ink_table(found, readme)
    assert check_readme(readme, measured.NAME, render(found))


def test_the_table_is_of_these_weights_and_shown():
    metrics = json.loads((ROOT / "weights" / "metrics.json").read_text(encoding="utf-8"))
    found = metrics[measured.NAME]
    for name, digest in found["models"].items():
        assert json.loads((ROOT / "weights" / name / "config.json").read_text())["mri"]["sha256"] == digest, name
    assert check_readme(ROOT / "README.md", measured.NAME, render(found))
