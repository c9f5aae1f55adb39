"""DICOM's compressions within bounds: what a header promises is compared before a decoder allocates or runs."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO

import numpy as np
from PIL import Image
from pydicom.dataset import FileDataset
from pydicom.encaps import generate_frames
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from mri_models.errors import FileRejected
from mri_models.jpeg_lossless import decode, parse
from mri_models.pace import step
from mri_models.pixels import check_pixel_count
from mri_models.volumes.limits import check_ratio

MAX_INFLATED = 64 * 2**20  # bytes of one deflated file; 25 megapixels of 16 bits are 50
MAX_LOSSLESS = 8_000_000  # pixels of one JPEG Lossless frame, about two seconds of decoding
MAX_SCANS = 40  # of one JPEG; encoders write 10, and each is a pass over the whole image for a few bytes of file
_JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"
_META = 132  # the file meta information follows the preamble and "DICM"


def inflated(data: bytes, limit: int = MAX_INFLATED) -> bytes:
    """A deflated DICOM file as the same file uncompressed, at most `limit` bytes of it; any other as it is.

    pydicom would inflate the whole data set, of any size. Raises FileRejected, ValueError or struct.error.
    """
    if (name := DeflatedExplicitVRLittleEndian.encode()) not in data:
        return data
    start = _META + 12 + struct.unpack_from("<I", data, _META + 8)[0]
    if data[_META : _META + 8] != b"\2\0\0\0UL\4\0" or start > len(data):
        raise ValueError("a deflated file without the length of its header")
    if b"UI\x16\0" + name not in data[_META:start]:
        raise ValueError("a deflated file whose header does not say so")
    inflator = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    body = inflator.decompress(data[start:], limit + 1)
    check_ratio(len(body), len(data))
    if len(body) > limit:
        raise FileRejected(
            "compression_bomb", f"Inflated, the DICOM file is larger than {limit >> 20} MB. Send it uncompressed."
        )
    if not inflator.eof or name in body:  # a data set may not ask to be inflated once more
        raise ValueError("the deflated data set ends early or holds another")
    syntax = ExplicitVRLittleEndian.encode().ljust(20, b"\0")
    meta = struct.pack("<HH2sHI", 2, 0, b"UL", 4, 8 + len(syntax))
    return bytes(128) + b"DICM" + meta + struct.pack("<HH2sH", 2, 0x10, b"UI", len(syntax)) + syntax + body


def check_jpeg_scans(data: bytes) -> None:
    """Refuse a progressive JPEG of very many scans, whose decoding takes minutes. Metadata may hold a few markers."""
    if data.count(b"\xff\xda") > MAX_SCANS:
        raise FileRejected(
            "compression_bomb", f"The JPEG holds more than {MAX_SCANS} scans, as no camera writes. Save it again."
        )


def check_frames(dataset: FileDataset) -> None:
    """Compare each JPEG or JPEG 2000 frame's own size with the header's; decoders allocate by the frame's."""
    for data in _frames(dataset):
        check_jpeg_scans(data)
        _check_boxes(data)
        with Image.open(BytesIO(data), formats=("JPEG", "JPEG2000")) as header:
            _check_size(header.size, dataset)


def unpack_lossless(dataset: FileDataset) -> None:
    """Replace pixels in JPEG Lossless by plain ones."""
    bits = int(dataset.BitsAllocated)
    check_pixel_count(int(dataset.Columns), int(dataset.Rows), MAX_LOSSLESS)
    if bits not in (8, 16) or int(dataset.get("SamplesPerPixel") or 1) != 1:
        raise FileRejected(
            "unsupported_compression",
            "JPEG Lossless is read in grey with 8 or 16 bits a pixel only. Export the file uncompressed.",
        )
    kind = np.uint8 if bits == 8 else np.uint16
    plain = np.empty((_count(dataset), int(dataset.Rows), int(dataset.Columns)), kind)
    for target, data in zip(plain, _frames(dataset), strict=True):
        frame = parse(data)
        _check_size((frame.columns, frame.rows), dataset)
        if frame.precision > bits:
            raise ValueError(f"{frame.precision} bits in {bits}")
        target[:] = decode(frame)
        if dataset.PixelRepresentation and frame.precision < bits:  # the sign stands in the highest bit that is coded
            signed = target.view(f"i{bits // 8}")
            signed[:] = signed << (bits - frame.precision) >> (bits - frame.precision)
    _replace(dataset, plain)


def unpack_rle(dataset: FileDataset) -> None:
    """Replace RLE pixels by plain ones: never more than the header states, and in C rather than in Python."""
    frames, samples, octets = _count(dataset), int(dataset.SamplesPerPixel), int(dataset.BitsAllocated) // 8
    pixels = int(dataset.Rows) * int(dataset.Columns)
    if octets not in (1, 2, 4) or samples not in (1, 3) or samples * octets > 6:
        raise ValueError(f"{samples} samples of {octets} bytes")
    plain = np.empty((frames, samples, pixels, octets), np.uint8)
    for target, data in zip(plain, _frames(dataset), strict=True):
        offsets = struct.unpack_from("<16I", data)
        if offsets[0] != samples * octets:
            raise ValueError(f"{offsets[0]} segments for {samples} samples of {octets} bytes")
        starts = [*offsets[1 : 1 + offsets[0]], len(data)]
        for i in range(offsets[0]):  # the most significant byte of each sample comes first
            if not 64 <= starts[i] <= starts[i + 1] <= len(data):
                raise ValueError("segments outside their frame")
            segment = Image.frombytes("L", (pixels, 1), data[starts[i] : starts[i + 1]], "packbits", "L")
            target[i // octets, :, octets - 1 - i % octets] = np.asarray(segment)[0]
    if samples > 1:
        dataset.PlanarConfiguration = 1
    _replace(dataset, plain)


def _replace(dataset: FileDataset, plain: np.ndarray) -> None:
    """Unsigned values in little-endian order as the data set's pixels."""
    dataset.PixelData = plain.tobytes() + bytes(plain.nbytes % 2)
    dataset["PixelData"].VR = "OB" if int(dataset.BitsAllocated) == 8 else "OW"
    dataset["PixelData"].is_undefined_length = False
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _check_boxes(data: bytes) -> None:
    """Refuse a JPEG 2000 file with a box of no length, at which pydicom 3.0 stays for ever."""
    at = len(_JP2)
    while data.startswith(_JP2) and at < len(data) and data[at + 4 : at + 8] != b"jp2c":
        length = int.from_bytes(data[at : at + 4], "big")
        if length < 8:
            raise ValueError(f"a box of {length} bytes")
        at += length


def _check_size(size: tuple[int, int], dataset: FileDataset) -> None:
    wanted = (int(dataset.Columns), int(dataset.Rows))
    if size != wanted:
        raise ValueError(f"a frame of {size} in an image of {wanted}")


def _frames(dataset: FileDataset) -> Iterator[bytes]:
    for data in generate_frames(dataset.PixelData, number_of_frames=_count(dataset)):
        step()  # hundreds of frames may lie ahead
        yield data


def _count(dataset: FileDataset) -> int:
    return int(dataset.get("NumberOfFrames") or 1)
