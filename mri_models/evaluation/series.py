"""A series of the size that scanners send, through the running app: its seconds and the app's memory."""

from __future__ import annotations

import io
import tempfile
import threading
import zipfile
from pathlib import Path
from time import perf_counter
from typing import Any

import nibabel
import numpy as np
import psutil
from gradio_client import Client, handle_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from scipy.ndimage import zoom

from mri_models.evaluation.visitors import server

SHAPE = (30, 512, 512)  # slices, rows, columns
SPACING_MM = (5.0, 0.45, 0.45)
EXAMPLE = Path("examples/volumes/21_brain_t1.nii.gz")
AXIAL = [1.0, 0, 0, 0, 1, 0]  # columns to the patient's left, rows to the back


def time_series(example: Path = EXAMPLE) -> dict[str, Any]:
    """A brain as a zipped DICOM series of SHAPE, sent to app.py in a process of its own."""
    with tempfile.TemporaryDirectory() as folder, server() as (url, process, _):
        archive = Path(folder) / "series.zip"
        archive.write_bytes(zipped_series(resampled(example)))
        client = Client(url, verbose=False)
        most = _Most(psutil.Process(process.pid))
        start = perf_counter()
        with most:
            report = client.predict([handle_file(archive)], api_name="/analyze_volume")
        return {
            "shape": list(SHAPE),
            "megabytes": round(archive.stat().st_size / 2**20, 1),
            "seconds": round(perf_counter() - start, 1),
            "memory_most_mb": round(most.bytes / 2**20),
            "slices_looked_at": len(report["slices"]),
            "status": report["status"],
        }


def render(result: dict[str, Any]) -> str:
    """One sentence."""
    slices, rows, columns = result["shape"]
    return (
        f"A DICOM series of {columns} × {rows} × {slices} ({result['megabytes']} MB as ZIP, "
        f"{result['slices_looked_at']} slices looked at) through `/analyze_volume`: {result['seconds']:.1f} s from "
        f"sending to the report, the app's memory at most {result['memory_most_mb']} MB."
    )


def resampled(example: Path) -> np.ndarray:
    """A NIfTI volume as SHAPE, uint16: axial slices from the feet up, rows from front to back."""
    image = nibabel.as_closest_canonical(nibabel.load(example))
    values = np.asarray(image.dataobj, np.float32).transpose(2, 1, 0)[:, ::-1, ::-1]  # RAS+ -> slices, rows, columns
    values = zoom(values, [new / old for new, old in zip(SHAPE, values.shape, strict=True)], order=1)
    return (np.clip(values / values.max(), 0, 1) * 4095).astype(np.uint16)


def zipped_series(volume: np.ndarray) -> bytes:
    """(slices, rows, columns) uint16 → a ZIP archive with one MR file for each slice."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for place, pixels in enumerate(volume):
            archive.writestr(f"IM{place:04d}", _slice(pixels, place))
    return stream.getvalue()


def _slice(pixels: np.ndarray, place: int) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, f"1.2.3.{place + 1}"
    dataset.SeriesInstanceUID, dataset.Modality = "1.2.3", "MR"
    dataset.ImagePositionPatient = [0.0, 0.0, place * SPACING_MM[0]]
    dataset.ImageOrientationPatient, dataset.PixelSpacing = AXIAL, list(SPACING_MM[1:])
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 0
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


class _Most:
    """The most memory that a process has while this context lasts, looked at ten times a second."""

    def __init__(self, process: psutil.Process):
        self.bytes = 0
        self._process, self._over = process, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(0.1):
            self.bytes = max(self.bytes, self._process.memory_info().rss)
