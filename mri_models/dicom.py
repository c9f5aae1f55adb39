"""A single-frame DICOM file -> Scan. Only the elements that shape the picture are ever parsed."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from io import BytesIO

import numpy as np
import pydicom
from pydicom.dataset import FileDataset
from pydicom.multival import MultiValue
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi, get_decoder, pixel_array
from pydicom.uid import (
    JPEG2000,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    RLELossless,
)

from mri_models.compressed import check_frames, inflated, unpack_lossless, unpack_rle
from mri_models.errors import FileRejected
from mri_models.ink import from_colour
from mri_models.pixels import between, check_pixel_count, stretch
from mri_models.types import Scan

# Names, dates and identifiers are not in this list, so they never leave the bytes.
KEPT = [
    *(
        "Modality",
        "BurnedInAnnotation",
        "PixelSpacing",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "SamplesPerPixel",
        "PlanarConfiguration",
    ),
    *("PhotometricInterpretation", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PixelData"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *(f"{colour}PaletteColorLookupTableDescriptor" for colour in ("Red", "Green", "Blue")),
    *(f"{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
]
# Named, so that no other decoder that happens to be installed changes a pixel, or ends the process on hostile bytes.
_PILLOW = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEG2000Lossless, JPEG2000)
_UNPACKED = {RLELossless: unpack_rle, JPEGLossless: unpack_lossless, JPEGLosslessSV1: unpack_lossless}
# The first element of a data set without preamble: group 2 or 8, then a VR or a short implicit length.
_BARE_LITTLE = re.compile(rb"[\x02\x08]\x00..([A-Z]{2}|..\x00\x00)", re.DOTALL)
_BARE_BIG = re.compile(rb"\x00\x08\x00.[A-Z]{2}", re.DOTALL)


def is_dicom(data: bytes) -> bool:
    """With the preamble ("DICM" at byte 128) or, as some archives export, without it."""
    return data[128:132] == b"DICM" or bool(_BARE_LITTLE.match(data) or _BARE_BIG.match(data))


def read_dicom(data: bytes) -> Scan:
    """Refusals that can be explained are FileRejected; anything else that pydicom raises is the caller's to map."""
    dataset = open_dicom(data)
    _check_content(dataset)
    values = decoded(dataset)
    fields = {
        "spacing_mm": spacing_of(dataset),
        "modality": modality_of(dataset),
        "format": "dicom",
        "annotated": dataset.get("BurnedInAnnotation") == "YES",
    }
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        return from_colour(apply_color_lut(values, dataset), **fields)
    if values.ndim == 3:
        return from_colour(_full_range(values, int(dataset.BitsStored)), **fields)
    pixels = _shown(rescaled(values, dataset), dataset)
    return Scan(1 - pixels if dataset.PhotometricInterpretation == "MONOCHROME1" else pixels, **fields)


def open_dicom(data: bytes, further: Sequence[str] = ()) -> FileDataset:
    """Only the elements of KEPT and `further`; pixels stay encoded."""
    return pydicom.dcmread(BytesIO(inflated(data)), force=True, specific_tags=[*KEPT, *further])


def _check_content(dataset: FileDataset) -> None:
    if "PixelData" not in dataset:
        raise FileRejected(
            "no_pixels",
            "The DICOM file holds no pixel data: it is a report, a directory or another non-image object, or it was "
            "cut short. Send the image file of the series.",
        )
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1:
        raise FileRejected(
            "multi_frame",
            f"The DICOM file holds {frames} frames. Send it in the Volume tab, or a single frame here.",
        )
    check_pixel_count(int(dataset.Columns), int(dataset.Rows))


def decoded(dataset: FileDataset) -> np.ndarray:
    """Stored values of all frames. Refuses compressions that aren't read, and frames of another size than stated."""
    if "TransferSyntaxUID" not in dataset.file_meta:  # without a header pydicom guessed the encoding
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in _UNPACKED:
        _UNPACKED[syntax](dataset)
    elif syntax.is_encapsulated:
        readable = syntax in _PILLOW and "pillow" in get_decoder(syntax).available_plugins
        if not readable or (syntax == JPEGExtended12Bit and dataset.BitsStored != 8):
            raise _unsupported_compression(syntax.name)
        check_frames(dataset)
        return pixel_array(dataset, decoding_plugin="pillow")
    return pixel_array(dataset)


def _unsupported_compression(name: str) -> FileRejected:
    return FileRejected(
        "unsupported_compression",
        f"The DICOM file is compressed as {name!r}, which can't be decoded here. "
        "Export it uncompressed (Explicit VR Little Endian), as PNG or as JPEG.",
    )


def rescaled(values: np.ndarray, dataset: FileDataset) -> np.ndarray:
    if dataset.get("ModalityLUTSequence"):
        return apply_modality_lut(values, dataset)
    slope = np.float32(dataset.get("RescaleSlope") or 1)
    return values.astype(np.float32) * slope + np.float32(dataset.get("RescaleIntercept") or 0)


def _full_range(colour: np.ndarray, stored: int) -> np.ndarray:
    """Unsigned, the stored bits moved to the top of their type: colour has no window that would stretch it."""
    unused = 8 * colour.itemsize - stored
    unsigned = colour.view(colour.dtype.str.replace("i", "u"))
    return unsigned << unused if unused > 0 else unsigned


def _shown(values: np.ndarray, dataset: FileDataset) -> np.ndarray:
    """The file's lookup table or first window; percentiles where there is none or it would show nothing."""
    if dataset.get("VOILUTSequence"):
        depth = dataset.VOILUTSequence[0].LUTDescriptor[2]
        table = apply_voi(values.astype(np.int32), dataset).astype(np.float32)
        return np.minimum(table / (2**depth - 1), 1)
    centre, width = _first(dataset.get("WindowCenter")), _first(dataset.get("WindowWidth"))
    if centre is None or width is None or not width > 0:
        return stretch(values)
    windowed = _windowed(values, centre, width, str(dataset.get("VOILUTFunction") or "LINEAR"))
    return windowed if np.ptp(windowed) > 0 else stretch(values)


def _windowed(values: np.ndarray, centre: float, width: float, function: str) -> np.ndarray:
    """PS3.3 C.11.2.1.2 and C.11.2.1.3 onto [0, 1]; a LINEAR window of at most 1 (float data) is taken as exact."""
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (values - centre) / width, -80, 80), dtype=np.float32))
    if function == "LINEAR" and width > 1:
        centre, width = centre - 0.5, width - 1
    return between(values, centre - width / 2, centre + width / 2)


def _first(value: object) -> float | None:
    value = value[0] if isinstance(value, MultiValue) else value
    return None if value in (None, "") else float(value)


def spacing_of(dataset: FileDataset) -> tuple[float, float] | None:
    value = dataset.get("PixelSpacing")
    if not isinstance(value, MultiValue) or len(value) != 2:
        return None
    row, column = float(value[0]), float(value[1])
    usable = math.isfinite(row) and math.isfinite(column) and row > 0 and column > 0
    return (row, column) if usable else None


def modality_of(dataset: FileDataset) -> str | None:
    """Only what looks like a modality code: the element can't carry free text any further."""
    value = str(dataset.get("Modality") or "")
    return value if re.fullmatch("[A-Z]{2,16}", value) else None
