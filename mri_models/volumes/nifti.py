"""NIfTI bytes -> Volume, and a mask -> NIfTI bytes on the input's own grid. Header first, nothing on disk."""

from __future__ import annotations

import gzip
import zlib
from io import BytesIO

import nibabel
import numpy as np
from nibabel.orientations import aff2axcodes
from nibabel.spatialimages import HeaderDataError

from mri_models.errors import FileRejected
from mri_models.types import Volume, VolumeMask
from mri_models.volumes.grid import bad_orientation, check_spacing, place, single_slice
from mri_models.volumes.limits import check_ratio, check_shape

_HEADERS = {348: (nibabel.Nifti1Header, 344, b"n+1\0", b"ni1\0"), 540: (nibabel.Nifti2Header, 4, b"n+2\0", b"ni2\0")}
_LONGEST = 540
_GZIP = b"\x1f\x8b"
_CHUNK = 1 << 20
_MAX_OFFSET = 4 * 2**20  # header extensions (they may hold names and are skipped)
_TO_MM = {"meter": 1000.0, "micron": 0.001}


def is_nifti(data: bytes) -> bool:
    """NIfTI-1 or -2, also inside gzip, of which at most a header's length is inflated."""
    return _kind(_head(data)) is not None


def read_nifti(data: bytes) -> Volume:
    """Refusals that can be explained are FileRejected; anything else that nibabel raises is the caller's to map."""
    head = _head(data)
    size, paired = _kind(head)
    if paired:
        raise FileRejected(
            "header_only", "This is a .hdr without its .img. Convert the pair to one .nii or .nii.gz file."
        )
    header = _HEADERS[size][0].from_fileobj(BytesIO(head[:size]), check=False)
    shape = _shape(header)
    dtype = _dtype(header)
    affine, warnings = _affine(header)
    values = _values(data, header, shape, dtype)
    stated = header.get_dim_info()[2]
    about = {"format": "nifti", "warnings": warnings}
    return place(values, affine, slice_axis=stated, **about)


def mask_nifti(mask: VolumeMask, volume: Volume) -> bytes:
    """The labels as .nii.gz in the input's own space: its shape, its axes, its affine; no names, no dates."""
    image = nibabel.Nifti1Image(np.ascontiguousarray(volume.to_input(mask.values)), volume.grid.affine)
    image.header.set_xyzt_units("mm")
    image.header["intent_code"] = 1002  # label
    image.header["cal_max"] = len(mask.labels)
    image.header["descrip"] = ", ".join(f"{i} {label}" for i, label in enumerate(mask.labels, 1))[:79].encode()
    return gzip.compress(image.to_bytes(), 6, mtime=0)


def _head(data: bytes) -> bytes:
    if not data.startswith(_GZIP):
        return bytes(data[:_LONGEST])
    try:
        return zlib.decompressobj(wbits=31).decompress(data[:65536], _LONGEST)
    except zlib.error:
        return b""


def _kind(head: bytes) -> tuple[int, bool] | None:
    """(header size, whether the voxels are in another file); None when it is no NIfTI header."""
    for order in ("little", "big"):
        size = int.from_bytes(head[:4], order)
        if size in _HEADERS:
            _, at, single, paired = _HEADERS[size]
            magic = head[at : at + 4]
            if magic in (single, paired):
                return size, magic == paired
    return None


def _shape(header: nibabel.Nifti1Header) -> tuple[int, int, int]:
    shape = tuple(int(side) for side in header.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    if len(shape) > 3:
        raise FileRejected(
            "four_dimensional",
            f"The file holds a series over time, echoes or directions ({' x '.join(map(str, shape))}). "
            "Send one of its volumes as a file of its own.",
        )
    if len(shape) < 3:
        raise single_slice()
    check_shape(shape)
    return shape


def _dtype(header: nibabel.Nifti1Header) -> np.dtype:
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise FileRejected(
            "not_grey", f"The voxels are of type {dtype.str.strip('<>|')}, not grey levels. Convert them to numbers."
        )
    return dtype


def _affine(header: nibabel.Nifti1Header) -> tuple[np.ndarray, tuple[str, ...]]:
    """The best affine in mm; refuses none, two that contradict each other, and zero spacing."""
    zooms = np.asarray(header["pixdim"][1:4], np.float64)
    unit = _TO_MM.get(header.get_xyzt_units()[0], 1.0)
    check_spacing(np.abs(zooms) * unit)
    sform, qform = int(header["sform_code"]), int(header["qform_code"])
    if sform <= 0 and qform <= 0:
        raise FileRejected(
            "no_orientation",
            "The header says nothing about the orientation (sform and qform are both unset), so up and down are "
            "unknown. Convert the original DICOM files again, or set the orientation.",
        )
    try:
        affine = header.get_best_affine().astype(np.float64)
        contradicts = sform > 0 and qform > 0 and aff2axcodes(header.get_sform()) != aff2axcodes(header.get_qform())
    except (ValueError, np.linalg.LinAlgError, HeaderDataError):  # of a quaternion, or of NaN in a matrix
        raise bad_orientation("its rotation is none") from None
    affine[:3] *= unit
    if contradicts:
        raise bad_orientation("its two placements (sform and qform) contradict each other")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    if np.abs(spacing - np.abs(zooms) * unit).max() > 0.1 * spacing.max():
        return affine, ("The header states two voxel sizes; that of the orientation matrix is used.",)
    return affine, ()


def _values(data: bytes, header: nibabel.Nifti1Header, shape: tuple[int, int, int], dtype: np.dtype) -> np.ndarray:
    """(I, J, K) float32, scaled as the header says."""
    offset = int(header.get_data_offset())
    if not 0 <= offset <= _MAX_OFFSET:
        raise FileRejected("corrupt", "The header points beyond the file. Export or download it again.")
    offset = max(offset, header.single_vox_offset)  # some writers leave it 0: voxels never begin inside the header
    wanted = int(np.prod(shape)) * dtype.itemsize
    buffer = np.frombuffer(_body(data, offset, wanted), dtype)
    values = buffer.reshape(shape, order="F")
    slope, intercept = header.get_slope_inter()
    with np.errstate(over="ignore", invalid="ignore"):
        values = values.astype(np.float32)  # keeps the order, and is a copy
        if slope is not None and (slope, intercept) != (1, 0):
            values *= np.float32(slope)
            values += np.float32(intercept or 0)
    return values


def _body(data: bytes, offset: int, wanted: int) -> bytearray | memoryview:
    """`wanted` bytes from `offset`; of a gzip stream not a byte more is inflated, and its growth is watched."""
    if not data.startswith(_GZIP):
        if len(data) < offset + wanted:
            raise _truncated()
        return memoryview(data)[offset : offset + wanted]
    packed, body = BytesIO(data), bytearray()
    try:
        with gzip.GzipFile(fileobj=packed) as stream:
            stream.read(offset)
            while len(body) < wanted and (piece := stream.read(min(_CHUNK, wanted - len(body)))):
                body += piece
                check_ratio(len(body), packed.tell())
            stream.read(1)  # at the end of the stream this compares its checksum
    except EOFError:
        raise _truncated() from None
    if len(body) < wanted:
        raise _truncated()
    return body


def _truncated() -> FileRejected:
    return FileRejected("truncated", "The file ends before its last voxel. Export or download it again.")
