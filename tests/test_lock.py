"""The lock meets the requirements, the licence list is the lock's, an audit that saw nothing does not say "clean"."""

from __future__ import annotations

import os
import re
from importlib.metadata import PackageNotFoundError, distribution
from importlib.metadata import version as installed
from pathlib import Path

import audit
import licences
import pytest
from licences import ALLOWED, REMARKS, VENDORED, declared, remark
from make_lock import SERVING, TESTS, locked, version
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from places import ROOT

from mri_models.publish.space import ZEROGPU, front_matter, pinned

in_ci = pytest.mark.skipif(not os.environ.get("CI"), reason="only CI has to run what is locked; set CI to check")


def wanted(path: Path) -> list[Requirement]:
    """What a requirements file asks for, and the files that it names."""
    found = []
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("-r "):
            found += wanted(path.parent / line[3:].strip())
        elif text := line.partition("#")[0].strip():
            found.append(Requirement(text))
    return found


@pytest.mark.parametrize(("requirements", "lock"), [("requirements.txt", SERVING), ("tests/requirements.txt", TESTS)])
def test_the_lock_meets_the_requirements(requirements, lock):
    pins = locked(lock)
    for asked in wanted(ROOT / requirements):
        name = canonicalize_name(asked.name)
        assert name in pins, f"{name} is asked for but not locked: python tests/make_lock.py"
        assert asked.specifier.contains(version(pins[name])), f"{pins[name]} is locked, {asked} asked for"


def test_tests_run_what_is_served():
    tests = locked(TESTS)
    assert [pin for name, pin in locked(SERVING).items() if version(tests[name]) != version(pin)] == []


@pytest.mark.parametrize("lock", [SERVING, TESTS])
def test_every_file_has_a_hash_and_no_index_an_address(lock):
    text = lock.read_text("utf-8")
    assert "://" not in text
    assert not re.search(r"^-", text, re.MULTILINE)  # --index-url, --find-links and the like
    entries = re.split(r"\n(?=\S)", re.sub(r"^ *#.*\n", "", text, flags=re.MULTILINE).strip())
    assert len(entries) == len(locked(lock))
    assert [entry for entry in entries if not re.search(r"--hash=sha256:[0-9a-f]{64}\b", entry)] == []


@in_ci
def test_this_environment_is_the_lock():
    here = default_environment()
    pins = [pin for pin in locked(TESTS).values() if not pin.marker or pin.marker.evaluate(here)]
    assert {pin.name: installed(pin.name).partition("+")[0] for pin in pins} == {pin.name: version(pin) for pin in pins}


@in_ci
def test_the_space_gets_what_is_locked():
    pins = locked(SERVING)
    for line in pinned((ROOT / "requirements.txt").read_text("utf-8")).splitlines()[1:]:
        asked = Requirement(line)
        if asked.name not in ZEROGPU:
            assert asked.specifier.contains(version(pins[canonicalize_name(asked.name)])), line


def test_front_matter_names_the_locked_gradio_and_a_python_that_the_lock_is_for():
    matter, _ = front_matter((ROOT / "README.md").read_text("utf-8"))
    assert matter["sdk_version"] == version(locked(SERVING)["gradio"])
    assert matter["python_version"] in ("3.11", "3.12")


def test_the_licence_list_is_of_the_lock_and_of_what_is_bundled():
    rows = {row.name: row.version for row in licences.read()}
    bundled = {row.name: row.version for row in licences.vendored()}
    assert rows == licences.served() | bundled, "python tests/licences.py"
    others = {path.name for path in VENDORED.parent.iterdir()} - {VENDORED.name}
    assert {name for name in others if not name.startswith("LICENSE-")} == set(bundled)


def test_the_licence_list_says_what_the_packages_declare():
    for row in licences.read():
        try:
            here = installed(row.name).partition("+")[0]
        except PackageNotFoundError:
            here = None
        if here == row.version:
            assert row.licence == declared(row.name)


def test_no_licence_slips_in():
    for row in licences.read():
        if not row.remark.startswith("in `"):  # where a bundled file lies
            assert row.remark == remark(row.name, row.licence)
    assert all(len(reason) > 20 for reason in REMARKS.values())


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("any", "GPL-3.0-only"),
        ("any", "MIT AND AGPL-3.0-or-later"),
        ("any", "MIT OR (BSD-3-Clause AND SSPL-1.0)"),
        ("any", licences.UNDECLARED),
        ("any", "LGPL-3.0-only"),  # allowed for fpdf2, after a look
        ("fpdf2", "AGPL-3.0-only"),
        ("any", ""),
    ],
)
def test_a_licence_nobody_read_is_refused(name, licence):
    with pytest.raises(KeyError, match="read it"):
        remark(name, licence)


def test_compound_licences_are_read_part_by_part():
    assert remark("any", "Apache-2.0 AND Apache-2.0 WITH LLVM-exception AND (MIT OR Zlib)") == ""
    assert not {part for part in ALLOWED if "GPL" in part or part != part.strip()}


def test_declared_prefers_the_expression_then_a_short_name_then_classifiers():
    said = distribution("fpdf2").metadata
    assert declared("fpdf2") == said["License-Expression"] == "LGPL-3.0-only"
    assert declared("matplotlib") == "Python Software Foundation License"  # its License field is the whole text
    assert declared("rich") == "MIT"


def package(name: str, *found: str) -> dict:
    return {"name": name, "version": "1.0", "vulns": [{"id": each, "fix_versions": ["1.1"]} for each in found]}


SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("answer", "clean", "words"),
    [
        ("ConnectionError: no route", None, "not reachable, skipped (ConnectionError"),
        ([SKIPPED, SKIPPED], None, "not reachable, skipped (it knew none of 2 packages)"),
        ([package("a"), SKIPPED], True, "0 vulnerabilities, 1 of 2 packages looked up"),
        ([package("a"), package("b", "CVE-1")], False, "b 1.0: CVE-1, fixed in 1.1"),
    ],
)
def test_an_audit_without_answers_is_not_clean(answer, clean, words):
    verdict, text = audit.judge("pypi", answer)
    assert verdict is clean
    assert words in text


def test_the_second_service_is_asked_when_the_first_knows_nothing(monkeypatch, capsys):
    answers = {"pypi": [SKIPPED], "osv": [package("b", "CVE-1")]}
    monkeypatch.setattr(audit, "ask", lambda service, *_: answers[service])
    assert audit.main() == 1
    assert "pypi: not reachable, skipped" in capsys.readouterr().out
