"""What is on one visitor's screen, and that a map which comes late or breaks costs nobody a verdict."""

from __future__ import annotations

import logging
from pathlib import Path

import httpx
import numpy as np
import pytest
from fakes import FakePipeline, scan_png, served
from gradio_client import Client, handle_file

from mri_models.errors import Overdue
from mri_models.page.session import Session
from mri_models.page.shown import Reader
from mri_models.types import Attribution


class Mapless(FakePipeline):
    """Every map, or every check of one, raises this."""

    def __init__(self, explaining: Exception | None = None, checking: Exception | None = None):
        super().__init__()
        self.explaining, self.checking = explaining, checking

    def explain(self, *args: object, **options: object) -> Attribution:
        if self.explaining:
            raise self.explaining
        return super().explain(*args, **options)

    def check(self, *args: object) -> Attribution:
        raise self.checking


def test_what_was_asked_for_earlier_never_replaces_what_was_asked_for_later():
    session = Session()
    assert session.show(1)
    assert session.shows(1)
    assert session.show(2)
    assert not session.show(1)
    assert [session.shows(asked) for asked in (1, 2)] == [False, True]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (RuntimeError("/home/jane"), "There is no map. The step 'explanation' failed (RuntimeError)."),
        (Overdue("time_limit", "Late."), "There is no map. Late."),
    ],
)
def test_a_map_that_breaks_is_a_finding_and_a_line_in_the_log(
    scan: Path, caplog: pytest.LogCaptureFixture, error: Exception, told: str
):
    reader = Reader(Mapless(error))
    seen = reader.look(scan)
    with caplog.at_level(logging.ERROR):
        failed = reader.explain(seen, "shap")
    assert (failed.report.status, failed.report.explanation, failed.maps) == ("predicted", None, ())
    assert failed.report.findings[:-1] == seen.report.findings
    assert failed.report.findings[-1].startswith(told)
    assert not failed.report.warnings  # the report's rules take those for burnt-in text
    assert ("jane" in caplog.text) == isinstance(error, RuntimeError)


def test_checks_that_break_leave_the_map(scan: Path):
    reader = Reader(Mapless(checking=RuntimeError()))
    seen = reader.check(reader.explain(reader.look(scan), "shap"))
    assert seen.report.explanation.method == "shap"
    assert seen.failed.startswith("The map was not checked. The step 'explanation' failed")


def test_programs_get_their_verdict_without_the_map(scan: Path):
    with served(Mapless(RuntimeError("out of memory"))) as url:
        client = Client(url, verbose=False)
        analysed = client.predict(handle_file(scan), True, api_name="/analyze")
        picture, explained = client.predict(handle_file(scan), api_name="/explain")
        written = client.predict(handle_file(scan), api_name="/report")
    assert picture is None
    for report in (analysed, explained, written["report"]):
        assert (report["diagnosis"]["label"], report["explanation"]) == ("glioma", None)
        assert report["findings"][-1].startswith("There is no map.")


def test_a_session_holds_no_picture_and_no_answer(tmp_path: Path):
    """What it holds is what a deep link would write down and show to whoever has the link."""
    (tmp_path / "jane_doe.png").write_bytes(scan_png("glioma"))
    with served() as url:
        client = Client(url, verbose=False)
        written = client.predict(handle_file(tmp_path / "jane_doe.png"), sex="female", api_name="/report")
        link = httpx.get(f"{url}/gradio_api/deep_link", params={"session_hash": client.session_hash}).json()
        page = httpx.get(f"{url}/config", params={"deep_link": link})
    assert written["report"]["file"] == "jane_doe.png"
    assert len(link) > 9
    assert page.json()["deep_link_state"] == "valid"
    assert "jane_doe" not in page.text


def test_of_a_refused_photograph_only_what_is_drawn_is_held(tmp_path: Path):
    pipeline, remembered = FakePipeline(), []
    reader = Reader(pipeline, lambda scan, report: remembered.append(scan.shape))
    for outcome in ("photo", "glioma"):
        (tmp_path / f"{outcome}.png").write_bytes(scan_png(outcome, 1400))
    photo, glioma = (reader.look(tmp_path / f"{outcome}.png") for outcome in ("photo", "glioma"))
    assert photo.scan.shape == photo.report.scan.shape == (1024, 1024)
    assert glioma.scan.shape == glioma.report.scan.shape == (1400, 1400)  # its maps need every pixel
    assert remembered == [(1400, 1400)] * 2
    assert np.array_equal(photo.scan.pixels, photo.report.scan.pixels)
