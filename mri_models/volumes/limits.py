"""How much a volume may be; every limit is checked by what headers say, before anything of that size is allocated."""

from __future__ import annotations

from mri_models.errors import FileRejected

MAX_BYTES = 64 * 2**20  # of one file or archive, and of many files together
MAX_INFLATED = 512 * 2**20  # of everything in an archive
MAX_FILES = 1024
MAX_VOXELS = 512**3
MAX_SIDE = 1024  # voxels along one axis
MAX_RATIO = 200  # bytes out of one byte in; real scans: 1.5 to 20, with the background masked 60
FREE = 16 * 2**20  # inflated bytes below which any ratio is harmless
SPACING_MM = (0.05, 30.0)


def check_shape(shape: tuple[int, ...]) -> None:
    """Refuse what is too large for memory and time, by the header's word alone."""
    if min(shape) < 1:
        raise FileRejected(
            "corrupt", f"The header states a size of {_times(shape)}. Export or download the file again."
        )
    count = 1
    for side in shape:
        count *= int(side)
    if count > MAX_VOXELS or max(shape) > MAX_SIDE:
        raise FileRejected(
            "too_many_voxels",
            f"The volume has {_times(shape)} voxels; at most 512 x 512 x 512 in all and {MAX_SIDE} along one axis are "
            "read. Crop it or resample it to wider voxels.",
        )


def check_size(count: int) -> None:
    """Refuse files and uploads above MAX_BYTES."""
    if count > MAX_BYTES:
        raise FileRejected(
            "too_large",
            f"The upload is larger than {MAX_BYTES >> 20} MB, the limit for a volume. Compress it (.nii.gz, .zip), "
            "crop it, or send one series only.",
        )


def check_inflated(count: int) -> None:
    """Refuse archives and deflated files that hold more than MAX_INFLATED together."""
    if count > MAX_INFLATED:
        raise FileRejected(
            "too_large", f"Unpacked, the upload is larger than {MAX_INFLATED >> 20} MB. Send one series only."
        )


def check_ratio(inflated: int, packed: int) -> None:
    """Refuse what grows as no scan does: a few kilobytes that would fill the memory."""
    if inflated > FREE and inflated > MAX_RATIO * packed:
        raise FileRejected(
            "compression_bomb",
            f"The compressed data grows more than {MAX_RATIO}-fold, as no scan does. Send it as it was exported.",
        )


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(int(side)) for side in shape)
