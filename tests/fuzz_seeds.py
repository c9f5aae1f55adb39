"""One small valid file of every kind that is read, and how each is taken apart so that damage reaches deep."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

import numpy as np
from jpeg_lossless import jpeg_lossless
from PIL import Image
from pydicom import dcmread
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    RLELossless,
)
from test_intake import RAMP, dicom, encoded
from volume_cases import enhanced, gz, head, named, nifti, series, zipped

from mri_models.compressed import inflated

Damage = Callable[[bytes, Random], bytes]
DEEP = RAMP.astype(np.uint16) * 16
COLOUR = np.dstack([RAMP, RAMP // 2, RAMP // 3])
HEAD = head(4, 24, 20)


@dataclass(frozen=True, slots=True)
class Seed:
    """name: its format in the summary. volume: read as one, else as an image. inside: damage below the wrapping."""

    name: str
    data: bytes
    volume: bool = False
    inside: Callable[[bytes, Random, Damage], bytes] | None = None


def seeds() -> list[Seed]:
    """All of them, the same bytes in every process."""
    exif = Image.Exif()
    exif[0x0112] = 6
    palette = Image.fromarray(COLOUR).quantize(16)
    pictures = {
        "png": [
            encoded(Image.fromarray(RAMP)),
            encoded(Image.fromarray(DEEP)),
            encoded(palette, transparency=3),
            encoded(Image.fromarray(RAMP > 99), exif=exif),
        ],
        "jpeg": [
            encoded(Image.fromarray(COLOUR), "JPEG", exif=exif),
            encoded(Image.fromarray(RAMP), "JPEG", progressive=True),
            encoded(Image.fromarray(COLOUR).convert("CMYK"), "JPEG"),
        ],
        "tiff": [encoded(Image.fromarray(DEEP), "TIFF", compression=name) for name in (None, "tiff_lzw", "packbits")],
        "gif": [encoded(palette, "GIF")],
        "bmp": [encoded(palette, "BMP")],
        "webp": [encoded(Image.fromarray(COLOUR), "WEBP"), encoded(Image.fromarray(RAMP), "WEBP", lossless=True)],
    }
    found = [
        Seed(name, data, inside=in_png if name == "png" else None) for name, files in pictures.items() for data in files
    ]
    found += [Seed(name, data) for name, data in _dicom()]
    found.append(Seed("dicom deflated", dicom(RAMP, DeflatedExplicitVRLittleEndian), inside=in_deflated))
    voxels = HEAD.transpose(2, 1, 0)
    return [
        *found,
        Seed("dicom multi-frame", enhanced(HEAD), True),
        Seed("nifti", nifti(voxels, packed=False), True),
        Seed("nifti", nifti(voxels.astype(np.float32), packed=False), True),
        Seed("nifti.gz", nifti(voxels), True, in_gzip),
        Seed("zip of dicom", zipped(named(series(HEAD))), True, in_zip),
    ]


def _dicom() -> Iterator[tuple[str, bytes]]:
    signed = RAMP.astype(np.int16) - 99
    yield "dicom", dicom(signed, WindowCenter=9, WindowWidth=99, RescaleSlope=2, PixelSpacing=[1, 1])
    yield "dicom", dicom(RAMP, preamble=False, PhotometricInterpretation="MONOCHROME1")
    yield "dicom", dicom(COLOUR, ImplicitVRLittleEndian)
    for pixels in (DEEP, COLOUR):
        dataset, file = dcmread(io.BytesIO(dicom(pixels))), io.BytesIO()
        dataset.compress(RLELossless)
        dataset.save_as(file)
        yield "dicom rle", file.getvalue()
    frames = {
        JPEGBaseline8Bit: (RAMP, encoded(Image.fromarray(RAMP), "JPEG")),
        JPEG2000Lossless: (RAMP, encoded(Image.fromarray(RAMP), "JPEG2000")),
        JPEGLosslessSV1: (DEEP, jpeg_lossless(DEEP, restart=20)),
    }
    for syntax, (pixels, frame) in frames.items():
        name = {JPEGBaseline8Bit: "jpeg", JPEG2000Lossless: "jpeg 2000", JPEGLosslessSV1: "jpeg lossless"}[syntax]
        yield f"dicom {name}", dicom(pixels, syntax, PixelData=encapsulate([frame]))


def in_png(data: bytes, random: Random, damage: Damage) -> bytes:
    """One chunk damaged and its checksum made right again, pixels also below their compression."""
    chunks, at = [], 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        chunks.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + length]))
        at += 12 + length
    chosen = random.randrange(len(chunks))
    kind, body = chunks[chosen]
    if kind == b"IDAT" and random.random() < 0.7:
        chunks[chosen] = kind, zlib.compress(damage(zlib.decompress(body), random), 1)
    else:
        chunks[chosen] = kind, damage(body, random)
    whole = (struct.pack(">I", len(b)) + k + b + struct.pack(">I", zlib.crc32(k + b)) for k, b in chunks)
    return data[:8] + b"".join(whole)


def in_deflated(data: bytes, random: Random, damage: Damage) -> bytes:
    """The data set damaged before it is deflated."""
    start = 144 + struct.unpack_from("<I", data, 140)[0]
    body = inflated(data)
    body = body[144 + struct.unpack_from("<I", body, 140)[0] :]
    packer = zlib.compressobj(1, wbits=-15)
    return data[:start] + packer.compress(damage(body, random)) + packer.flush()


def in_gzip(data: bytes, random: Random, damage: Damage) -> bytes:
    return gz(damage(gzip.decompress(data), random))


def in_zip(data: bytes, random: Random, damage: Damage) -> bytes:
    """One member damaged before it is packed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = [(info, archive.read(info)) for info in archive.infolist()]
    chosen = random.randrange(len(files))
    return zipped((info, damage(body, random) if i == chosen else body) for i, (info, body) in enumerate(files))
