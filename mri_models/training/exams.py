"""Knee exams in their published layouts: MRNet (Bien 2018; npy and csv) and KneeMRI (Štajduhar 2017; pck and csv).

Neither may be passed on, so neither is in the corpus; someone with access points `evaluate --data` at the folder, or
puts it into the corpus folder, where its intact knees join training.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mri_models.errors import DataError
from mri_models.pixels import stretch
from mri_models.training.pck import read_array

MRNET, KNEEMRI = "MRNet-v1.0", "KneeMRI"  # their names inside a corpus folder
METADATA = "metadata.csv"
INTACT, PARTIAL, TORN = 0, 1, 2
MIDDLE = 5  # slices around the middle of a volume that show the ligament; of some 30


@dataclass(frozen=True, slots=True)
class Exam:
    """One sagittal series: grade INTACT, PARTIAL or TORN; MRNet knows no partial tears."""

    path: Path
    patient: str
    source: str
    split: str
    grade: int


def holds_exams(folder: Path) -> bool:
    """Whether a folder looks like one of the two."""
    return (folder / "train-acl.csv").is_file() or (folder / "valid-acl.csv").is_file() or _is_kneemri(folder)


def find_exams(folder: Path) -> list[Exam]:
    """Every exam of either layout.

    Raises DataError where a table contradicts the files.
    """
    found = _kneemri(folder) if _is_kneemri(folder) else _mrnet(folder)
    if not found:
        raise DataError("no_exams", f"{folder} holds no exam of MRNet (train/sagittal/0000.npy) or KneeMRI (.pck).")
    return found


def joined_exams(data: Path) -> list[Exam]:
    """The exams that lie inside a corpus folder; none is the usual case."""
    return [exam for name in (MRNET, KNEEMRI) if holds_exams(data / name) for exam in find_exams(data / name)]


def read_slices(exam: Exam) -> np.ndarray:
    """(S, H, W) float32 in [0, 1], stretched over the whole series.

    Raises DataError when the file is no such array.
    """
    if exam.path.suffix == ".pck":
        return stretch(read_array(exam.path))
    try:
        array = np.load(exam.path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError("bad_volume", f"{exam.path} can't be read as an array ({error}).") from error
    if array.ndim != 3 or array.dtype.kind not in "iuf" or not array.size:
        raise DataError("bad_volume", f"{exam.path} must hold (slices, height, width), got {array.shape}.")
    return stretch(array)


def middle(slices: np.ndarray, count: int = MIDDLE) -> np.ndarray:
    """The `count` slices in the middle of a series, where the ligaments cross."""
    start = max(0, (len(slices) - count) // 2)
    return slices[start : start + count]


def _mrnet(folder: Path) -> list[Exam]:
    """train/ and valid/ as published; the latter is what everybody reports on, so it is "test" here."""
    found = []
    for part, split in (("train", "train"), ("valid", "test")):
        table = folder / f"{part}-acl.csv"
        if not table.is_file():
            continue
        with table.open(newline="") as stream:
            rows = [row for row in csv.reader(stream) if row]
        for row in rows:
            if len(row) != 2 or row[1].strip() not in ("0", "1") or not row[0].strip().isalnum():
                raise DataError("bad_table", f"{table} must hold lines like 0000,1; got {','.join(row)!r}.")
            path = folder / part / "sagittal" / f"{row[0].strip()}.npy"
            if not path.is_file():
                raise DataError("missing_volume", f"{table} names exam {row[0]}, but there is no {path}.")
            found.append(Exam(path, f"mrnet:{row[0].strip()}", "mrnet", split, TORN if row[1].strip() == "1" else 0))
    return found


def _is_kneemri(folder: Path) -> bool:
    if not (folder / METADATA).is_file():
        return False
    with (folder / METADATA).open(newline="") as stream:
        return {"examId", "aclDiagnosis", "volumeFilename"} <= {name.strip() for name in next(csv.reader(stream), [])}


def _kneemri(folder: Path) -> list[Exam]:
    """Files lie in vol01 ... vol10 or elsewhere below; no split is published, so exams are drawn for one."""
    files = {path.name: path for path in folder.rglob("*.pck")}
    with (folder / METADATA).open(newline="") as stream:
        rows = list(csv.DictReader(stream, skipinitialspace=True))
    found = []
    for row in rows:
        name, exam, grade = (row[key].strip() for key in ("volumeFilename", "examId", "aclDiagnosis"))
        if grade not in ("0", "1", "2"):
            raise DataError("bad_table", f"{folder / METADATA}: aclDiagnosis must be 0, 1 or 2, got {grade!r}.")
        if name not in files:
            raise DataError("missing_volume", f"{folder / METADATA} names {name}, which is nowhere below {folder}.")
        found.append(Exam(files[name], f"kneemri:{exam}", "kneemri", drawn_split(exam), int(grade)))
    return found


def drawn_split(exam: str) -> str:
    """ "train" for 70 %, "val" and "test" for 15 % each; the same on every machine."""
    place = int.from_bytes(hashlib.sha256(exam.encode()).digest()[:4]) / 2**32
    return "train" if place < 0.7 else "val" if place < 0.85 else "test"
