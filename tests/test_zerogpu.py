"""The app on borrowed GPUs: a stand-in for Hugging Face's `spaces` lends by forking, so only pickles cross."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from fakes import scan_png
from places import ROOT

# Like the real one: a call runs in another process, which inherits the closure; arguments and answers are pickled.
SPACES = """
import functools, inspect, json, multiprocessing, os, pickle

FORK = multiprocessing.get_context("fork")

def GPU(duration):
    def decorate(task):
        several = inspect.isgeneratorfunction(task)

        def work(pipe, arguments):
            results = task(*pickle.loads(arguments))
            for result in results if several else [results]:
                pipe.send(result)

        def loan(arguments):
            here, there = FORK.Pipe(duplex=False)
            process = FORK.Process(target=work, args=(there, pickle.dumps(arguments)))
            process.start()
            there.close()
            with open(os.environ["LOANS"], "a") as log:
                print(json.dumps([task.__name__, duration, process.pid]), file=log)
            try:
                while True:
                    yield here.recv()
            except EOFError:
                process.join()

        if several:
            return functools.wraps(task)(lambda *arguments: loan(arguments))
        return functools.wraps(task)(lambda *arguments: list(loan(arguments))[0])
    return decorate
"""
VISIT = """
import json, os, sys
from fakes import served
from gradio_client import Client, handle_file
with served() as url:
    client = Client(url, verbose=False)
    image = handle_file(sys.argv[1])
    report = client.predict(image, True, api_name="/analyze")
    batch = client.predict([image, image], api_name="/analyze_batch")
    state = client.predict(api_name="/drift")
print(json.dumps([os.getpid(), report["explanation"]["method"], len(batch), state["images"]["seen"]]))
"""


@pytest.fixture
def visit(tmp_path: Path):
    (tmp_path / "spaces.py").write_text(SPACES)
    (tmp_path / "scan.png").write_bytes(scan_png("glioma"))
    path = os.pathsep.join(map(str, (tmp_path, ROOT, ROOT / "tests")))
    env = os.environ | {"PYTHONPATH": path, "LOANS": str(tmp_path / "loans"), "GRADIO_ANALYTICS_ENABLED": "0"}
    command = [sys.executable, "-W", "ignore", "-c", VISIT, str(tmp_path / "scan.png")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), (tmp_path / "loans").read_text().splitlines()


def test_networks_run_on_loan_and_the_monitor_stays_here(visit):
    (pid, method, batch, seen), loans = visit
    tasks = [json.loads(loan) for loan in loans]
    assert [task for task, _, _ in tasks] == ["look", "explain", "look_at_all"]  # a batch is one loan
    assert {duration for _, duration, _ in tasks} == {60}
    assert pid not in {worker for _, _, worker in tasks}
    assert (method, batch) == ("integrated_gradients", 2)
    assert seen == 3  # counted in this process, where /drift answers
