"""Names and folders: which files are volumes, which folder is one series, and what a result is called."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePath

from mri_models.dicom import is_dicom
from mri_models.identity import Identity, identity
from mri_models.volumes.archive import is_zip
from mri_models.volumes.frames import has_frames, series_of
from mri_models.volumes.limits import MAX_BYTES
from mri_models.volumes.nifti import is_nifti

DIRECTORY = "DICOMDIR"  # the table of contents of a disc, not an image
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


def inputs(paths: Sequence[Path], leave_out: Path | None = None) -> Iterator[tuple[Path, bool]]:
    """(path, whether it is a volume) in order; a folder is one DICOM series, or stands for its files and folders.

    Files beside a series, and folders below it, are inputs of their own, but for the folder `leave_out`. Links are
    followed but never in circles, and a folder that can't be opened is named like a file, so that its answer says so.
    """
    above = frozenset([identity(leave_out)] if leave_out else [])
    for path in paths:
        if os.path.isdir(path):  # unlike Path's own, never an error
            yield from _folder(path, above)
        else:
            yield path, os.path.isfile(path) and is_volume(path)


def within(folder: Path) -> list[Path]:
    """The files of a volume's folder: its own where one of them is DICOM, else all below it. Raises OSError."""
    own = [path for path in _visible(folder) if os.path.isfile(path)]
    if any(path.name != DIRECTORY and is_dicom(_start(path, 512)) for path in own):
        return own
    below = (
        path for path in folder.rglob("*") if not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    return sorted(path for path in below if os.path.isfile(path))


def _folder(folder: Path, above: frozenset[Identity]) -> Iterator[tuple[Path, bool]]:
    try:
        above |= {identity(folder)}
        entries = _visible(folder)
    except OSError:
        yield folder, False
        return
    series = _series([entry for entry in entries if os.path.isfile(entry)])
    if series:
        yield folder, True
    for entry in entries:
        if os.path.isdir(entry):
            if identity(entry) not in above:
                yield from _folder(entry, above)
        elif os.path.isfile(entry) and entry not in series:
            yield entry, is_volume(entry)


def _visible(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))


def _series(files: Sequence[Path]) -> set[Path]:
    """The DICOM files of a folder where several belong to one series, else none.

    Where there are more series, or damaged files among them, reading them says so.
    """
    dicom, counts = set(), Counter()
    for path in files:
        if not is_dicom(_start(path, 512)):
            continue
        dicom.add(path)
        if path.name == DIRECTORY:
            continue
        with suppress(Exception):  # whatever pydicom raises on damaged bytes
            counts[series_of(_start(path, MAX_BYTES))] += 1
    counts.pop(None, None)
    return dicom if max(counts.values(), default=0) >= _SERIES else set()


def _start(path: Path, count: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError:
        return b""
