"""The series that the benchmark sends is one that the intake reads as it was meant."""

from __future__ import annotations

import numpy as np
from places import EXAMPLES

from mri_models.evaluation import series
from mri_models.volumes.intake import read_volume


def test_the_series_is_read_as_an_axial_brain_of_its_size():
    wanted = series.resampled(EXAMPLES / "volumes" / series.EXAMPLE.name)
    volume = read_volume(series.zipped_series(wanted))
    assert volume.shape == series.SHAPE == wanted.shape
    assert volume.plane == "axial"
    assert np.allclose(volume.spacing_mm, series.SPACING_MM)
    known = read_volume(EXAMPLES / "volumes" / series.EXAMPLE.name)
    thin = known.voxels[np.linspace(0, len(known.voxels) - 1, 30).round().astype(int)]
    small = volume.voxels[:, :: 512 // 16, :: 512 // 16][:, :16, :16]
    steps = [np.linspace(0, side - 1, 16).round().astype(int) for side in thin.shape[1:]]
    assert abs(np.corrcoef(small.ravel(), thin[:, steps[0]][:, :, steps[1]].ravel())[0, 1]) > 0.7
