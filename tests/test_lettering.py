"""Burnt-in text is noticed and said; anatomy, noise and patterns are not taken for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fakes import FakePipeline, scan_png
from PIL import Image, ImageDraw, ImageFont
from places import EXAMPLES
from test_intake import RAMP, dicom
from test_quality import phantom

from mri_models.intake import read_scan
from mri_models.lettering import WARNING, has_lettering, warnings_of
from mri_models.page.render import verdict
from mri_models.report import complete


def labelled(text: str, size: int = 14, fill: int = 255, ground: int = 0) -> np.ndarray:
    image = Image.fromarray(np.maximum(phantom() * 255, ground).astype(np.uint8))
    ImageDraw.Draw(image).text((4, 4), text, fill=fill, font=ImageFont.load_default(size))
    return np.asarray(image, np.float32) / 255


@pytest.mark.parametrize("text", ["DOE JANE", "1957-03-12", "ID 4711-22", "HOSPITAL 03"])
@pytest.mark.parametrize("size", [12, 16, 18])
def test_names_and_dates_are_noticed(text: str, size: int):
    assert has_lettering(labelled(text, size))


def test_dark_letters_on_a_bright_ground_are_noticed():
    assert has_lettering(1 - labelled("DOE JANE"))


def test_a_phantom_noise_and_stripes_hold_no_letters():
    noise = np.random.default_rng(0).random((256, 256)).astype(np.float32)
    stripes = np.tile(np.arange(256) // 4 % 2, (256, 1)).astype(np.float32)
    assert not any(has_lettering(pixels) for pixels in (phantom().astype(np.float32), noise, stripes))


def test_a_header_that_admits_it_is_believed():
    assert warnings_of(read_scan(dicom(RAMP, BurnedInAnnotation="YES"))) == (WARNING,)
    assert warnings_of(read_scan(dicom(RAMP, BurnedInAnnotation="NO"))) == ()


def test_the_warning_stands_in_report_json_and_page():
    report = replace(FakePipeline().verdict(FakePipeline().read(scan_png("glioma")), "x"), warnings=(WARNING,))
    assert complete(report).findings[-1] == report.to_dict()["warnings"][0] == WARNING
    assert WARNING in complete(report).to_markdown()
    assert WARNING in verdict(report)


def test_examples_with_letters_are_the_document_and_the_photo(expected):
    readable = [name for name, case in expected.items() if case["stage"] != "file"]
    told = {name for name in readable if warnings_of(read_scan(EXAMPLES / name))}
    assert told == {"15_photo.jpg", "16_document.png"}
