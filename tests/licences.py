"""Make .lock/licences.md again: `python tests/licences.py`, where exactly .lock/serving.txt is installed.

The list says what each package's own metadata declare. A licence that is neither in ALLOWED nor has a remark here is
refused, so that somebody reads it before anybody depends on it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib.metadata import PackageNotFoundError, metadata
from importlib.metadata import version as installed_version
from typing import NamedTuple

from make_lock import ROOT, SERVING, locked, version
from packaging.markers import default_environment

LIST = ROOT / ".lock" / "licences.md"
VENDORED = ROOT / "mri_models" / "page" / "static" / "README.md"
UNDECLARED = "none declared"
LINUX = {"os_name": "posix", "sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}

# Permissive licences, and MPL-2.0, which asks for changes to its own files only; in every spelling that occurs.
ALLOWED = frozenset(
    """0BSD; Apache-2.0; Apache 2.0; Apache 2.0 License; Apache License 2.0; Apache Software License; LLVM-exception;
    BSD; BSD License; BSD-2-Clause; BSD-3-Clause; BSL-1.0; CC0-1.0; CNRI-Python; ISC; ISC License; MIT; MIT License;
    MIT-CMU; MPL-2.0; PSF-2.0; PSFL; Python Software Foundation License; Zlib""".replace("\n    ", " ").split("; ")
)
_NVIDIA = "NVIDIA's terms, not open source: comes with torch's builds for CUDA on Linux, not with its CPU build"
REMARKS = {  # (package, licence): why it may be there all the same
    ("fpdf2", "LGPL-3.0-only"): "imported unchanged and replaceable, which is what the LGPL asks for",
    ("nvidia-*", "LicenseRef-NVIDIA-Proprietary"): _NVIDIA,
    ("nvidia-cusparselt-cu13", "NVIDIA Proprietary Software"): _NVIDIA,
    ("cuda-toolkit", UNDECLARED): "holds no code: it names the versions of NVIDIA's libraries that belong together",
}
HEAD = """\
# Licences of everything that serving installs

Written by `python tests/licences.py` from the metadata of the versions in `serving.txt`, for Linux and Python 3.11 and
3.12; do not edit. "Licence" is what the package itself declares. What a wheel bundles (Pillow its image codecs, Gradio
its page) stands in that wheel's own licence files. The weights have terms of their own: `weights/*/README.md`.
"""


class Row(NamedTuple):
    """A package as the list shows it."""

    name: str
    version: str
    licence: str
    remark: str


def declared(name: str) -> str:
    """What a package's metadata say: the SPDX expression, else a short name, else the classifiers' words."""
    said = metadata(name)
    if expression := said.get("License-Expression"):
        return expression
    if 0 < len(text := said.get("License", "")) <= 40:  # else some paste the whole text
        return text
    classifiers = [line for line in said.get_all("Classifier", []) if line.startswith("License ::")]
    return " AND ".join(line.rpartition(" :: ")[2].partition(" (")[0] for line in classifiers) or UNDECLARED


def remark(name: str, licence: str) -> str:
    """Why a licence outside ALLOWED is there; "" where all parts of it are allowed. KeyError for any other."""
    parts = re.split(r"\s+(?:AND|OR|WITH)\s+", licence.replace("(", " ").replace(")", " ").strip())
    if ALLOWED.issuperset(parts):
        return ""
    for (package, known), reason in REMARKS.items():
        if fnmatchcase(name, package) and licence == known:
            return reason
    raise KeyError(f"{name} is under {licence!r}: read it, then add it to ALLOWED or REMARKS in tests/licences.py.")


def served() -> dict[str, str]:
    """{name: version} of what .lock/serving.txt installs on Linux, with Python 3.11 or 3.12."""
    found = {}
    for python in ("3.11", "3.12"):
        here = default_environment() | LINUX | {"python_version": python, "python_full_version": f"{python}.0"}
        wanted = locked(SERVING).values()
        found |= {each.name: version(each) for each in wanted if not each.marker or each.marker.evaluate(here)}
    return dict(sorted(found.items()))


def packages() -> Iterator[Row]:
    """Every served package. LookupError where this environment has another version, so can't tell."""
    for name, wanted in served().items():
        try:
            here = installed_version(name).partition("+")[0]
        except PackageNotFoundError:
            here = "none"
        if here != wanted:
            raise LookupError(f"{name} {wanted} is locked, {here} installed: pip install -r .lock/tests.txt first.")
        licence = declared(name)
        yield Row(name, wanted, licence, remark(name, licence))


def vendored() -> Iterator[Row]:
    """Other people's files in this repository, from the table beside them: file, what, version, licence."""
    for line in VENDORED.read_text("utf-8").splitlines():
        if line.startswith("| `"):
            file, _, number, licence = (cell.strip() for cell in line.strip("|").split("|"))
            name, licence = file.strip("`"), licence.partition(" (")[0]
            yield Row(name, number, licence, remark(name, licence) or "in `mri_models/page/static/`, with its licence")


def render() -> str:
    rows = ["| package | version | licence | remark |", "| --- | --- | --- | --- |"]
    rows += [f"| {' | '.join(row)} |" for row in (*packages(), *vendored())]
    return HEAD + "\n" + "\n".join(rows) + "\n"


def read() -> list[Row]:
    """The rows of the list as it stands in the repository."""
    lines = [line for line in LIST.read_text("utf-8").splitlines() if line.startswith("| ")]
    return [Row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines[2:]]


if __name__ == "__main__":
    LIST.write_text(render(), encoding="utf-8")
    print(f"{LIST.relative_to(ROOT)}: {len(read())} packages and files")
