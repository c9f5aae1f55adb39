"""The report to take away: PDF, Markdown and the page's HTML say the same, carry the disclaimer, and leak nothing."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from advice_cases import SCAN, SPINE
from fakes import FakePipeline, scan_png
from PIL import Image
from pypdf import PdfReader

from mri_models.__main__ import main
from mri_models.advice import Context, advise, rules_digest
from mri_models.contour import drawn
from mri_models.document import compose, markdown, pdf
from mri_models.document.tree import Document, Statements
from mri_models.errors import FileRejected, StageFailed
from mri_models.explain import overlay, picture
from mri_models.intake import MAX_BYTES, fingerprint
from mri_models.page.paper import answer, report_call, sheet
from mri_models.types import Attribution, Mask, Report, Scan
from mri_models.wording import LANGUAGES, Wording, vocabulary

PIPELINE = FakePipeline()
MODELS = {"gate": "ab" * 32, "diagnosis/brain": "cd" * 32}
INSIDE = np.pad(np.ones((60, 60), np.uint8), ((100, 160), (170, 90)))
MASK = Mask(INSIDE, INSIDE.astype(np.float32), ("tumour",), 0.9, 0.5, None)
CONTEXT = Context("40-64", "female", ("stroke",), ("headache", "seizure"))


def full(outcome: str = "glioma", **changes: object) -> Report:
    """A report with everything in it: picture, map, anomaly, hashes."""
    scan = PIPELINE.read(scan_png(outcome))
    report = PIPELINE.verdict(scan, "scan.png")
    mapped = PIPELINE.explain(scan, report) if PIPELINE.explained(report) else None
    return replace(report, scan=scan, explanation=mapped, models=MODELS, input_sha256="ef" * 32, **changes)


def document(report: Report, language: str = "en", context: Context | None = None) -> Document:
    return compose(report, advise(report, context, language))


def pages(data: bytes) -> list[str]:
    return [" ".join(page.extract_text().split()) for page in PdfReader(BytesIO(data)).pages]


def test_a_service_that_failed_says_nothing_about_the_image():
    failed = PIPELINE.refuse(StageFailed.at_stage("gate", RuntimeError()), "scan.png")
    found = document(failed)
    assert (found.headline, found.tone) == ("Temporarily unable", "unsure")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("outcome", ["glioma", "doubt", "photo"])
def test_every_page_carries_the_disclaimer_and_its_number(outcome: str, language: str):
    texts = pages(full(outcome).to_pdf(language=language, context=CONTEXT))
    disclaimer, word = Wording(language).disclaimer, Wording(language).phrase("page")
    assert texts[0].count(disclaimer) == 2  # in the box at the top as well
    assert all(disclaimer in text for text in texts)
    assert [f"{word} {number} / {len(texts)}" in text for number, text in enumerate(texts, 1)] == [True] * len(texts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pdf_says_every_sentence_with_its_rule_number_and_hash(language: str):
    report = full()
    text = " ".join(pages(report.to_pdf(language=language, context=CONTEXT)))
    advice = advise(report, CONTEXT, language)
    for sentence in (*advice.findings, *advice.confidence, *advice.changes, *advice.context, *advice.suggestions):
        assert sentence.rule in text
        assert sentence.text.replace("\xa0", " ") in text.replace("\xa0", " ")
    for digest in (*MODELS.values(), report.input_sha256, rules_digest()):
        assert digest in text
    assert Wording(language).score(report.diagnosis.threshold) in text


def test_the_pdf_shows_picture_key_and_anomaly_triple():
    images = [image for page in PdfReader(BytesIO(full().to_pdf())).pages for image in page.images]
    assert len(images) == 1 + 1 + 3 + 1  # overlay and its key, three pictures and theirs
    assert max(image.image.width for image in images) == 320
    plain = [image for page in PdfReader(BytesIO(full("photo").to_pdf())).pages for image in page.images]
    assert len(plain) == 1  # no map, no key


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_pdf_shows_what_was_outlined(language: str):
    report = full(localization=MASK)
    images = [image for page in PdfReader(BytesIO(report.to_pdf())).pages for image in page.images]
    assert len(images) == 1 + 1 + 1 + 3 + 1  # one more than without
    captions = {"en": "Outlined: what resembles a tumour", "de": "Umrissen: was einem Tumor ähnelt"}
    assert captions[language] in pages(report.to_pdf(language=language))[0]


def test_a_spines_paper_tells_its_discs_and_in_german_says_so_in_german():
    target = Attribution(SCAN.pixels * 1, "integrated_gradients", "degeneration at L5/S1", 1.0)
    report = replace(SPINE, scan=SCAN, localization=None, explanation=target)
    text = " ".join(pages(report.to_pdf(language="de")))
    assert "L5/S1 2, L4/L5 2 oder 3, L3/L4 1 bis 3." in text
    assert "spricht für: Degeneration auf Höhe L5/S1" in text
    for written in (" ".join(pages(report.to_pdf())), markdown(document(report)), sheet(report, Context(), "en")):
        assert "L5/S1 2, L4/L5 2 or 3, L3/L4 1 to 3." in written


@pytest.mark.parametrize("mapped", [True, False])
def test_pictures_are_drawn_no_larger_than_they_are_printed_and_look_the_same(mapped: bool):
    y, x = np.mgrid[:2000, :1500].astype(np.float32)
    scan = Scan(np.exp(-np.hypot(y - 900, x - 700) / 500))
    values = (np.hypot(y - 1100, x - 600) < 200).astype(np.uint8)
    found = Attribution((x - 700) * scan.pixels / 500, "integrated_gradients", "glioma", 0.5)
    report = full(localization=Mask(values, values.astype(np.float32), ("tumour",), 0.9, 0.5, None))
    report = replace(report, scan=scan, explanation=found if mapped else None)
    [figures] = document(report).section("picture").blocks
    before = (overlay(scan, found) if mapped else picture(scan).convert("L"), drawn(scan, report.localization))
    for figure, large in zip(figures.items, before, strict=True):
        assert figure.pixels.shape[:2] == (640, 480)
        expected = np.asarray(large.resize((480, 640), Image.Resampling.BOX), float)
        assert np.corrcoef(figure.pixels.ravel(), expected.ravel())[0, 1] > 0.995
        assert np.abs(figure.pixels - expected).mean() < 2


def test_equal_reports_give_equal_bytes_and_others_do_not():
    first, second = full().to_pdf(context=CONTEXT), full().to_pdf(context=CONTEXT)
    assert first == second
    assert full().to_pdf() != first


def test_the_pdf_names_no_day_and_no_folder(tmp_path):
    data = full(file="scan.png").to_pdf(tmp_path / "scan.pdf")
    meta = PdfReader(BytesIO(data)).metadata
    assert (tmp_path / "scan.pdf").read_bytes() == data
    assert meta.creation_date.year == 2000
    assert str(tmp_path) not in " ".join(pages(data))


@pytest.mark.parametrize(("paper", "width"), [("A4", 595), ("Letter", 612)])
def test_both_papers_hold_everything_inside_their_margins(paper: str, width: int):
    reader = PdfReader(BytesIO(pdf(document(full(), "de", CONTEXT), paper)))
    assert round(float(reader.pages[0].mediabox.width)) == width
    places = []
    for page in reader.pages:
        page.extract_text(visitor_text=lambda text, _, matrix, *__: places.append(matrix[4]) if text.strip() else None)
    assert min(places) >= 18 / 25.4 * 72 - 1
    assert max(places) < width - 18 / 25.4 * 72


def test_a_refused_file_gets_a_report_too():
    report = PIPELINE.refuse(FileRejected("unsupported", "It looks like text."), "脳 notes.png")
    [text] = pages(report.to_pdf())
    assert "Refused: not a readable image" in text
    assert "Repeat with the image exported anew" in text
    assert "? notes.png" in text  # the core fonts have no such sign; JSON and Markdown keep it
    assert "# Report on one image: 脳 notes.png" in markdown(document(report))


def test_markdown_and_html_say_what_the_pdf_says():
    tree = document(full(), "de", CONTEXT)
    said = [s for section in tree.sections for b in section.blocks if isinstance(b, Statements) for s in b.sentences]
    text, page = markdown(tree), html.unescape(sheet(full(), CONTEXT, "de"))
    assert len(said) > 15
    for sentence in said:
        assert f"- {sentence.text} `{sentence.rule}`" in text
        assert f"<li><span>{sentence.text}</span><code>{sentence.rule}</code></li>" in page
    assert (text.count(tree.disclaimer), page.count(tree.disclaimer)) == (2, 1)


def test_measurements_have_stable_names_for_other_renderers():
    [block] = document(full(), "de").section("verdict").blocks
    names = {item.name: item.value for item in block.items}
    assert names["diagnosis.confidence"] == pytest.approx(0.93)
    assert set(names) >= {"gate.confidence", "anomaly.score", "explanation.completeness_gap"}
    assert "localization.expected_dice" not in names
    [block] = document(full(localization=replace(MASK, expected_dice=0.81)), "en").section("verdict").blocks
    [found] = [item for item in block.items if item.name == "localization.expected_dice"]
    assert (found.value, found.text) == (0.81, "0.81")


def test_the_links_hold_their_files_and_foreign_names_are_escaped():
    report = full(file='<b>"x".png')
    page = sheet(report, CONTEXT, "en")
    links = dict(re.findall(r'<a download="([^"]+)" href="data:[\w/]+;base64,([^"]+)">', page))
    names = [html.unescape(name) for name in links]
    assert names == [f'<b>"x".report.{suffix}' for suffix in ("pdf", "md", "json")]
    pdf_data, _, json_data = (base64.b64decode(data) for data in links.values())
    assert pdf_data == report.to_pdf(context=CONTEXT)
    assert json.loads(json_data)["report"] == json.loads(json.dumps(report.to_dict()))
    assert "<b>" not in page


def test_the_answer_of_the_endpoint():
    found = answer(full(), CONTEXT, "de")
    assert set(found) == {"report", "advice", "markdown", "pdf_base64"}
    assert base64.b64decode(found["pdf_base64"]).startswith(b"%PDF-")
    assert found["advice"]["given"]["symptoms"] == ["headache", "seizure"]
    assert found["advice"]["suggestions"][0]["rule"] == "S-urgent"


def test_the_endpoints_docstring_lists_every_word():
    text = report_call(None).__doc__
    assert [word for words in vocabulary()["context"].values() for word in words if word not in text] == []


def test_the_command_line_writes_the_pdf(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("mri_models.pipeline.Pipeline.from_pretrained", lambda source: PIPELINE)
    (tmp_path / "scan.png").write_bytes(scan_png("photo"))
    arguments = ["analyze", "--no-explain", "--pdf", "--language", "de", str(tmp_path / "scan.png")]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    assert "Abgelehnt: keine MRT-Aufnahme" in pages((tmp_path / "out" / "scan.pdf").read_bytes())[0]
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "--pdf needs --out" in capsys.readouterr().err


def test_the_command_line_writes_the_outline(tmp_path, monkeypatch):
    def analyse(path, **_):
        scan = PIPELINE.read(path)
        inside = (scan.pixels > 0.5).astype(np.uint8)
        mask = Mask(inside, inside.astype(np.float32), ("tumour",), 0.9, 0.5, None)
        return replace(PIPELINE.verdict(scan, path.name), localization=mask)

    monkeypatch.setattr("mri_models.pipeline.Pipeline.from_pretrained", lambda source: analyse)
    monkeypatch.setattr("mri_models.volumes.pipeline.VolumePipeline", lambda pipeline: None)
    (tmp_path / "scan.png").write_bytes(scan_png("glioma"))
    assert main(["analyze", "--no-explain", str(tmp_path / "scan.png"), "--out", str(tmp_path / "out")]) == 0
    with Image.open(tmp_path / "out" / "scan.mask.png") as mask, Image.open(tmp_path / "scan.png") as scan:
        assert mask.size == scan.size
        assert set(np.unique(mask)) == {0, 255}


def test_fingerprints_are_of_files_only(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    expected = hashlib.sha256(b"abc").hexdigest()
    assert [fingerprint(source) for source in (b"abc", tmp_path / "a", str(tmp_path / "a"))] == [expected] * 3
    missing, array, large = tmp_path / "b", np.zeros((2, 2)), b"0" * (MAX_BYTES + 1)
    assert [fingerprint(source) for source in (missing, tmp_path, array, large)] == [None] * 4
