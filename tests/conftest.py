"""Shared fixtures: the trained pipeline (loaded once), the corpus, the examples."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import EXAMPLES, ROOT

COLUMNS = ("path", "modality", "body_part", "label", "patient", "split", "source", "mask", "note")


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


@pytest.fixture
def tiny_corpus(tmp_path):
    """48 made-up images: MRI "brains" are bright discs, everything else is stripes."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:80, :80]
    rows = []
    for i in range(48):
        disc = (y - 40) ** 2 + (x - 40) ** 2 < 900 if i % 2 else (x // 8) % 2 == 0
        pixels = np.clip(disc * 0.7 + rng.normal(0.1, 0.05, disc.shape), 0, 1)
        Image.fromarray((pixels * 255).astype(np.uint8)).save(tmp_path / f"{i}.png")
        modality = "mri" if i % 2 else "photo"
        split = ("train", "train", "val")[i // 2 % 3]
        rows.append((f"{i}.png", modality, "brain" if i % 2 else "", "", f"p{i}", split, f"s{i % 4}", "", ""))
    with (tmp_path / "manifest.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([COLUMNS, *rows])
    return tmp_path
