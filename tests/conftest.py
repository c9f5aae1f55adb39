"""Shared fixtures: the trained pipeline (loaded once), the corpus, the examples."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from places import EXAMPLES, ROOT


@pytest.fixture(scope="session")
def corpus() -> Path:
    """The training corpus, where this machine has it."""
    folder = Path(os.environ.get("MRI_CORPUS", ROOT.parent / "shared" / "corpus"))
    if not (folder / "manifest.csv").is_file():
        pytest.skip(f"no corpus at {folder}; set MRI_CORPUS")
    return folder


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A file that the fake pipeline takes for a glioma."""
    from fakes import scan_png

    path = tmp_path / "scan.png"
    path.write_bytes(scan_png("glioma"))
    return path


@pytest.fixture(scope="session")
def pipeline():
    """The real pipeline with the weights of this repository."""
    from mri_models import Pipeline

    return Pipeline.from_pretrained(ROOT / "weights")


@pytest.fixture(scope="session")
def expected() -> dict[str, dict[str, str | None]]:
    """examples/expected.json: what each bundled example must come to."""
    return json.loads((EXAMPLES / "expected.json").read_text(encoding="utf-8"))
