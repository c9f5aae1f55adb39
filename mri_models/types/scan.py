"""What is looked at: one grey image, free of metadata."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """One grey image, free of metadata.

    pixels: (H, W) float32 in [0, 1], 0 = black; contiguous and read-only.
    spacing_mm: (row, column) pixel spacing in millimetres where the file stated one.
    modality: DICOM modality code ("MR", "CT", ...) where the file stated one.
    colourfulness: mean of (max - min) over RGB in [0, 1]; 0 for grey images.
    format: what the file was, by content: "png", "jpeg", "dicom", "array", ...
    annotated: whether the file itself says that text is burnt into its pixels.
    painted: whether coloured marks were painted over (`mri_models.ink`).
    filled: whether coloured areas are left in an image that is grey otherwise.
    """

    pixels: np.ndarray
    spacing_mm: tuple[float, float] | None = None
    modality: str | None = None
    colourfulness: float = 0.0
    format: str = "array"
    annotated: bool = False
    painted: bool = False
    filled: bool = False

    def __post_init__(self) -> None:
        pixels = self.pixels
        if pixels.ndim != 2:
            raise ValueError(f"pixels must be (H, W), got {pixels.shape}")
        if pixels.dtype != np.float32:
            raise ValueError(f"pixels must be float32, got {pixels.dtype}")
        if pixels.size == 0 or not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > 1:
            raise ValueError("pixels must be finite, non-empty and within [0, 1]")
        pixels.setflags(write=False)

    def turned(self, degrees: int) -> Scan:
        """The same image, turned clockwise by a multiple of 90 degrees."""
        quarters = degrees // 90
        spacing = self.spacing_mm[::-1] if self.spacing_mm and quarters % 2 else self.spacing_mm
        return replace(self, pixels=np.ascontiguousarray(np.rot90(self.pixels, -quarters)), spacing_mm=spacing)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape
