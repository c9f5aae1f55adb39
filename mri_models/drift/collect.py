"""Observations of corpus images: which make up the undrifted stream, and how they look after a drift.

The stream is every MRI source with enough patients in the validation and in the test split, drawn by the square root of
its size so that no source is the world. Test images come in the numbers of the reference's, source by source.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm.auto import tqdm

from mri_models.drift.observe import FEATURES, Observation, observe
from mri_models.drift.simulate import DRIFTS, simulate
from mri_models.errors import QualityRejected
from mri_models.intake import read_scan
from mri_models.quality import check_quality
from mri_models.report import TUMOURS
from mri_models.training.corpus import IGNORE, TASKS, Sample, read_corpus
from mri_models.types import Rejection, Report, Scan
from mri_models.whole import write_whole

PATIENTS = 10  # of a source in each split: with fewer, the split would be the drift
QUALITY = 88  # the corpus's own JPEG quality; a drifted image is stored like it, or the missing blocks would tell
Verdict = Callable[[Scan], Report]


@dataclass(frozen=True, slots=True)
class Stream:
    """samples of one split; planes of each, "" where the manifest does not say."""

    samples: tuple[Sample, ...]
    planes: tuple[str, ...]

    def groups(self) -> Mapping[str, np.ndarray]:
        """Rows that a composition drift draws more of; without those that the corpus holds no images for."""
        chosen = {
            "source": [s.source == "oasis1" for s in self.samples],
            "plane": [plane == "sagittal" for plane in self.planes],
            "body_part": [s.body_part == "spine" for s in self.samples],
            "anomaly_frequency": [_label(s) in TUMOURS for s in self.samples],
        }
        return {name: found for name, rows in chosen.items() if (found := np.flatnonzero(rows)).size}


def streams(data: Path, count: int, rng: np.random.Generator) -> dict[str, Stream]:
    """About `count` images of validation patients, and the same number from each source of test patients."""
    samples = [s for s in read_corpus(data) if s.modality == "mri"]
    people = {split: Counter(s.source for s in _one_a_patient(samples, split)) for split in ("val", "test")}
    sources = [name for name in sorted(people["val"]) if min(p[name] for p in people.values()) >= PATIENTS]
    sizes = Counter(s.source for s in samples if s.split == "val")
    roots = {name: math.sqrt(sizes[name]) for name in sources}
    with (data / "manifest.csv").open(newline="") as stream:
        planes = {data / row["path"]: row.get("plane", "") for row in csv.DictReader(stream)}
    chosen: dict[str, list[Sample]] = {"val": [], "test": []}
    for name in sources:
        pools = {split: [s for s in samples if s.split == split and s.source == name] for split in chosen}
        wanted = min(round(count * roots[name] / sum(roots.values())), *map(len, pools.values()))
        for split, pool in pools.items():
            chosen[split] += [pool[i] for i in rng.permutation(len(pool))[:wanted]]
    return {split: Stream(tuple(c), tuple(planes[s.path] for s in c)) for split, c in chosen.items()}


def observations(
    verdict: Verdict,
    hashes: Mapping[str, str],
    samples: Sequence[Sample],
    drift: str | None,
    severity: int,
    cache: Path,
) -> list[Observation]:
    """What serving would remember of each image after a drift (None: as it is); kept below `cache`."""
    strength = DRIFTS[drift].strengths[severity - 1] if drift else 0
    key = json.dumps(
        [_code(), sorted(hashes.items()), FEATURES, [s.path.name for s in samples], drift, severity, strength]
    )
    path = cache / f"{drift or 'undrifted'}-{severity}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.jsonl"
    if path.is_file():
        return [Observation.from_dict(json.loads(line)) for line in path.read_text().splitlines()]

    def one(row: int) -> Observation:
        scan = read_scan(samples[row].path)
        if drift:
            changed = simulate(scan.pixels, drift, severity, np.random.default_rng([severity, row]))
            scan = replace(scan, pixels=changed if drift == "jpeg" else _stored(changed))
        return _seen(verdict, scan)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        progress = tqdm(pool.map(one, range(len(samples))), total=len(samples), desc=path.stem[:-13], leave=False)
        found = list(progress)
    cache.mkdir(parents=True, exist_ok=True)
    write_whole(path, (f"{json.dumps(o.to_dict())}\n".encode() for o in found))
    return found


def _seen(verdict: Verdict, scan: Scan) -> Observation:
    try:
        check_quality(scan)
    except QualityRejected as error:
        return observe(None, Report("image", Rejection(error.stage, error.code, error.message)))
    report = verdict(scan)
    return observe(report.scan or scan, report)  # as it was judged: upright


def _stored(pixels: np.ndarray) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).save(stream, "JPEG", quality=QUALITY)
    return np.asarray(Image.open(stream), np.float32) / np.float32(255)


def _one_a_patient(samples: Sequence[Sample], split: str) -> list[Sample]:
    return list({s.patient: s for s in samples if s.split == split}.values())


def _label(sample: Sample) -> str:
    target = sample.targets["brain"]
    return "" if target == IGNORE else TASKS["brain"][target]


@cache
def _code() -> str:
    """SHA-256 of the code that a verdict takes, rules of refusal included: other code, other observations."""
    package = Path(__file__).parents[1]
    own = [Path(__file__).with_name(name) for name in ("statistics.py", "simulate.py", "observe.py", "collect.py")]
    files = [*own, *sorted(package.glob("*.py")), *sorted((package / "types").glob("*.py"))]
    return hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
