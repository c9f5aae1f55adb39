"""Do the explanations deserve belief? Every method on test tumours with a reader's outline, one slice a patient.

Completeness gap; randomisation (Adebayo 2018): the map must change when layers are drawn by lot; deletion and
insertion curves (Petsiuk 2018) beside random orders; pointing game (Zhang 2018) and share of the evidence inside the
outline. What a method fails is written into the model's config, so that the page can say so beside its picture.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import binary_dilation
from tqdm.auto import tqdm

from mri_models.classify import Classifier
from mri_models.evaluation.metrics import MIN_PATIENTS, Estimate
from mri_models.evaluation.tables import cell, update_readme
from mri_models.evaluation.tables import table as markdown_table
from mri_models.explain import METHODS, attribute
from mri_models.explain.cells import content
from mri_models.explain.checks import GAP, SAME, similarity
from mri_models.explain.curves import GRID, area, measure_curves, order_of, random_orders
from mri_models.explain.draw import resized
from mri_models.explain.randomise import HEAD, randomised
from mri_models.intake import read_scan
from mri_models.training.corpus import TASKS, Sample, read_mask
from mri_models.training.scale import write_config
from mri_models.types import Attribution, Scan

NAME = "explanations"
MARGIN = 10  # px around the outline that still count as inside: coarse maps have cells of 32 px
RANDOM_ORDERS = 5
LEVELS = {"head": HEAD, "half": 0.5, "all": 1.0}  # layers drawn by lot: the last one, half of the others too, all
RANDOMISED_EVERY = 5  # of the images: each takes three more maps a method
LEAST_BETTER, LEAST_INSIDE, LEAST_POINTING = 0.95, 0.60, 0.80  # what a method must reach on test patients
RANDOM = "random"

COLUMNS = {
    "gap": "gap",
    "same_head": "same: last layer",
    "same_half": "same: half",
    "same_all": "same: all",
    "deletion": "deletion",
    "insertion": "insertion",
    "better": "beats random",
    "inside": "inside",
    "pointing": "pointing",
    "seconds": "seconds",
}
NOTE = (
    "{patients} test patients ({sources}), one slice each, the class that the network names. Brackets: 95 % interval "
    "over patients (bootstrap); gap and seconds are medians, the others means. Gap: how far the map misses the score, "
    "0.05 passes. Same: |rank correlation| with the map of a network of which the last layer, half of the others too, "
    "or all layers were shuffled, on {randomised} patients; 0.5 for all passes. Deletion (lower is better) and "
    "insertion (higher is better): area under the class probability while cells are veiled or uncovered, strongest "
    "first. Beats random: share of slices whose deletion is below the mean of {orders} random orders; 0.95 passes. "
    "Inside: share of the evidence for the class within the reader's outline and {margin} px around it; pointing: "
    "share of maps whose maximum lies there; both where the class is right; 0.60 or 0.80 passes, the last row has "
    "what chance would give."
)
Row = dict[str, Any]  # measurement -> value, of one method on one image


def measure_explanations(
    classifier: Classifier, samples: Sequence[Sample], split: str, limit: int | None, kept: Path
) -> dict[str, Any]:
    """The part of metrics.json about explanations; rows already in `kept` (JSON Lines) are not measured again."""
    chosen = one_slice_each([s for s in samples if s.split == split and s.mask and s.body_part == "brain"])[:limit]
    rows = []
    for place, sample in enumerate(tqdm(chosen, desc=NAME, leave=False)):
        row = _known(kept, classifier.digest).get(sample.path.name, {})  # another process may have come first
        if missing := [method for method in METHODS if method not in row]:
            row |= measure_image(classifier, sample, missing, randomise=place % RANDOMISED_EVERY == 0)
            with kept.open("a", encoding="utf-8") as stream:
                entry = {"model": classifier.digest, "image": sample.path.name, "methods": row}
                stream.write(json.dumps(entry) + "\n")
        rows.append(row)
    methods = {method: summarise([row[method] for row in rows]) for method in (*METHODS, RANDOM)}
    return {
        "split": split,
        "model": classifier.digest,
        "patients": len(rows),
        "randomised": len(range(0, len(rows), RANDOMISED_EVERY)),
        "sources": sorted({sample.source for sample in chosen}),
        "methods": methods,
        "failed": {method: list(failures(methods[method])) for method in METHODS},
    }


def one_slice_each(samples: Sequence[Sample]) -> list[Sample]:
    """Of every patient the slice whose outline has the median area, in the order of their names."""
    by_patient: dict[str, list[Sample]] = {}
    for sample in samples:
        by_patient.setdefault(f"{sample.source}/{sample.patient}", []).append(sample)

    def size(sample: Sample) -> tuple[float, str]:
        return _outline(sample, read_scan(sample.path).shape).mean(), sample.path.name

    return [sorted(slices, key=size)[len(slices) // 2] for _, slices in sorted(by_patient.items())]


def measure_image(
    classifier: Classifier, sample: Sample, methods: Sequence[str] = METHODS, *, randomise: bool
) -> dict[str, Row]:
    """The methods' measurements on one image, and those of random orders, for the class that serving would name.

    Where that is not the reader's class, nothing says that its evidence should lie inside the outline.
    """
    scan = read_scan(sample.path)
    outline, target = _outline(sample, scan.shape), classifier(scan).label
    maps = {method: attribute(classifier, scan, target, method) for method in methods}
    orders = [order_of(found, scan) for found in maps.values()]
    curves = measure_curves(classifier, scan, target, [*orders, *random_orders(scan, RANDOM_ORDERS)], insertion=True)
    deletion, insertion = area(curves.deletion), area(curves.insertion)
    by_lot = {"deletion": float(deletion[len(maps) :].mean()), "insertion": float(insertion[len(maps) :].mean())}
    near = binary_dilation(outline, iterations=MARGIN) if target == _truth(sample) else None
    chance = None if near is None else _chance(scan, near)
    rows: dict[str, Row] = {RANDOM: by_lot | {"inside": chance, "pointing": chance}}
    for place, (method, found) in enumerate(maps.items()):
        own = {"deletion": float(deletion[place]), "insertion": float(insertion[place])}
        rows[method] = own | {
            "gap": found.completeness_gap,
            "better": float(own["deletion"] < by_lot["deletion"]),
            "inside": None if near is None else inside_share(found, near),
            "pointing": None if near is None else float(near.flat[found.values.argmax()]),
            "seconds": found.took_ms / 1000,
        }
        if randomise:
            rows[method] |= {f"same_{name}": value for name, value in _randomised(classifier, scan, found)}
    return rows


def inside_share(found: Attribution, near: np.ndarray) -> float:
    """Share of the evidence for the class that lies in `near` (H, W) bool; 0 for a map without any."""
    evidence = found.values.clip(0)
    total = float(evidence.sum())
    return float(evidence[near].sum()) / total if total > 0 else 0.0


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Mean over patients (of gaps and times the median), with interval; images without the value are left out."""
    names = sorted({name for row in rows for name in row})
    found = {name: np.array([row[name] for row in rows if row.get(name) is not None]) for name in names}
    return {name: over_patients(name, values).to_dict() for name, values in found.items() if values.size}


def over_patients(name: str, values: np.ndarray, *, resamples: int = 1000, seed: int = 0) -> Estimate:
    """One value a patient (N,) → its centre and 95 % bootstrap interval; none with fewer than MIN_PATIENTS."""
    centre = np.median if name in ("gap", "seconds") else np.mean  # one image without contrast has a huge gap
    if len(values) < MIN_PATIENTS:
        return Estimate(float(centre(values)))
    picks = np.random.default_rng(seed).integers(len(values), size=(resamples, len(values)))
    low, high = np.quantile(centre(values[picks], axis=1), (0.025, 0.975)).tolist()
    return Estimate(float(centre(values)), low, high)


def failures(measured: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """The checks that a method does not pass; the limits were set before anything was measured."""
    value = {name: estimate["value"] for name, estimate in measured.items()}
    if value.get("gap", 0) > GAP:
        yield "completeness"
    if value.get("same_all", 0) > SAME:
        yield "random_weights"
    if value["better"] < LEAST_BETTER:
        yield "deletion"
    if value.get("inside", 0) < LEAST_INSIDE and value.get("pointing", 0) < LEAST_POINTING:
        yield "location"


def table(found: Mapping[str, Any]) -> str:
    """Markdown of `measure_explanations`' result."""
    methods = found["methods"].items()
    rows = [[name, *(cell(measured.get(key)) for key in COLUMNS)] for name, measured in methods]
    failed = [[name, ", ".join(what) or "nothing"] for name, what in found["failed"].items()]
    sources = ", ".join(found["sources"])
    counts = {"patients": found["patients"], "randomised": found["randomised"]}
    note = NOTE.format(**counts, sources=sources, orders=RANDOM_ORDERS, margin=MARGIN)
    parts = [markdown_table(["method", *COLUMNS.values()], rows), note]
    return "\n\n".join([*parts, markdown_table(["method", "fails"], failed)])


def write_explanation_table(found: Mapping[str, Any], readme: Path, folder: Path) -> None:
    """README's table, and what each method fails into the model's config, where serving reads it."""
    update_readme(readme, NAME, table(found))
    write_config(folder, explanation_study=found["failed"])


def _randomised(classifier: Classifier, scan: Scan, found: Attribution) -> Iterator[tuple[str, float]]:
    """How alike the map stays while the layers are drawn by lot, from the last one on."""
    for name, share in LEVELS.items():
        other = randomised(classifier, share)
        again = attribute(other, scan, found.target, found.method)
        yield name, similarity(found, again, scan)


def _truth(sample: Sample) -> str:
    return TASKS["brain"][sample.targets["brain"]]


def _outline(sample: Sample, shape: tuple[int, int]) -> np.ndarray:
    """(H, W) bool."""
    return read_mask(sample.mask, shape) > 127


def _chance(scan: Scan, near: np.ndarray) -> float:
    """What a map that is the same wherever there is content would have inside."""
    shown = resized(content(scan, GRID).astype(np.float32), near.shape) > 0.5
    return float(near[shown].mean()) if shown.any() else float(near.mean())


def _known(kept: Path, model: str) -> dict[str, dict[str, Row]]:
    """What earlier runs measured with the same weights: image → method → row."""
    if not kept.is_file():
        return {}
    lines = [json.loads(line) for line in kept.read_text(encoding="utf-8").splitlines()]
    return {line["image"]: line["methods"] for line in lines if line["model"] == model}
