"""The live window, its file, the Monitor tab, /drift and the report."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from fakes import FakePipeline, scan_png, served
from gradio_client import Client, handle_file
from streams import MODELS, gaussian, profile, simulated, weights

from mri_models.__main__ import main
from mri_models.drift import FOLDER, draw, live
from mri_models.drift.live import LiveMonitor
from mri_models.drift.log import NAME, Entry, Log, read_log
from mri_models.drift.observe import Observation
from mri_models.drift.report import html, of_folder, of_simulation
from mri_models.errors import DataError
from mri_models.page.monitor import INVITATION, Player, shown
from mri_models.types import Report


def fed(count: int, folder: Path | None = None, **shifts: float) -> LiveMonitor:
    """A monitor that has seen `count` made-up images."""
    monitor = LiveMonitor(profile(), MODELS, folder=folder, clock=lambda: "2026-11-21T08:00:00+00:00")
    for observation in gaussian(count, seed=4, **shifts).observations():
        monitor.add(observation)
    return monitor


def entry(seed: int = 0) -> Entry:
    return Entry("2026-11-21T08:00:00+00:00", "3f" * 6, gaussian(1, seed).observations()[0])


def test_an_empty_window_says_how_many_images_are_missing():
    state = fed(0).state()
    assert (state["state"], state["images"]["seen"]) == ("insufficient", 0)
    assert "0 of 20" in state["message"]
    assert {monitor["level"] for monitor in state["monitors"]} == {"insufficient"}
    assert json.loads(json.dumps(state)) == state


def test_a_drift_is_named_with_its_beginning():
    state = fed(60, noise=2.0).state()
    assert state["state"] == "alert"
    assert state["strongest"]["monitor"] in ("noise", "input_joint")
    assert state["since"].startswith("2026-11-21T08:00")
    assert [look["images"] for look in state["history"]] == list(range(20, 61, live.EVERY))


def test_calm_images_are_calm():
    assert fed(50).state()["state"] in ("ok", "watch")


def test_a_missing_reference_and_a_stale_one_are_states(tmp_path: Path):
    missing = LiveMonitor.from_weights(tmp_path, MODELS)
    stale = LiveMonitor(profile(), MODELS | {"gate": "00" * 32})
    for monitor in (missing, stale):
        [monitor.add(observation) for observation in gaussian(30).observations()]
    assert (missing.state()["state"], stale.state()["state"]) == ("missing", "stale")
    assert "gate" in stale.state()["message"]
    assert "drift reference" in missing.state()["message"]
    assert all("mon-glance" in shown(monitor) for monitor in (missing, stale))


def test_what_goes_wrong_never_reaches_the_visitor(caplog: pytest.LogCaptureFixture):
    monitor = fed(0)
    monitor.remember("not a scan", Report("jane.png"))
    assert monitor.state()["images"]["seen"] == 0
    assert "could not take an image in" in caplog.text
    assert "jane" not in caplog.text


def test_the_file_survives_a_restart(tmp_path: Path):
    first, second = fed(60, tmp_path, noise=2.0), fed(0, tmp_path)
    assert second.state()["images"]["kept"] == 60
    assert second.state()["state"] == first.state()["state"] == "alert"
    assert second.state()["storage"]["state"] == "ok"


def test_observations_of_other_weights_are_left_out(tmp_path: Path):
    fed(30, tmp_path)
    for name in MODELS:
        other = LiveMonitor(profile(), MODELS | {name: "00" * 32}, folder=tmp_path)
        assert other.state()["images"]["kept"] == 0
    assert LiveMonitor(profile(), MODELS | {"beside": "00" * 32}, folder=tmp_path).state()["images"]["kept"] == 30


def test_a_torn_last_line_is_skipped_and_the_next_one_is_whole(tmp_path: Path):
    Log(tmp_path).append(entry())
    with (tmp_path / NAME).open("a") as file:
        file.write('{"at": "2026-11-21T08:0')
    Log(tmp_path).append(entry(1))
    entries, damaged = read_log(tmp_path)
    assert (len(entries), damaged) == (2, 1)
    assert "1 damaged" in fed(0, tmp_path).state()["storage"]["message"]


def test_a_file_of_garbage_is_a_state_not_a_crash(tmp_path: Path):
    (tmp_path / NAME).write_bytes(b'\xff\xfe\x00garbage\n[1]\n5\n{"at": 1}\n')
    assert fed(3, tmp_path).state()["images"]["kept"] == 3
    assert read_log(tmp_path)[1] == 4


def test_full_files_are_rotated_and_the_oldest_goes(tmp_path: Path):
    log = Log(tmp_path, limit=2000)
    for seed in range(40):
        log.append(entry(seed))
    assert sorted(path.name for path in tmp_path.iterdir()) == [NAME, f"{NAME}.1", f"{NAME}.2"]
    entries, damaged = read_log(tmp_path)
    assert damaged == 0
    assert entries[-1].observation.values == pytest.approx(entry(39).observation.values, rel=1e-4)


def test_a_folder_that_cannot_be_written_is_a_state(tmp_path: Path):
    (tmp_path / "taken").write_text("a file, not a folder")
    monitor = fed(25, tmp_path / "taken")
    assert monitor.state()["storage"]["state"] == "failed"
    assert monitor.state()["images"]["kept"] == 25


def test_a_disk_that_fails_later_is_a_state(tmp_path: Path):
    monitor = fed(3, tmp_path / "gone")
    (tmp_path / "gone" / NAME).unlink()
    (tmp_path / "gone").rmdir()
    monitor.add(entry().observation)
    assert monitor.state()["storage"]["state"] == "failed"
    assert monitor.state()["images"]["kept"] == 4


def test_the_app_feeds_its_window_and_answers_drift(tmp_path: Path):
    scan = tmp_path / "jane_doe.png"
    scan.write_bytes(scan_png("glioma"))
    with served(FakePipeline(weights(tmp_path))) as url:
        client = Client(url, verbose=False)
        assert client.predict(api_name="/drift")["state"] == "insufficient"
        client.predict([handle_file(scan)] * 20, api_name="/analyze_batch")
        state = client.predict(api_name="/drift")
    assert state["images"] == {"seen": 20, "kept": 20, "judged": 20}
    assert state["state"] == "alert"  # twenty times one image
    assert "jane" not in json.dumps(state)


def test_chips_carry_word_and_icon_and_foreign_text_is_escaped():
    state = fed(60, noise=2.0).state()
    page = draw.board(state["monitors"])
    assert page.count("<li") == page.count("<svg") == len(state["monitors"])
    assert re.search(r"<b>noise</b> <em>Alert</em>", page)
    assert "<script>" not in draw.glance(state | {"message": "<script>"})


def test_a_played_drift_rings_and_is_called_a_simulation(tmp_path: Path):
    frames = list(Player(weights(tmp_path)).stream("blur", 4))
    assert len(frames) == 7
    assert all("Simulation: blur, severity 4" in frame for frame in frames)
    assert "The alarm rang within" in frames[-1]
    assert "mon-turn" in frames[-1]


def test_without_stored_scalars_the_player_says_so(tmp_path: Path):
    [only] = Player(tmp_path).stream("blur", 3)
    assert "drift reference" in only
    profile().save(tmp_path / FOLDER)
    [only] = Player(tmp_path).stream("blur", 3)
    assert "drift simulate" in only
    assert "Simulation" not in INVITATION


@pytest.mark.parametrize("source", ["folder", "simulation"])
def test_the_report_needs_nothing_else(tmp_path: Path, source: str):
    fed(40, tmp_path, noise=2.0)
    content = of_folder(tmp_path, profile()) if source == "folder" else of_simulation(simulated(), profile(), "blur", 5)
    page = html(content)
    assert not re.search(r"https?://|<link|<img|src=|@import|url\(", page)
    assert page.count('class="mon-plot') >= 2
    assert "Alert" in page


def test_an_empty_folder_gives_a_report_without_plots(tmp_path: Path):
    page = html(of_folder(tmp_path, profile()))
    assert "Too little data" in page
    assert "mon-plot is-small" not in page


def test_the_report_command_writes_html_and_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    folder = str(weights(tmp_path / "weights"))
    command = ["drift", "report", "--simulate", "blur", "--weights", folder, "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert capsys.readouterr().out.strip().endswith("report.html")
    assert json.loads((tmp_path / "out" / "report.json").read_text())["title"].startswith("Simulation: blur")


def test_wrong_arguments_are_named(tmp_path: Path):
    with pytest.raises(DataError, match="no drift 'fog'"):
        of_simulation(simulated(), profile(), "fog", 3)
    with pytest.raises(DataError, match="can't be read"):
        of_folder(tmp_path / "nowhere", profile())
    with pytest.raises(ValueError, match="values and 3 words"):
        Observation((1.0,), ("passed", "", ""))


def test_a_histogram_says_both_means():
    page = draw.histogram("noise <b>", np.zeros(30), np.ones(30))
    assert "reference mean 0, now 1" in page
    assert "<b>" not in page
