"""What can be said about Python 3.12 (ZeroGPU's) on a machine without it: `python tests/python312.py`; needs npm, node.

Every source is compiled by CPython 3.12 itself, as Pyodide's WebAssembly build, with warnings as errors; every module
of the standard library that is imported must still be there; and pip must find a wheel for 3.12 of everything that
.lock/serving.txt pins. What only running would show stays unknown. Exit status 1: something is amiss.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from make_lock import SERVING
from places import ROOT

PYODIDE = "pyodide@0.27.7"  # the last with Python 3.12
INSIDE = """
import ast, pathlib, sys, warnings
warnings.simplefilter("error")
amiss, imported = [], set()
paths = [p for folder in ("mri_models", "tests") for p in pathlib.Path("/source", folder).rglob("*.py")]
paths.append(pathlib.Path("/source/app.py"))
for path in paths:
    try:
        tree = ast.parse(path.read_text())
        compile(tree, str(path), "exec")
    except (SyntaxError, Warning) as error:
        amiss.append(f"{path}: {error!r}")
        continue
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported.add(node.module.partition(".")[0])
amiss += [f"{name} left the standard library" for name in imported & OLDER - set(sys.stdlib_module_names)]
print(*amiss, f"Python {sys.version.split()[0]}: {len(paths)} sources compiled, {len(amiss)} amiss", sep="\\n")
len(amiss)
"""
SCRIPT = """
import { loadPyodide } from "pyodide";
const python = await loadPyodide();
python.FS.mkdirTree("/source");
python.mountNodeFS("/source", process.argv[2]);
process.exitCode = python.runPython(process.argv[3]) > 0 ? 1 : 0;
"""


def compiled() -> bool:
    """Whether all sources compile and all modules of the standard library are there; says so."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "check.mjs").write_text(SCRIPT)
        subprocess.run(["npm", "install", "--silent", "--no-fund", PYODIDE], cwd=folder, check=True)
        inside = f"OLDER = set({sorted(sys.stdlib_module_names)})\n{INSIDE}"
        return subprocess.run(["node", "check.mjs", str(ROOT), inside], cwd=folder).returncode == 0


def installable() -> bool:
    """Whether every pinned package has a wheel for Python 3.12 here; says so."""
    with tempfile.TemporaryDirectory() as folder:
        options = ("--dry-run", "--quiet", "--python-version=3.12", "--only-binary=:all:", "--no-deps")
        command = [sys.executable, "-m", "pip", "install", *options, f"--target={folder}", f"--requirement={SERVING}"]
        done = subprocess.run(command, capture_output=True, text=True)
    words = "a wheel for every package" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]
    print(f"pip for Python 3.12: {words}")
    return done.returncode == 0


if __name__ == "__main__":
    sys.exit(0 if all([compiled(), installable()]) else 1)
