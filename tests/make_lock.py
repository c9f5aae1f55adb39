"""Make the lock again: `python tests/make_lock.py`, or `--upgrade` for the newest versions; then tests/licences.py.

.lock/serving.txt holds all that requirements.txt comes to, .lock/tests.txt all that tests/requirements.txt does: one
version of each package for Python 3.11 and later and every system, with the hashes of its files, on which pip then
insists. Without `--upgrade` only what the requirements no longer admit moves.
"""

from __future__ import annotations

import argparse
import subprocess
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
SERVING = ROOT / ".lock" / "serving.txt"
TESTS = ROOT / ".lock" / "tests.txt"
ALL_SYSTEMS = ("--universal", "--python-version=3.11", "--fork-strategy=fewest")
READABLE = ("--annotation-style=line", "--custom-compile-command=python tests/make_lock.py", "--quiet")


def compile_lock(requirements: str, lock: Path, *options: str) -> None:
    """Writes `lock`; no index's address goes into it, whatever this machine is set to."""
    from uv import find_uv_bin  # here, so that reading a lock needs no uv

    command = [find_uv_bin(), "pip", "compile", requirements, f"--output-file={lock.relative_to(ROOT)}"]
    command += [*ALL_SYSTEMS, *READABLE, "--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", *options]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def locked(lock: Path) -> dict[str, Requirement]:
    """{name: `name==version; marker`} of a lock."""
    lines = lock.read_text("utf-8").replace("\\\n", "").splitlines()
    pins = [Requirement(line.partition(" --hash=")[0]) for line in lines if line and not line.lstrip().startswith("#")]
    return {pin.name: pin for pin in pins}


def version(requirement: Requirement) -> str:
    """The one version that a line of a lock admits."""
    return next(iter(requirement.specifier)).version


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--upgrade", action="store_true", help="take the newest version of everything")
    upgrade = ["--upgrade"] if parser.parse_args().upgrade else []
    compile_lock("requirements.txt", SERVING, *upgrade)
    compile_lock("tests/requirements.txt", TESTS, f"--constraint={SERVING.relative_to(ROOT)}", *upgrade)
    for lock in (SERVING, TESTS):
        print(f"{lock.relative_to(ROOT)}: {len(locked(lock))} packages")


if __name__ == "__main__":
    main()
