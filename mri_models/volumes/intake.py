"""Whatever holds a volume -> Volume, or FileRejected: a file, many files, a folder, a ZIP archive, bytes.

Content decides, never a name. Files are read in memory one after the other; nothing is written, stored or logged.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mri_models.compressed import inflated
from mri_models.dicom import is_dicom
from mri_models.errors import FileRejected
from mri_models.intake import check_single_nature, read_file, refusing
from mri_models.pace import step
from mri_models.types import Volume
from mri_models.volumes.archive import is_zip, members, too_many_files
from mri_models.volumes.files import within
from mri_models.volumes.frames import Frame, is_placed, read_frames
from mri_models.volumes.grid import single_slice
from mri_models.volumes.limits import MAX_BYTES, MAX_FILES, check_inflated, check_shape, check_size
from mri_models.volumes.nifti import is_nifti, read_nifti
from mri_models.volumes.series import stack

Source = str | os.PathLike[str] | bytes
READABLE = "a NIfTI file (.nii, .nii.gz), or the files of one DICOM series, also in a folder or a ZIP archive"
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"BM", b"II*\0", b"MM\0*")


def read_volume(source: Source | Sequence[Source]) -> Volume:
    """Read one volume from a path, a folder, a file's bytes, or a list of paths or bytes."""
    sources = [source] if isinstance(source, str | os.PathLike | bytes) else list(source)
    if not sources:
        raise FileRejected("no_file", f"No file was sent. Send {READABLE}.")
    nifti: bytes | None = None
    frames: list[Frame] = []
    pictures = images = cut = total = 0
    for data in _contents(sources):
        if is_dicom(data):
            images += 1
            check_single_nature(data)
            with refusing("DICOM file"):
                plain = inflated(data)
                total += len(plain)
                check_inflated(total)
                found = read_frames(plain)
                frames += found
                cut += not found and is_placed(plain)
            _check_total(frames)
        elif is_nifti(data):
            if nifti is not None:
                raise FileRejected("several_volumes", "Several NIfTI volumes were sent. Send one at a time.")
            nifti = data
        else:
            pictures += data.startswith(_PICTURES)
    if nifti is not None and frames:
        raise FileRejected("mixed_files", "NIfTI and DICOM files were sent together. Send one volume at a time.")
    if nifti is not None:
        with refusing("NIfTI file"):
            return read_nifti(nifti)
    if not frames:
        raise _nothing(pictures, images)
    if cut:
        raise FileRejected(
            "truncated", f"Of {cut} of {images} images the file ends before the pixels. Export or download them again."
        )
    if len(frames) == 1:
        raise single_slice()
    with refusing("DICOM series"):
        return stack(frames)


def _contents(sources: Sequence[Source]) -> Iterator[bytes]:
    """Every file's bytes, archives unpacked, within the limits of count and size."""
    total = unpacked = count = 0
    paths = [path for source in sources for path in _files(source)]
    if len(paths) > MAX_FILES:
        raise too_many_files(len(paths))
    for path in paths:
        data = path if isinstance(path, bytes) else read_file(path, MAX_BYTES, READABLE)
        total += len(data)
        check_size(total)
        if is_zip(data):
            for content in members(data):
                step()
                unpacked, count = unpacked + len(content), count + 1
                check_inflated(unpacked)
                if count > MAX_FILES:
                    raise too_many_files(count)
                yield content
        elif data or len(paths) == 1:
            yield _checked(data)


def _files(source: Source) -> Iterable[bytes | Path]:
    if isinstance(source, bytes):
        return [source]
    try:
        return within(Path(source)) if os.path.isdir(source) else [Path(source)]
    except OSError as error:
        raise FileRejected("unreadable", f"The folder can't be read ({error.strerror}). Check it.") from None


def _checked(data: bytes) -> bytes:
    if not data:
        raise FileRejected("empty", f"The file is empty (0 bytes). Send {READABLE}.")
    return data


def _check_total(frames: Sequence[Frame]) -> None:
    if frames:
        rows, columns = frames[-1].pixels.shape
        check_shape((columns, rows, len(frames)))


def _nothing(pictures: int, images: int) -> FileRejected:
    if images:
        return FileRejected(
            "no_pixels", "The DICOM files hold no images: reports, directories or cut short. Send the series itself."
        )
    if pictures:
        return FileRejected(
            "pictures", f"These are pictures, not a volume. The Analyse tab reads pictures; here goes {READABLE}."
        )
    return FileRejected("unsupported", f"No volume was found in this. Send {READABLE}.")
