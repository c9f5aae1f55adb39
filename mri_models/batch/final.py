"""All answers by name, in one file: JSON Lines, or Parquet with columns for the usual questions."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mri_models.batch.journal import Journal
from mri_models.errors import BatchError
from mri_models.whole import write_whole

if TYPE_CHECKING:
    import pyarrow

FORMATS = ("jsonl", "parquet")
INSTALL = "pip install -r mri_models/batch/requirements.txt"
_ROWS = 10_000  # of a row group, which is held in memory
_STAGES = ("gate", "body_part", "diagnosis")


def require(form: str) -> None:
    """Raises BatchError at once, not after a night's work, where the format's library is missing."""
    if form == "parquet":
        _pyarrow()


def write_final(journal: Journal, form: str) -> Path:
    """DIR/reports.jsonl or DIR/reports.parquet, sorted by name, one row a file; replaces an older one when complete."""
    path = journal.folder / f"reports.{form}"
    if form == "jsonl":
        write_whole(path, journal.lines())
    else:
        _write_parquet(path, journal.lines())
    return path


def row(line: bytes) -> dict[str, Any]:
    """The columns of one report; `report` is its whole JSON, exactly as in JSON Lines.

    `file` shows bytes that are no UTF-8 as escapes, for Parquet has no other text; in `report` the name is exact.
    """
    report = json.loads(line)
    rejection, anomaly = report["rejection"] or {}, report["anomaly"] or {}
    stages = {stage: report[stage] or {} for stage in _STAGES}
    return {
        "file": report["file"].encode("utf-8", "backslashreplace").decode(),
        "status": report["status"],
        **{f"rejection_{name}": rejection.get(name) for name in ("stage", "code")},
        **{f"{stage}_{name}": found.get(name) for stage, found in stages.items() for name in ("label", "confidence")},
        **{f"anomaly_{name}": anomaly.get(name) for name in ("category", "score")},
        "input_sha256": report["input_sha256"],
        "report": line.decode().rstrip("\n"),
    }


def _write_parquet(path: Path, lines: Iterable[bytes]) -> None:
    pyarrow = _pyarrow()
    from pyarrow.parquet import ParquetWriter

    columns = _schema(pyarrow)
    part = path.with_name(path.name + ".part")
    with ParquetWriter(part, columns, compression="zstd") as writer:
        rows = []
        for line in lines:
            rows.append(row(line))
            if len(rows) == _ROWS:
                writer.write_table(pyarrow.Table.from_pylist(rows, schema=columns))
                rows = []
        if rows:
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=columns))
    part.replace(path)


def _schema(arrow: Any) -> pyarrow.Schema:
    """Fixed, not guessed from the first rows, which may lack what later ones have."""
    text, number = arrow.string(), arrow.float64()
    stages = [(f"{stage}_{name}", of) for stage in _STAGES for name, of in (("label", text), ("confidence", number))]
    head = [(name, text) for name in ("file", "status", "rejection_stage", "rejection_code")]
    tail = [("anomaly_category", text), ("anomaly_score", number), ("input_sha256", text), ("report", text)]
    return arrow.schema([*head, *stages, *tail])


def _pyarrow() -> Any:
    try:
        import pyarrow
    except ImportError as error:
        raise BatchError("no_pyarrow", f"Parquet needs the package pyarrow: {INSTALL}, or --format jsonl.") from error
    return pyarrow
