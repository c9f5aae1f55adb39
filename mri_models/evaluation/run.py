"""Every stage on a split of the corpus: metrics JSON, figures, and the tables of README and model cards.

Beside each stage's own table stand the questions that matter where it is used: how much of each foreign modality the
gate lets in, which other body parts pass as supported, how many tumours are called "no tumour" and the reverse.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from mri_models.anomaly import NAME as ANOMALY
from mri_models.discs import NAME as DISCS
from mri_models.errors import DataError, WeightsError
from mri_models.evaluation import explanations, explore, figures
from mri_models.evaluation.agreement import agreed, healed_heads
from mri_models.evaluation.anomaly import measure_anomaly, write_anomaly_tables
from mri_models.evaluation.collect import Outputs, Read, as_stored, collect_all, labelled, outcomes, put_right, thin
from mri_models.evaluation.discs import measure_discs
from mri_models.evaluation.discs_table import write_disc_tables
from mri_models.evaluation.ink import NAME as INK
from mri_models.evaluation.ink import measure_ink, write_ink_table
from mri_models.evaluation.knee import Reader, measure_exams, measure_knee, write_exams, write_knee_tables
from mri_models.evaluation.metrics import Outcomes, StageMetrics, by_source, summarise
from mri_models.evaluation.outlines import measure_segmenter
from mri_models.evaluation.questions import questions
from mri_models.evaluation.segmentation import write_outline_tables
from mri_models.evaluation.tables import PUT_RIGHT, render, update_readme
from mri_models.evaluation.turned import NAME as TURNED
from mri_models.evaluation.turned import measure_turned, write_turned_tables
from mri_models.evaluation.volumetric import measure_volumes, write_volume_tables
from mri_models.figures import FIGURES, StageFigures
from mri_models.knee import NAME as KNEE
from mri_models.levels import Box, disc_boxes
from mri_models.localize import TUMOUR
from mri_models.orientation import NAME as ORIENTATION
from mri_models.pipeline import BRAIN, DIAGNOSIS, Pipeline
from mri_models.training.corpus import Sample, read_corpus, split_hash
from mri_models.training.exams import holds_exams
from mri_models.types import Scan

METRICS = Path("weights/metrics.json")
README = Path("README.md")
SLOW = 40  # images of the other measurements in the time of one explained by every method, or of a volume
CLASSIFIERS = "classifiers"  # gate, body part and patterns in one pass over each image
SEGMENTATION, VOLUMES = "segmentation", "volumes"
SPINE = "segmentation/spine"


def evaluate(
    pipeline: Pipeline, data: Path, out: Path, *, split: str = "test", limit: int | None = None, only: str = ""
) -> None:
    """Measure every model of the pipeline, or `only` one; on all of test also rewrite weights/metrics.json and tables.

    figures.json, the numbers behind the Explore tab, is written with the classifiers; `only` "figures" writes it alone,
    and "classifiers" measures those together, which looks once at an image of several stages.

    Every image is judged as it is served, turned upright where it surely lies; but explanations are those of images as
    the corpus holds them.

    DATA may also hold MRNet or KneeMRI in their published layouts: then the knee's answers alone are measured.
    Raises WeightsError when the weights hold no model `only`.
    """
    if holds_exams(data):
        write_exams(measure_exams(Reader.of(pipeline), data, split, limit), out)
        return
    known = (*pipeline.hashes, CLASSIFIERS, TURNED, INK, explanations.NAME, explore.NAME)
    if only and only not in known:
        raise WeightsError("no_model", f"The weights hold no model {only!r}; there are {', '.join(known)}.")
    samples = read_corpus(data)
    out.mkdir(parents=True, exist_ok=True)
    kept = split == "test" and limit is None
    few = limit and 1 + limit // SLOW
    result: dict[str, Any] = {"split": split, "split_hash": split_hash(samples), "models": {}, "stages": {}}
    result["models"] |= {
        name: digest
        for name, digest in pipeline.hashes.items()
        if name == ORIENTATION or _asked(only, name, pipeline.models)  # which turned what every other one saw
    }
    drawn: dict[str, StageFigures] = {}

    def read(sample: Sample) -> Scan:
        return pipeline.upright(as_stored(sample))[0]

    for name, outputs in answers(pipeline, samples, (split, limit), only, read).items():
        stage = outcomes(pipeline.models[name], outputs, name.removeprefix(DIAGNOSIS))
        doubted = name == BRAIN and TUMOUR in pipeline.outlines
        if doubted:
            stage = agreed(stage, outputs.samples, pipeline.outlines[TUMOUR], read)
        drawn[name] = explore.stage_figures(stage, pipeline.models[name].calibration)
        if only != explore.NAME:
            result["stages"][name] = measure_stage(name, stage, outputs, out)
        if doubted and only != explore.NAME:
            tumours, part = pipeline.outlines[TUMOUR], (split, limit)
            heads = healed_heads(pipeline.models[name], tumours, samples, *part, pipeline.upright)
            result["stages"][name]["questions"] |= heads
    if drawn:
        path = (METRICS.parent if kept else out) / FIGURES
        everything = only in ("", CLASSIFIERS, explore.NAME)
        explore.write_figures(drawn, pipeline.hashes, samples, path, split, all_of_it=everything)
    if only == explore.NAME:
        return
    if pipeline.anomaly and only in ("", ANOMALY):
        result[ANOMALY] = measure_anomaly(pipeline.anomaly, samples, split, limit, read)
    if pipeline.compass and BRAIN in pipeline.models and only in ("", TURNED, ORIENTATION):
        result[TURNED] = measure_turned(pipeline, samples, split, limit)
    if BRAIN in pipeline.models and only in ("", INK):
        result[INK] = measure_ink(pipeline, samples, split, limit)
    for name, segmenter in pipeline.outlines.items():
        if only in ("", name):
            found = measure_segmenter(name, segmenter, data, split, limit, pipeline.upright)
            result.setdefault(SEGMENTATION, {})[name] = found
    for name, segmenter in pipeline.volume_outlines.items():
        if only in ("", name):
            result.setdefault(VOLUMES, {})[name] = measure_volumes(segmenter, data, split, few)
    if KNEE in pipeline.outlines and only in ("", KNEE):
        result["knee"] = measure_knee(Reader.of(pipeline), data, split, limit)
    if pipeline.specialists.discs and SPINE in pipeline.outlines and only in ("", DISCS):
        grader, spine = pipeline.specialists.discs, pipeline.outlines[SPINE]

        def find(scan: Scan) -> list[Box]:
            return disc_boxes(spine(scan))

        result[DISCS] = measure_discs(grader, find, data, split, limit, pipeline.upright)
    if BRAIN in pipeline.models and only in ("", explanations.NAME):
        rows = out / "explanations.jsonl"
        measured = explanations.measure_explanations(pipeline.models[BRAIN], samples, split, few, rows)
        result[explanations.NAME] = measured
    if only and kept:
        result = merged(json.loads(METRICS.read_text(encoding="utf-8")), result)
    text = json.dumps(result, indent=1) + "\n"
    (out / "metrics.json").write_text(text)
    if kept:
        METRICS.write_text(text)
        write_tables(result)


def _asked(only: str, name: str, classifiers: Container[str]) -> bool:
    """Whether the model `name` is to be measured."""
    return only in ("", name) or (only == CLASSIFIERS and name in classifiers)


def merged(known: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured before with what has been measured now, model by model.

    Raises DataError where that was done on other patients, or on images that another network turned upright.
    """
    if known.get("split_hash", new["split_hash"]) != new["split_hash"]:
        raise DataError(
            "other_patients", f"{METRICS} was measured on other patients: measure everything again, without --only."
        )
    before, now = (found.get("models", {}).get(ORIENTATION) for found in (known, new))
    if before and now and before != now:
        raise DataError(
            "other_compass",
            f"{METRICS} was measured on images turned by another {ORIENTATION}: measure everything again, without "
            "--only.",
        )
    by_model = ("models", "stages", SEGMENTATION, VOLUMES)
    return known | {key: known.get(key, {}) | value if key in by_model else value for key, value in new.items()}


def answers(
    pipeline: Pipeline, samples: Sequence[Sample], part: tuple[str, int | None], only: str, read: Read
) -> dict[str, Outputs]:
    """What the classifiers, or `only` one of them, say about `part` (split, limit) of the samples."""
    split, limit = part
    asked = {
        name: (model, task, thin(labelled(samples, task, split), limit))
        for name, model in pipeline.models.items()
        if (only == explore.NAME or _asked(only, name, pipeline.models)) and (task := name.removeprefix(DIAGNOSIS))
    }
    return collect_all(asked, read)


def measure_stage(name: str, stage: Outcomes, outputs: Outputs, out: Path) -> dict[str, Any]:
    """One classifier's metrics by source, questions, and figures below `out`."""
    overall, sources = summarise(stage), by_source(stage)
    draw(stage, overall, sources, out / name.replace("/", "_"), name)
    print(f"{name}: balanced accuracy {overall.balanced_accuracy}, AUROC {overall.auroc}, ECE {overall.ece}")
    found: dict[str, Any] = {
        "overall": overall.to_dict(),
        "sources": {source: m.to_dict() for source, m in sources.items()},
        "questions": questions(name.removeprefix(DIAGNOSIS), stage, outputs),
    }
    if right := put_right(stage, outputs.samples):
        stage, wrong = right
        found[PUT_RIGHT] = {"images": wrong, "overall": summarise(stage).to_dict()}
    return found


def draw(stage: Outcomes, overall: StageMetrics, sources: Mapping[str, StageMetrics], folder: Path, title: str) -> None:
    """All figures of one stage."""
    folder.mkdir(parents=True, exist_ok=True)
    figures.reliability(stage, folder / "reliability.png", title)
    figures.confusion(overall, folder / "confusion.png", title)
    figures.roc(stage, folder / "roc.png", title)
    figures.risk(stage, folder / "risk_coverage.png", title)
    figures.sources(sources, folder / "sources.png", title)


def write_tables(result: Mapping[str, Any]) -> None:
    """README: all stages; each model card: its own."""
    update_readme(README, "stages", tables(result["stages"]))
    for name, stage in result["stages"].items():
        update_readme(METRICS.parent / name / "README.md", name, tables({name: stage}))
    if ANOMALY in result:
        write_anomaly_tables(result[ANOMALY], README, METRICS.parent / ANOMALY / "README.md")
    if TURNED in result:
        write_turned_tables(result[TURNED], README, METRICS.parent / ORIENTATION / "README.md")
    if INK in result:
        write_ink_table(result[INK], README)
    if explanations.NAME in result:
        explanations.write_explanation_table(result[explanations.NAME], README, METRICS.parent / BRAIN)
    if SEGMENTATION in result:
        write_outline_tables(result[SEGMENTATION], README, METRICS.parent)
    if VOLUMES in result:
        write_volume_tables(result[VOLUMES], README, METRICS.parent)
    if DISCS in result:
        write_disc_tables(result[DISCS], README, METRICS.parent / DISCS / "README.md")
    if "knee" in result:
        write_knee_tables(result["knee"], README, METRICS.parent / KNEE / "README.md")


def tables(stages: Mapping[str, Any]) -> str:
    """Metric tables followed by the questions."""
    rows = [
        f"| {name} | {question} | {answer['share']:.3f} | {answer['images']} |"
        for name, stage in stages.items()
        for question, answer in stage["questions"].items()
    ]
    asked = "\n".join(["| stage | question | share | of images |", "|---|---|---:|---:|", *rows])
    return render(stages) + (f"\n\n### What passes that should not\n\n{asked}" if rows else "")
