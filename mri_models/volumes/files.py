"""Names and folders: which files are volumes, which folder is one series, and what a result is called."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath

from mri_models.dicom import is_dicom
from mri_models.volumes.archive import is_zip
from mri_models.volumes.frames import has_frames, series_of
from mri_models.volumes.limits import MAX_BYTES
from mri_models.volumes.nifti import is_nifti

_HEAD = 65536
_SERIES = 3  # files of one series that make a folder a volume: two may be the views of an examination


def stem(path: PurePath) -> str:
    """The name without its ending; ".nii.gz" is one ending."""
    name = path.name
    return name[: -len(".nii.gz")] if name.lower().endswith(".nii.gz") else path.stem


def is_volume(path: Path) -> bool:
    """Whether a file is a volume by its content: NIfTI, a ZIP archive, or a DICOM object of several frames."""
    head = _start(path, _HEAD)
    if is_nifti(head) or is_zip(head):
        return True
    if not is_dicom(head):
        return False
    try:
        return has_frames(_start(path, MAX_BYTES))
    except Exception:  # whatever pydicom raises on damaged bytes: the reader of single images will say so
        return False


def inputs(paths: Sequence[Path]) -> Iterator[tuple[Path, bool]]:
    """(path, whether it is a volume) in order; a folder is one DICOM series, or stands for its files and folders."""
    for path in paths:
        if not path.is_dir():
            yield path, path.is_file() and is_volume(path)
        else:
            yield from _folder(path)


def _folder(folder: Path) -> Iterator[tuple[Path, bool]]:
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    files = [entry for entry in entries if entry.is_file()]
    if _is_series(files):
        yield folder, True
        files = []
    for entry in entries:
        if entry.is_dir():
            yield from _folder(entry)
        elif entry in files:
            yield entry, is_volume(entry)


def _is_series(files: Sequence[Path]) -> bool:
    """DICOM files of which several belong to one series; where there are more series, reading them says so."""
    series: Counter[str] = Counter()
    for path in files:
        if path.name == "DICOMDIR":
            continue
        if not is_dicom(_start(path, 512)):
            return False
        try:
            found = series_of(_start(path, MAX_BYTES))
        except Exception:  # damaged: as above
            return False
        if found is not None:
            series[found] += 1
    return max(series.values(), default=0) >= _SERIES


def _start(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""
