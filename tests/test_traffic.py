"""What waits for what, what is given up, and what a visitor is told when a network breaks down."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from time import perf_counter, sleep

import gradio as gr
import pytest
import torch
from fakes import FakePipeline, served
from gradio_client import Client, handle_file
from places import EXAMPLES

from mri_models.clock import Clock
from mri_models.errors import FileRejected, Overdue, StageFailed
from mri_models.pace import Pace, step
from mri_models.page import explained, render, traffic, unusual
from mri_models.page.shown import Reader
from mri_models.page.traffic import Traffic, handler
from mri_models.page.volume_tab import VolumeReader
from mri_models.report import tone
from mri_models.types import Report
from mri_models.volumes.pipeline import Progress

PATIENCE_S = 20


class Breaking(FakePipeline):
    """A pipeline whose stages run, and one of them breaks."""

    def __init__(self, stage: str, error: Exception):
        super().__init__()
        self.stage, self.error = stage, error

    def verdict(self, *args, **options) -> Report:
        with Clock({})(self.stage):
            raise self.error


def test_work_without_a_pace_never_ends_early():
    step()


def test_a_step_past_the_limit_says_so_and_a_clock_says_where():
    with Pace(0.0).kept(), pytest.raises(Overdue, match="longer than 0 s") as caught, Clock({})("body_part"):
        pass
    assert (caught.value.code, caught.value.stage) == ("time_limit", "body_part")
    step()  # the pace is over


@pytest.mark.parametrize(
    ("clocked", "stage"), [("gate", "gate"), ("orientation", "gate"), ("localization", "diagnosis")]
)
def test_what_breaks_in_a_stage_keeps_its_cause_and_no_word_of_it(clocked: str, stage: str):
    with pytest.raises(StageFailed) as caught, Clock({})(clocked):
        raise RuntimeError("/home/jane/doe.png")
    assert caught.value.stage == stage
    assert "jane" not in caught.value.message
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_errors_on_purpose_pass_a_clock_unchanged():
    with pytest.raises(FileRejected), Clock({})("gate"):
        raise FileRejected("empty", "Empty.")


def test_a_map_stands_still_while_a_verdict_is_worked_out():
    road, order = Traffic(), []
    inside, go_on = threading.Event(), threading.Event()

    def verdict() -> None:
        with road.verdict():
            inside.set()
            go_on.wait(PATIENCE_S)
            order.append("verdict")

    def draw() -> None:
        with road.after_verdicts(PATIENCE_S).kept():
            threading.Timer(0.05, go_on.set).start()
            step()
            order.append("map")

    threads = [threading.Thread(target=verdict), threading.Thread(target=draw)]
    threads[0].start()
    inside.wait(PATIENCE_S)
    threads[1].start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert order == ["verdict", "map"]


def test_a_map_goes_on_after_its_patience(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(traffic, "PATIENCE_S", 0.01)
    road = Traffic()
    with road.verdict():
        drawn = threading.Thread(target=road.after_verdicts(PATIENCE_S).step)
        drawn.start()
        drawn.join(PATIENCE_S)
        assert not drawn.is_alive()


def test_maps_are_worked_out_one_after_the_other():
    road, inside, most = Traffic(), [], []

    def draw() -> None:
        with road.map():
            inside.append(1)
            most.append(len(inside))
            sleep(0.05)
            inside.pop()

    several = [threading.Thread(target=draw) for _ in range(3)]
    for thread in several:
        thread.start()
    for thread in several:
        thread.join(PATIENCE_S)
    assert most == [1, 1, 1]


def test_a_crowd_shares_the_cores_and_a_lone_visitor_has_them_all(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(traffic, "CORES", 2)
    road, shares, entered, leave = Traffic(), [], threading.Semaphore(0), threading.Event()

    def verdict() -> None:
        with road.verdict():
            shares.append(torch.get_num_threads())
            entered.release()
            leave.wait(PATIENCE_S)
        shares.append(torch.get_num_threads())

    crowd = [threading.Thread(target=verdict) for _ in range(3)]
    for thread in crowd[:2]:
        thread.start()
        assert entered.acquire(timeout=PATIENCE_S)
    crowd[2].start()
    assert not entered.acquire(timeout=0.2)  # two cores, two verdicts
    assert shares == [2, 1]
    leave.set()
    for thread in crowd:
        thread.join(PATIENCE_S)
    assert len(shares) == 6
    assert shares[-1] == 2
    with road.verdict():
        assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("error", "code"), [(RuntimeError("out of memory"), "stage_failed"), (Overdue("time_limit", "Late."), "time_limit")]
)
def test_a_broken_stage_becomes_a_report_and_a_line_in_the_log(
    scan: Path, caplog: pytest.LogCaptureFixture, error: Exception, code: str
):
    remembered = []
    reader = Reader(Breaking("gate", error), lambda _, report: remembered.append(report))
    with caplog.at_level(logging.ERROR):
        seen = reader.look(scan)
        batch = reader.look_at_all([scan])
    assert [report["rejection"]["code"] for report in (seen.report.to_dict(), *batch)] == [code] * 2
    assert (seen.report.rejection.stage, seen.explainable) == ("gate", False)
    assert render.headline(seen.report) == "Temporarily unable"
    assert tone(seen.report) == "unsure"
    for said in (render.scores(seen.report), explained.unexplained(seen.report), unusual.panel(seen.report)):
        assert render.UNFINISHED in said
    assert ("out of memory" in caplog.text) == (code == "stage_failed")
    assert len(remembered) == 2


def test_other_visitors_are_answered_after_a_failure(scan: Path):
    class Once(FakePipeline):
        failures = [RuntimeError("once")]  # noqa: RUF012

        def verdict(self, *args, **options) -> Report:
            with Clock({})("gate"):
                if self.failures:
                    raise self.failures.pop()
            return super().verdict(*args, **options)

    with served(Once()) as url:
        client = Client(url, verbose=False)
        answers = [client.predict(handle_file(scan), api_name="/analyze") for _ in range(2)]
    assert [answer["status"] for answer in answers] == ["rejected", "predicted"]
    assert answers[0]["rejection"]["code"] == "stage_failed"


def test_a_volume_that_takes_too_long_is_answered():
    class Slow:
        def walk(self, files, name):
            yield Progress(0, 2, "Looking")
            step()
            raise AssertionError("the limit was not kept")

        def refuse(self, error, name):
            return Report(name, error)

    reader = VolumeReader(Slow(), traffic=_Late())
    *steps, report = reader.look(["a.nii"])
    assert (len(steps), report.rejection.code) == (1, "time_limit")


class _Late(Traffic):
    def after_verdicts(self, limit_s: float) -> Pace:
        return Pace(0.0)


def test_a_handler_tells_what_is_known_and_hides_what_is_not(caplog: pytest.LogCaptureFixture):
    def breaks(error: Exception) -> None:
        raise error

    @handler
    def generates():
        yield 1
        raise KeyError("secret")

    with pytest.raises(gr.Error, match=r"Late\."):
        handler(breaks)(Overdue("time_limit", "Late."))
    with pytest.raises(gr.Error, match="own words"):
        handler(breaks)(gr.Error("own words"))
    with caplog.at_level(logging.ERROR), pytest.raises(gr.Error, match="Temporarily unable"):
        handler(breaks)(KeyError("secret"))
    with pytest.raises(gr.Error, match="Temporarily unable"):
        list(generates())
    assert caplog.text.count("secret") >= 1


@pytest.mark.weights
def test_a_verdict_passes_a_map_that_is_being_drawn(pipeline):
    """The map makes way at its next step: a verdict beside it takes seconds at most, not the map's whole time."""
    example = EXAMPLES / "01_brain_t1_axial.png"
    reader, drawing = Reader(pipeline), threading.Event()
    seen = reader.look(example)

    def draw() -> None:
        drawing.set()
        reader.explain(seen, "occlusion")

    thread = threading.Thread(target=draw)
    thread.start()
    drawing.wait(PATIENCE_S)
    start = perf_counter()
    assert reader.look(example).report.status == seen.report.status
    passed = thread.is_alive()
    thread.join(120)
    assert passed, f"the map was ready before the verdict, after {perf_counter() - start:.1f} s"
