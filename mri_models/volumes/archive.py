"""ZIP archives in memory: members one at a time, never a file on disk, and every trick of archives refused."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import PurePosixPath

from mri_models.errors import FileRejected
from mri_models.volumes.limits import MAX_FILES, MAX_INFLATED, check_inflated, check_ratio

_ARCHIVES = (b"PK\x03\x04", b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\xfd7zXZ\0", b"BZh")


def is_zip(data: bytes) -> bool:
    """By content; an empty archive too."""
    return data.startswith((b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"))


def is_archive(data: bytes) -> bool:
    """Any kind of archive, which inside another one is refused."""
    return data.startswith(_ARCHIVES) or data[257:262] == b"ustar"


def members(data: bytes) -> Iterator[bytes]:
    """The content of each file, without hidden ones. Raises FileRejected."""
    if (listed := data.count(b"PK\x01\x02")) > 4 * MAX_FILES:  # zipfile holds all entries, folders too, in memory
        raise too_many_files(listed)
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            wanted = _listed(archive)
            total = 0
            for info in wanted:
                content = _content(archive, info, MAX_INFLATED - total)
                total += len(content)
                yield content
    except FileRejected:
        raise
    except Exception:  # of many types: those of every decompressor, and of names and fields that zipfile trips over
        raise FileRejected(
            "broken_archive", "The ZIP archive is damaged or cut short. Pack or download it again."
        ) from None


def _listed(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Files of the table of contents, once all of it is known to be harmless."""
    infos = [info for info in archive.infolist() if info.filename and not info.is_dir()]
    if len(infos) > MAX_FILES:
        raise too_many_files(len(infos))
    for info in infos:
        path = PurePosixPath(info.filename.replace("\\", "/"))
        if (
            path.is_absolute()
            or ".." in path.parts
            or ":" in str(path).split("/")[0]
            or stat.S_ISLNK(info.external_attr >> 16)
        ):
            raise FileRejected(
                "unsafe_archive", "The ZIP archive points outside itself (.., / or links). Pack the files again."
            )
        if info.flag_bits & 1:
            raise FileRejected("encrypted_archive", "The ZIP archive has a password. Pack it again without one.")
        check_ratio(info.file_size, info.compress_size)
    check_inflated(sum(info.file_size for info in infos))
    return [info for info in infos if not _hidden(info.filename)]


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo, left: int) -> bytes:
    """The table of contents may lie about the size, so what comes out is counted too."""
    with archive.open(info) as file:
        content = file.read(min(info.file_size, left) + 1)
    check_inflated(MAX_INFLATED - left + len(content))
    if is_archive(content):
        raise FileRejected(
            "nested_archive", "The ZIP archive holds another archive. Unpack the inner one and send that."
        )
    return content


def too_many_files(count: int) -> FileRejected:
    """More files than a series has."""
    return FileRejected(
        "too_many_files", f"{count} files were sent, at most {MAX_FILES} are read. Send one series only."
    )


def _hidden(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or any(part.startswith(".") for part in parts)
