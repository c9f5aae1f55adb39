"""Anything a caller hands in -> Scan, or FileRejected. Content decides, never a name; nothing is stored or logged."""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mri_models.compressed import check_jpeg_scans
from mri_models.dicom import is_dicom, read_dicom
from mri_models.errors import FileRejected, MriError
from mri_models.ink import from_colour
from mri_models.pixels import MAX_PIXELS, check_pixel_count, stretch, to_unit
from mri_models.types import Scan
from mri_models.volumes.nifti import is_nifti

MAX_BYTES = 5 * 2**20
READABLE = "PNG, JPEG, TIFF, BMP, GIF, WebP or single-frame DICOM"

_PICTURES = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}
_LOOKALIKES = {
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive or an office document",
    b"\x1f\x8b": "a gzip archive",
    b"7z\xbc\xaf": "a 7-Zip archive",
    b"Rar!": "a RAR archive",
    b"\x89HDF": "an HDF5 file",
    b"\x93NUMPY": "a NumPy file",
    b"\x7fELF": "a program",
    b"MZ": "a program",
    b"\0\0\0\x0cjP": "a JPEG 2000 picture",
}
_ACTIVE = (b"mz", b"\x7felf", b"%pdf", b"pk\3\4", b"#!", b"<")  # what a DICOM preamble has been abused for
_TAIL = 1 << 17  # bytes in which the directory of an appended archive is looked for
_CONTROL = bytes(set(range(32)) - set(b"\t\n\f\r"))
_PHOTOMETRIC = 262  # the TIFF tag that says whether 0 is white or black
_LARGEST = 1e37  # differences of array values stay finite in float32


def read_scan(source: str | os.PathLike[str] | bytes | np.ndarray | Image.Image) -> Scan:
    """Read one 2D image from a path, a file's bytes, an array or a Pillow image.

    Arrays are (H, W), (H, W, 3) or (H, W, 4). uint8, and floats within [0, 1], keep their grey levels; wider integers
    and other floats, like 16-bit pictures, are stretched between their 0.5th and 99.5th percentile.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if isinstance(source, Image.Image):
        with refusing("image"):
            return _from_picture(source)
    data = bytes(source) if isinstance(source, bytes | bytearray | memoryview) else read_file(Path(source))
    _check_bytes(data)
    check_single_nature(data)
    if is_dicom(data):
        with refusing("DICOM file"):
            return read_dicom(data)
    kind = _picture_kind(data)
    if kind == "JPEG":
        check_jpeg_scans(data)
    with refusing(f"{kind} picture"), Image.open(BytesIO(data), formats=(kind,)) as picture:
        return _from_picture(picture)


def fingerprint(source: object, most: int = MAX_BYTES) -> str | None:
    """SHA-256 of a file's bytes; None for what is no file, can't be read, or is too large to be looked at."""
    try:
        data = source if isinstance(source, bytes) else read_file(Path(source), most)
    except (FileRejected, TypeError):
        return None
    return hashlib.sha256(data).hexdigest() if len(data) <= most else None


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """The one place where what decoders raise on hostile bytes, of any type, becomes a refusal."""
    try:
        yield
    except MriError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise FileRejected(
            "too_many_pixels",
            f"The {what} has far more than the {MAX_PIXELS // 1_000_000} megapixels that are read. Scale it down.",
        ) from None
    except Exception:  # its text may quote the file: what a decoder says goes no further
        raise FileRejected(
            "corrupt",
            f"The {what} is damaged, cut short, or of a kind that can't be decoded. Export or download it again.",
        ) from None


def read_file(path: Path, most: int = MAX_BYTES, what: str = "an image file") -> bytes:
    """At most one byte more than `most`, whatever the file's size; a refusal asks for `what`."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise FileRejected("not_a_file", f"This is a folder or a device. Send {what}.")
        with path.open("rb") as file:
            return file.read(most + 1)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        raise FileRejected("not_found", "There is no file of this name. Check the path.") from None
    except OSError as error:
        raise FileRejected("unreadable", f"The file can't be read ({error.strerror}). Check it.") from None


def check_single_nature(data: bytes) -> None:
    """Refuse a file that other software would take for something else: a program, page or archive as well."""
    hidden = data[:128].lstrip().lower().startswith(_ACTIVE) if data[128:132] == b"DICM" else False
    if hidden or (data.startswith(tuple(_PICTURES)) and zipfile.is_zipfile(BytesIO(data[-_TAIL:]))):
        raise FileRejected(
            "polyglot",
            "The file is two things in one, an image and a program, page or archive. Export the image again.",
        )


def _check_bytes(data: bytes) -> None:
    if not data:
        raise FileRejected("empty", f"The file is empty (0 bytes). Send a {READABLE} image.")
    if is_nifti(data):
        raise FileRejected(
            "volume",
            "The file is a NIfTI volume, and single images are read here. Send it in the Volume tab, or a slice of it "
            "as PNG or DICOM.",
        )
    if len(data) > MAX_BYTES:
        raise FileRejected(
            "too_large", f"The file is larger than {MAX_BYTES >> 20} MB, the limit for an image. Send a smaller one."
        )


def _picture_kind(data: bytes) -> str:
    """Pillow's name of the format that the content starts like."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return "WEBP"
    for magic, kind in _PICTURES.items():
        if data.startswith(magic):
            return kind
    raise FileRejected("unsupported", f"The content looks like {_lookalike(data)}. Send a {READABLE} image.")


def _lookalike(data: bytes) -> str:
    for magic, name in _LOOKALIKES.items():
        if data.startswith(magic):
            return name
    if data[4:8] == b"ftyp":
        return "a HEIF picture or a video"
    head = data[:4096]
    if len(head.translate(None, _CONTROL)) < len(head):
        return "no image format that is known here"
    return "a web page, SVG or XML" if head.lstrip().startswith(b"<") else "plain text"


def _from_picture(image: Image.Image) -> Scan:
    check_pixel_count(*image.size)
    # MPO is a phone's JPEG whose further frames are previews or depth: the first is the photograph.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise FileRejected(
            "multi_frame",
            f"The {image.format} file holds several frames or pages; one image is read. Export a single frame.",
        )
    name = {"MPO": "jpeg", None: "image"}.get(image.format) or image.format.lower()
    white_is_zero = image.format == "TIFF" and image.tag_v2.get(_PHOTOMETRIC) == 0
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):  # 16 or 32 bits a pixel, which Pillow inverts for none
        pixels = stretch(np.asarray(image, np.float32))
        return Scan(1 - pixels if white_is_zero else pixels, format=name)
    if image.has_transparency_data:
        image = image.convert("RGBA")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    values = np.asarray(image)
    if values.ndim == 2:
        return Scan(to_unit(values), format=name)
    return from_colour(values, format=name)


def _from_array(values: np.ndarray) -> Scan:
    if values.ndim not in (2, 3) or (values.ndim == 3 and values.shape[2] not in (3, 4)) or values.size == 0:
        raise _bad_array(f"of shape {values.shape}")
    if values.dtype.kind not in "uif":
        raise _bad_array(f"of type {values.dtype}")
    check_pixel_count(values.shape[1], values.shape[0])
    if values.dtype != np.uint8:
        values = _unit_range(values)
    if values.ndim == 2:
        return Scan(to_unit(values) if values.dtype == np.uint8 else np.ascontiguousarray(values))
    return from_colour(values)


def _unit_range(values: np.ndarray) -> np.ndarray:
    """Floats within [0, 1] as they are (copied), everything else stretched, all channels alike."""
    with np.errstate(over="ignore"):
        converted = values.astype(np.float32)
    if not (np.abs(converted) < _LARGEST).all():
        raise _bad_array(f"with NaN, infinite values or values beyond {_LARGEST:g}")
    if values.dtype.kind == "f" and converted.min() >= 0 and converted.max() <= 1:
        return converted
    return stretch(converted)


def _bad_array(got: str) -> FileRejected:
    return FileRejected(
        "bad_array",
        f"An array {got} is not an image. Pass (H, W), (H, W, 3) or (H, W, 4), integer or finite float.",
    )
