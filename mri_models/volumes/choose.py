"""Which slices the networks look at."""

from __future__ import annotations

import numpy as np

from mri_models.types import Volume

MOST = 32  # slices a volume: about ten seconds on two cores
_DARK = 0.1  # of the volume's range: air and noise lie below, anatomy above
_EMPTY = 0.3  # of the fullest slices' anatomy: below it lie the ends (crown, skin, neck), which resemble nothing


def informative(volume: Volume, most: int = MOST) -> tuple[int, ...]:
    """Slice indices in order: all of a short series, else `most` evenly spaced ones of those that hold anatomy."""
    count = volume.shape[0]
    if count <= most:
        return tuple(range(count))
    filled = np.array([float((plane > _DARK).mean()) for plane in volume.voxels])
    there = np.flatnonzero(filled >= _EMPTY * np.percentile(filled, 90))
    first, last = int(there[0]), int(there[-1])
    return tuple(np.unique(np.linspace(first, last, min(most, last - first + 1)).round().astype(int)).tolist())
