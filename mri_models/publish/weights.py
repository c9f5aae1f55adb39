"""The model repository: every model folder, verified, under a root card that says what they are and how they did."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from mri_models.errors import PublishError
from mri_models.evaluation.tables import COLUMNS, cell, table
from mri_models.hub import CONFIG, model_folders, verify
from mri_models.publish.plan import Plan, Upload, allowed_files
from mri_models.types import DISCLAIMER

LIMIT = 200_000_000  # bytes, as the design says of weights/
LICENCE = "research-and-teaching-only"
METRICS = "metrics.json"
CARD = "README.md"
_FILES = ("*.json", "*.safetensors", "*.md")  # what mri_models.hub downloads, no more and no less
_MEASURED = (METRICS, "baselines.json", "benchmark.json", "figures.json", "unseen.json")
_OWNED = (CARD, *_MEASURED, *(f"*/{pattern}" for pattern in _FILES))
_TAGS = ["mri", "medical-imaging", "timm", "explainability", "out-of-distribution-detection", "research"]
_WORDS = """\
# {name}

The models of an open demo that describes which pattern an MRI slice resembles, how unusual it is, and when to refuse:
which way is up, a gate (is this an MRI?), the body part, a model for each supported part, outlines, and an anomaly
score for brains.

{disclaimer}

## Use

With the package, pinned to a commit of this repository:

```bash
MRI_WEIGHTS={repo}@COMMIT python -m mri_models analyze scan.png
```

A classifier alone:

```python
from transformers import AutoModelForImageClassification

model = AutoModelForImageClassification.from_pretrained("{repo}", subfolder="{first}")
```

Scores are calibrated and a label is accepted only above its threshold: both stand in each `config.json`, together with
the SHA-256 of the weights. Only safetensors and JSON, no pickle.

## Models

{models}

## Results

On test patients, who chose nothing; {note}

{results}

Results by source, limits and training data are in each model's own card. License: several of the data sets forbid
commercial use, so the weights are for research and teaching only.
"""


def weights_plan(folder: Path, repo: str) -> Plan:
    """What of `folder` (weights/) goes to the model repository `repo`.

    Raises WeightsError for a damaged model, PublishError for a model without card, for metrics that were measured on
    other weights, and for files that don't belong there.
    """
    models = {name: verify(path) for name, path in model_folders(folder).items()}
    for name in models:
        if not (folder / name / CARD).is_file():
            raise PublishError("no_card", f"{folder / name} has no {CARD}: export the model again, which writes one.")
    metrics = read_metrics(folder, models)
    paths = [path for path in allowed_files(folder, _FILES) if path != folder / CARD]
    files = [Upload(path.relative_to(folder).as_posix(), path) for path in paths]
    card = Upload(CARD, root_card(repo, folder, models, metrics).encode())
    return Plan(repo, "model", (card, *files), _OWNED, LIMIT)


def read_metrics(folder: Path, models: Mapping[str, str]) -> dict[str, Any]:
    """metrics.json, once its results are of these weights; `models` are their SHA-256."""
    try:
        metrics = json.loads((folder / METRICS).read_text("utf-8"))
        stale = sorted(name for name in models if metrics["models"].get(name) != models[name])
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise PublishError(
            "no_metrics", f"{folder / METRICS} can't be read ({error}). Run python -m mri_models evaluate."
        ) from error
    if stale:
        raise PublishError(
            "stale_metrics",
            f"{folder / METRICS} was not measured on these weights of {', '.join(stale)}. "
            "Run python -m mri_models evaluate, so that what is published and what is claimed belong together.",
        )
    return metrics


def root_card(repo: str, folder: Path, models: Mapping[str, str], metrics: Mapping[str, Any]) -> str:
    """Front matter with the results as the Hub reads them (model-index), then the same in words."""
    configs = {name: json.loads((folder / name / CONFIG).read_text("utf-8")) for name in models}
    name = repo.split("/")[-1]
    data = ModelCardData(
        license="other",
        license_name=LICENCE,
        license_link=f"https://huggingface.co/{repo}/blob/main/{CARD}",
        library_name="transformers",
        pipeline_tag="image-classification",
        tags=_TAGS,
        datasets=sorted({source for config in configs.values() for source in config["mri"].get("sources", ())}),
        model_name=name,
        eval_results=list(_results(metrics)),
    )
    words = _WORDS.format(
        name=name,
        repo=repo,
        first=next(iter(metrics["stages"])),
        disclaimer=DISCLAIMER,
        models=_models_table(models, configs),
        note="brackets hold 95 % intervals over patients (bootstrap).",
        results=_results_table(metrics["stages"]),
    )
    return f"---\n{data.to_yaml()}\n---\n{words}"


def _results(metrics: Mapping[str, Any]) -> Iterator[EvalResult]:
    """Every overall metric that has a value, bad ones too."""
    for name, stage in metrics["stages"].items():
        for key in COLUMNS:
            estimate = stage["overall"][key]
            if estimate is not None and key != "ece_by_chance":  # what luck alone would give is no result
                yield EvalResult(
                    task_type="image-classification",
                    task_name=name,
                    dataset_type="mri-patterns-corpus",
                    dataset_name=f"own corpus, {stage['overall']['patients']} test patients of {name}",
                    dataset_config=name,  # or the Hub's client merges the results of all models
                    dataset_split=metrics["split"],
                    metric_type="roc_auc" if key == "auroc" else key,  # as the Hub names it
                    metric_name=COLUMNS[key],
                    metric_value=estimate["value"],
                )


def _models_table(models: Mapping[str, str], configs: Mapping[str, Mapping[str, Any]]) -> str:
    header = ["folder", "architecture", "SHA-256 of model.safetensors"]
    return table(header, [[f"`{name}`", _architecture(configs[name]), f"`{models[name][:16]}…`"] for name in models])


def _architecture(config: Mapping[str, Any]) -> str:
    return config.get("architecture") or config.get("model_type") or "see card"


def _results_table(stages: Mapping[str, Any]) -> str:
    header = ["model", "images", "patients", *COLUMNS.values()]
    rows = [
        [f"`{name}`", s["overall"]["images"], s["overall"]["patients"], *(cell(s["overall"][key]) for key in COLUMNS)]
        for name, s in stages.items()
    ]
    return table(header, rows)
