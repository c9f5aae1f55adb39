"""Folders of any size: each file is answered exactly once, whatever happens to it, to a worker or to the batch."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import batch_cases
import pytest
from batch_cases import SEEN, GentlePipeline, fill, job, picture, reports, untimed
from places import EXAMPLES, ROOT
from test_readme import sample

from mri_models.__main__ import main
from mri_models.batch.journal import Journal
from mri_models.batch.run import Summary, run_batch
from mri_models.batch.walk import key, walk
from mri_models.batch.worker import Job
from mri_models.errors import BatchError


def lines_in(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (out / "shards").glob("*.jsonl"))


def test_walk_is_sorted_by_parts_and_skips_hidden_files_the_output_and_circles(tmp_path: Path):
    for name in ("a.b", "a/z", "a/b/c", "b", ".hidden", "out/reports.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a" / "round").symlink_to(tmp_path)
    found = list(walk(tmp_path, tmp_path / "out"))
    assert found == ["a/b/c", "a/z", "a.b", "b"]
    assert found == sorted(found, key=key)


def test_walk_passes_over_links_that_lead_nowhere(tmp_path: Path):
    for folder in (tmp_path, tmp_path / "sub"):
        folder.mkdir(exist_ok=True)
        (folder / "loop").symlink_to(folder / "loop")
        (folder / "long").symlink_to("n" * 300)
        (folder / "z.png").touch()
    assert list(walk(tmp_path)) == ["sub/z.png", "z.png"]


def test_a_batch_answers_every_file_in_order_whatever_happens_to_it(tmp_path: Path):
    folder, out = tmp_path / "in", tmp_path / "out"
    names = fill(folder, 12)
    poison = {"001.crash.png": "worker_crashed", "002.raise.png": "internal_error", "003.hang.png": "timed_out"}
    for name in (*poison, "000/stumble.png"):
        (folder / name).write_bytes(picture())
    (folder / "text.png").write_text("no picture")
    summary = run_batch(job(folder, time_limit_s=5), out, workers=2)
    found = reports(out)
    assert [report["file"] for report in found] == sorted([*names, *poison, "000/stumble.png", "text.png"], key=key)
    codes = {report["file"]: report["rejection"] and report["rejection"]["code"] for report in found}
    assert {name: codes[name] for name in poison} == poison
    assert codes["000/stumble.png"] is None  # the second attempt succeeded
    assert codes["text.png"] == "unsupported"
    assert summary.outcomes == {"predicted": 10, "rejected": 4} | dict.fromkeys(poison.values(), 1)
    assert "secret" not in (out / "reports.jsonl").read_text()


def test_after_kill_9_no_file_is_lost_and_only_those_in_hand_are_repeated(tmp_path: Path):
    folder, out = tmp_path / "in", tmp_path / "out"
    names = fill(folder, 300)
    command = [sys.executable, "-m", "batch_cases", str(folder), str(out), "2"]
    batch = subprocess.Popen(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"})
    while lines_in(out) < 100:
        assert batch.poll() is None
        time.sleep(0.02)
    batch.send_signal(signal.SIGKILL)
    batch.wait()
    kept = lines_in(out)
    assert 100 <= kept < 300
    summary = run_batch(job(folder), out, workers=2)
    assert summary.analysed == 300 - kept
    assert [report["file"] for report in reports(out)] == names
    repeated = Counter((folder / SEEN).read_text().splitlines()) - Counter(names)
    assert repeated.total() <= 2


def test_a_second_run_analyses_what_is_new_or_torn_only(tmp_path: Path):
    folder, out = tmp_path / "in", tmp_path / "out"
    names = fill(folder, 6)
    run_batch(job(folder), out, workers=1)
    shard = next((out / "shards").glob("*.jsonl"))
    shard.write_bytes(shard.read_bytes()[:-40])  # what a power cut leaves
    (folder / "000" / "new.png").write_bytes(picture())
    assert run_batch(job(folder), out, workers=1).analysed == 2
    assert [report["file"] for report in reports(out)] == [*names, "000/new.png"]
    assert str(run_batch(job(folder), out, workers=1)).endswith("nothing was left to analyse")


def test_failed_files_are_asked_again_only_on_request(tmp_path: Path):
    folder, out = tmp_path / "in", tmp_path / "out"
    fill(folder, 2)
    (folder / "crash.png").write_bytes(picture())
    run_batch(job(folder), out, workers=1)
    gentle = Job(str(folder), GentlePipeline)
    assert run_batch(gentle, out, workers=1).analysed == 0
    assert run_batch(gentle, out, workers=1, retry=True).outcomes == {"predicted": 3}
    assert run_batch(gentle, out, workers=1).outcomes == {"predicted": 3}  # the failure's line is still there
    assert len(reports(out)) == 3


def test_one_worker_and_three_give_the_same_bytes(tmp_path: Path):
    fill(tmp_path / "in", 30)
    for workers in (1, 3):
        run_batch(job(tmp_path / "in"), tmp_path / f"out{workers}", workers=workers)
    assert untimed(tmp_path / "out1") == untimed(tmp_path / "out3")


def test_ray_gives_the_same_bytes_also_for_poison(tmp_path: Path):
    pytest.importorskip("ray", reason="Ray is not installed: pip install -r mri_models/batch/requirements.txt")
    fill(tmp_path / "in", 40)
    for name in ("crash.png", "raise.png", b"latin\xe9.png".decode("utf-8", "surrogateescape")):
        (tmp_path / "in" / name).write_bytes(picture())
    run_batch(job(tmp_path / "in"), tmp_path / "serial", workers=1)
    run_batch(job(tmp_path / "in"), tmp_path / "ray", workers=2, ray=True)
    assert untimed(tmp_path / "serial") == untimed(tmp_path / "ray")


def test_parquet_holds_the_same_json_and_columns_for_questions(tmp_path: Path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs mri_models/batch/requirements.txt")
    fill(tmp_path / "in", 4)
    (tmp_path / "in" / b"latin\xe9.png".decode("utf-8", "surrogateescape")).touch()
    run_batch(job(tmp_path / "in"), tmp_path / "out", workers=1)
    run_batch(job(tmp_path / "in"), tmp_path / "out", workers=1, form="parquet")
    rows = parquet.read_table(tmp_path / "out" / "reports.parquet").to_pylist()
    assert [row["report"] for row in rows] == (tmp_path / "out" / "reports.jsonl").read_text().splitlines()
    assert [row["rejection_code"] for row in rows] == [None, None, None, "blank", "empty"]
    assert (rows[0]["gate_label"], rows[0]["diagnosis_label"]) == ("mri", None)
    assert 0.5 < rows[0]["gate_confidence"] < rows[1]["gate_confidence"]
    assert rows[4]["file"] == "latin\\udce9.png"


def test_answers_of_another_run_are_never_mixed_in(tmp_path: Path):
    fill(tmp_path / "in", 1)
    run_batch(job(tmp_path / "in"), tmp_path / "out", workers=1, models={"gate": "aa"})
    with pytest.raises(BatchError, match="models differ"):
        run_batch(job(tmp_path / "in"), tmp_path / "out", workers=1, models={"gate": "bb"})
    with pytest.raises(BatchError, match="folder differ"):
        run_batch(job(tmp_path), tmp_path / "out", workers=1, models={"gate": "aa"})


def test_two_processes_never_write_to_one_folder(tmp_path: Path):
    with Journal(tmp_path, {}), pytest.raises(BatchError, match="Another process"):
        Journal(tmp_path, {})


@pytest.mark.parametrize(
    ("load", "message"), [(batch_cases.no_pipeline, "nothing there"), (batch_cases.dying_pipeline, "exit status 7")]
)
def test_workers_without_a_pipeline_end_the_batch_and_condemn_no_file(tmp_path: Path, load, message):
    fill(tmp_path / "in", 3)
    with pytest.raises(BatchError, match=message):
        run_batch(Job(str(tmp_path / "in"), load), tmp_path / "out", workers=1)
    assert lines_in(tmp_path / "out") == 0


def test_the_summary_extrapolates_to_a_million_from_enough_files_only():
    text = str(Summary(Path("out"), {"predicted": 104}, 104, load_s=9, run_s=50, workers=4, cores=2, burst=4))
    assert "2.00 files a second, 1.00 per core" in text
    assert "138.9 hours on these, 278 core hours" in text
    assert Summary(Path("out"), {"predicted": 60}, 60, 9, 1, 2, 2, burst=16).per_second is None


def test_wrong_usage_is_said(tmp_path: Path, capsys):
    for arguments in (["--ray", str(EXAMPLES)], ["--workers", "0"], ["--format", "parquet", "--json"]):
        with pytest.raises(SystemExit, match="2"):
            main(["analyze", "--out", str(tmp_path), str(tmp_path), *arguments])
    assert "need --out DIR and one FOLDER" in capsys.readouterr().err


def test_workers_load_the_commit_that_was_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    jobs = []
    root = tmp_path / "snapshots" / ("a" * 40)
    monkeypatch.setattr("mri_models.hub.resolve", lambda source: root)
    monkeypatch.setattr("mri_models.hub.model_folders", lambda folder: {})
    monkeypatch.setattr("mri_models.batch.run.run_batch", lambda job, out, **_: jobs.append(job))
    for source in ("acme/mri@main", str(tmp_path)):
        main(["analyze", "--weights", source, "--out", str(tmp_path / "out"), str(tmp_path)])
    assert [job.load.args for job in jobs] == [(f"acme/mri@{root.name}",), (str(root),)]


@pytest.mark.weights
def test_the_readmes_sample_streams_a_folder(tmp_path: Path):
    command = sample("batch").replace("python ", f"{sys.executable} ", 1).replace("runs/batch", str(tmp_path))
    printed = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = {report["file"]: report["status"] for report in reports(tmp_path)}
    expected = json.loads((EXAMPLES / "expected.json").read_text())
    assert {name: found[name] for name in expected} == {name: e["status"] for name, e in expected.items()}
    assert any(name.startswith("volumes/") for name in found)
    assert f"{len(found)} files (" in printed
