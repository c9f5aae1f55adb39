"""The named endpoints through gradio_client and plain HTTP, the page's HTML, and how errors reach the caller."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import gradio as gr
import httpx
import pytest
from fakes import FakePipeline, scan_png, served
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

import app
from mri_models.errors import FileRejected, WeightsError
from mri_models.page import render
from mri_models.page.gallery import gallery, load_examples
from mri_models.page.viewer import view
from mri_models.types import DISCLAIMER, Report


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with served() as address:
        yield address


@pytest.fixture(scope="module")
def client(url: str, tmp_path_factory: pytest.TempPathFactory) -> Client:
    return Client(url, verbose=False, download_files=tmp_path_factory.mktemp("downloads"))


@pytest.fixture
def scan(tmp_path: Path):
    def write(outcome: str, name: str = "scan.png") -> str:
        path = tmp_path / name
        path.write_bytes(scan_png(outcome))
        return str(path)

    return write


def keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {key for inner in value.values() for key in keys(inner)}
    return {key for inner in value for key in keys(inner)} if isinstance(value, list) else set()


def test_analyze_gives_the_public_json(client: Client, scan):
    report = client.predict(handle_file(scan("glioma")), api_name="/analyze")
    assert (report["status"], report["file"], report["diagnosis"]["label"]) == ("predicted", "scan.png", "glioma")
    assert report["explanation"] is None
    assert set(report) == set(Report("x").to_dict())
    assert "path" not in keys(report)


def test_analyze_explains_on_request(client: Client, scan):
    report = client.predict(handle_file(scan("glioma")), True, api_name="/analyze")
    assert report["explanation"]["target"] == "glioma"
    assert report["timing_ms"]["explanation"] > 0


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("empty.png", b"", "empty"),
        ("notes.png", b"hello", "unsupported"),
        ("cut.png", scan_png("glioma")[:900], "corrupt"),
    ],
)
def test_bad_files_are_refused_not_errors(client: Client, tmp_path: Path, name: str, data: bytes, code: str):
    (tmp_path / name).write_bytes(data)
    report = client.predict(handle_file(tmp_path / name), api_name="/analyze")
    assert (report["rejection"]["stage"], report["rejection"]["code"]) == ("file", code)


def test_a_dicom_without_extension_is_read(client: Client, tmp_path: Path):
    bare = tmp_path / "IM0001"
    bare.write_bytes((app.EXAMPLES / "04_brain_pd_axial.dcm").read_bytes())
    report = client.predict(handle_file(bare), api_name="/analyze")
    assert report["gate"] is not None


def test_no_file_is_refused(client: Client):
    report = client.predict(None, api_name="/analyze")
    assert report["rejection"]["code"] == "no_file"


def test_batch_keeps_the_order(client: Client, scan):
    outcomes = ["photo", "glioma", "shoulder", "healthy"]
    files = [handle_file(scan(outcome, f"{outcome}.png")) for outcome in outcomes]
    reports = client.predict(files, api_name="/analyze_batch")
    assert [report["file"] for report in reports] == [f"{outcome}.png" for outcome in outcomes]
    assert [report["status"] for report in reports] == ["rejected", "predicted", "rejected", "predicted"]


def test_batch_names_its_limit(client: Client, scan):
    files = [handle_file(scan("glioma"))] * (app.MAX_BATCH + 1)
    with pytest.raises(AppError, match="33 files sent, at most 32"):
        client.predict(files, api_name="/analyze_batch")


def test_explain_gives_a_png_of_the_scans_size(client: Client, scan):
    path, report = client.predict(handle_file(scan("glioma")), "grad_cam", 1.0, api_name="/explain")
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (320, 320))
    assert report["explanation"]["method"] == "grad_cam"


def test_explain_without_an_accepted_stage_has_no_picture(client: Client, scan):
    path, report = client.predict(handle_file(scan("photo")), api_name="/explain")
    assert path is None
    assert report["rejection"]["code"] == "not_mri"


def test_report_answers_in_the_language_and_refuses_other_words(client: Client, scan):
    image = handle_file(scan("healthy"))
    plain = client.predict(image, api_name="/report")
    told = client.predict(image, "de", "0-17", "male", ["stroke"], ["seizure"], api_name="/report")
    assert plain["report"]["input_sha256"] == hashlib.sha256(scan_png("healthy")).hexdigest()
    assert (plain["report"]["explanation"]["method"], plain["advice"]["context"]) == ("grad_cam", [])
    assert told["advice"]["given"]["symptoms"] == ["seizure"]
    assert "# Bericht zu einem Bild: scan.png" in told["markdown"]
    assert base64.b64decode(told["pdf_base64"]).startswith(b"%PDF-")
    with pytest.raises(AppError, match="not in the list of choices"):
        client.predict(image, symptoms=["a tumour, surely"], api_name="/report")


def test_only_the_documented_endpoints_are_public(client: Client):
    named = {"/analyze", "/analyze_batch", "/explain", "/report", "/drift", "/analyze_volume"}
    assert set(client.view_api(return_format="dict")["named_endpoints"]) == named


def test_the_curl_way_of_the_about_tab(url: str):
    upload = httpx.post(f"{url}/gradio_api/upload", files={"files": ("scan.png", scan_png("healthy"))})
    file = {"path": upload.json()[0], "meta": {"_type": "gradio.FileData"}}
    event = httpx.post(f"{url}/gradio_api/call/analyze", json={"data": [file, False]}).json()["event_id"]
    stream = httpx.get(f"{url}/gradio_api/call/analyze/{event}").text
    report = json.loads(re.search(r"event: complete\ndata: (.*)", stream)[1])[0]
    assert report["diagnosis"]["label"] == "no_tumor"


def test_too_large_uploads_are_answered_413(url: str):
    upload = httpx.post(f"{url}/gradio_api/upload", files={"files": ("big.png", b"0" * 70_000_000)})
    assert upload.status_code == 413


def test_healthz(url: str):
    answer = httpx.get(f"{url}/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_an_mri_error_becomes_its_message():
    @app.handler
    def failing() -> None:
        raise WeightsError("altered", "The weights were altered: download them again.")

    with pytest.raises(gr.Error) as caught:
        failing()
    assert caught.value.message == "The weights were altered: download them again."
    assert caught.value.print_exception is False


@pytest.mark.parametrize(
    ("outcome", "headline", "states"),
    [
        ("glioma", "Resembles: glioma pattern", ["passed"] * 5),
        ("doubt", "Unable to determine", ["passed"] * 4 + ["unsure"]),
        ("knee", "Unable to determine", ["passed"] * 4 + ["unsure"]),
        ("unfamiliar", "Unable to determine", ["passed"] * 3 + ["unsure", "waiting"]),
        ("shoulder", "Refused: another body part", ["passed"] * 3 + ["stopped", "waiting"]),
        ("photo", "Refused: not an MRI", ["passed"] * 2 + ["stopped"] + ["waiting"] * 2),
    ],
)
def test_headline_and_way_tell_where_it_stopped(outcome: str, headline: str, states: list[str]):
    pipeline = FakePipeline()
    report = pipeline.verdict(pipeline.read(scan_png(outcome)), "scan.png")
    assert render.headline(report) == headline
    assert re.findall(r'<li class="is-(\w+)"', render.way(report)) == states
    assert DISCLAIMER in render.verdict(report)


def test_foreign_text_is_escaped():
    report = FakePipeline().refuse(FileRejected("corrupt", "Bad <b>bytes</b>"), "<script>.png")
    html = render.verdict(report)
    assert "<script>" not in html
    assert "Bad &lt;b&gt;" in html


def test_the_threshold_stands_at_its_place():
    pipeline = FakePipeline()
    report = pipeline.verdict(pipeline.read(scan_png("glioma")))
    html = render.scores(report)
    assert html.index("glioma") < html.index("left:80.0%") < html.index("meningioma")
    assert render.score(0.9996) == ">0.99"  # never a certainty


def test_every_example_has_a_tile_with_picture_and_alt():
    examples = load_examples(app.EXAMPLES)
    html = gallery(examples, FakePipeline().read)
    assert re.findall(r'data-example="([^"]+)"', html) != []
    assert html.count("<button") == len(examples)
    assert len(re.findall(r'alt="[^"]+"|aria-label="[^"]+"', html)) == len(examples)


def test_the_view_has_alt_texts_and_no_map_before_there_is_one():
    pipeline = FakePipeline()
    scan = pipeline.read(scan_png("glioma"))
    plain, mapped = (view(scan, report) for report in (pipeline.verdict(scan), pipeline(scan_png("glioma"), name="a")))
    assert (plain.count("<img"), mapped.count("<img")) == (1, 2)
    assert "red regions speak for glioma" in mapped
    assert 'alt=""' not in mapped
