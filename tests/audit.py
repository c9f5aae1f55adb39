"""Ask pip-audit for known vulnerabilities of what .lock/tests.txt pins: `python tests/audit.py [--ignore-vuln ID]`.

Where a mirror of PyPI serves files but no advisories, pip-audit skips every package, prints "No known vulnerabilities
found" and exits 0. So the packages that were looked up are counted here, and none means: skipped, not clean. Options
are handed on to pip-audit. Exit status 1: something was found.
"""

from __future__ import annotations

import json
import subprocess
import sys

from make_lock import TESTS

SERVICES = ("pypi", "osv")
OPTIONS = ("--require-hashes", "--disable-pip", "--format=json", "--progress-spinner=off", "--timeout=15")


def ask(service: str, *options: str) -> list[dict] | str:
    """pip-audit's answer for each package, or its last words when it gave none."""
    command = [sys.executable, "-m", "pip_audit", "-r", str(TESTS), f"--vulnerability-service={service}", *OPTIONS]
    done = subprocess.run([*command, *options], capture_output=True, text=True)
    try:
        return json.loads(done.stdout)["dependencies"]
    except ValueError:
        return (done.stderr.strip() or f"exit status {done.returncode}").splitlines()[-1]


def judge(service: str, answer: list[dict] | str) -> tuple[bool | None, str]:
    """(whether nothing was found, None where nothing could be looked up; the same in words)."""
    if isinstance(answer, str):
        return None, f"pip-audit, {service}: not reachable, skipped ({answer[:160]})"
    known = [package for package in answer if "skip_reason" not in package]
    if not known:
        return None, f"pip-audit, {service}: not reachable, skipped (it knew none of {len(answer)} packages)"
    lines = [
        f"{package['name']} {package['version']}: {found['id']}, fixed in {', '.join(found['fix_versions']) or 'none'}"
        for package in known
        for found in package["vulns"]
    ]
    title = f"pip-audit, {service}: {len(lines)} vulnerabilities, {len(known)} of {len(answer)} packages looked up"
    return not lines, "\n  ".join([title, *lines])


def main(*options: str) -> int:
    for service in SERVICES:
        clean, words = judge(service, ask(service, *options))
        print(words)
        if clean is not None:
            return 0 if clean else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
