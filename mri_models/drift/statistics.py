"""What pixels say about how an image was made: level, contrast, noise, sharpness, artefacts. A few milliseconds."""

from __future__ import annotations

import numpy as np
from scipy import fft, ndimage

STATISTICS = (
    *("mean", "spread", "black", "white", "clipped", "tissue", "foreground", "haze", "skew", "entropy"),
    *("noise", "sharpness", "blockiness", "detail", "comb", "anisotropy", "shading", "log_size", "aspect"),
)
_NATIVE = 384  # px: noise and compression are measured on the centre, at the file's own resolution
_COARSE = 256  # px: everything else, on block means
_GRID = 12  # fields a side in which the low-frequency shading is fitted
_TINY = 1e-6


def statistics(pixels: np.ndarray) -> tuple[float, ...]:
    """(H, W) float32 in [0, 1] → one finite float for each of STATISTICS."""
    coarse = _reduce(pixels)
    low, high = np.percentile(coarse, (0.5, 99.5))
    scale = max(high - low, _TINY)
    unit = (coarse - low) / scale
    height, width = pixels.shape
    shape = (np.log(height * width), abs(np.log(height / width)))
    found = (*_levels(coarse, unit), *_texture(_centre(pixels), scale), *_spectrum(unit), _shading(unit), *shape)
    return tuple(float(value) for value in found)


def _levels(coarse: np.ndarray, unit: np.ndarray) -> tuple[float, ...]:
    """mean, spread, black, white, clipped, tissue, foreground, haze, skew, entropy.

    `unit` holds the image between its 0.5th and 99.5th percentile: what is taken from it ignores brightness.
    """
    inside = unit > 0.1
    tissue, air = unit[inside], unit[~inside]
    middle = np.median(tissue) if tissue.size else 0
    counts = np.bincount(np.rint(coarse.ravel() * 255).astype(np.intp), minlength=256)
    shares = counts[counts > 0] / coarse.size
    return (
        coarse.mean(),
        coarse.std(),
        *np.percentile(coarse, (2, 98)),
        np.mean(coarse >= 0.98),
        middle,
        inside.mean(),
        air.mean() if air.size else 0,  # noise, motion and ghosts put signal where there is none
        tissue.mean() - middle if tissue.size else 0,
        -(shares * np.log2(shares)).sum(),
    )


def _texture(native: np.ndarray, scale: float) -> tuple[float, float, float]:
    """noise (log of Immerkaer's sigma, 1996), sharpness (log of the slope) and JPEG blockiness, at full resolution."""
    across, along = np.diff(native, axis=1), np.diff(native, axis=0)
    sigma = np.sqrt(np.pi / 2) / 6 * np.abs(np.diff(np.diff(native, 2, axis=0), 2, axis=1)).mean()
    slope = (np.abs(across).mean() + np.abs(along).mean()) / 2
    columns, rows = np.abs(across).mean(axis=0), np.abs(along).mean(axis=1)
    seams = (columns[7::8].mean() + rows[7::8].mean()) / max(2 * slope, _TINY)
    return np.log(sigma / scale + 1e-4), np.log(slope / scale + 1e-4), seams


def _spectrum(unit: np.ndarray) -> tuple[float, float, float]:
    """detail (log share of power beyond half the band), comb (ghosting) and anisotropy (motion) of k-space.

    Ghosts are k-space lines of alternating strength, so the profile over lines ripples with a period of a few lines.
    """
    power = np.abs(fft.fft2(unit - unit.mean(), workers=1)) ** 2 + _TINY
    height, width = power.shape
    fy, fx = np.abs(fft.fftfreq(height))[:, None], np.abs(fft.fftfreq(width))[None]
    outer = np.maximum(fy, fx) > 0.25
    detail = np.log(power[outer].mean() / power.mean())
    vertical, horizontal = power[(fy > 0.12) & (fx < 0.12)].mean(), power[(fx > 0.12) & (fy < 0.12)].mean()
    logs = np.log(power)
    comb = max(_ripple(logs.mean(axis=1)), _ripple(logs.mean(axis=0)))
    return detail, comb, abs(np.log(vertical / horizontal))


def _ripple(profile: np.ndarray) -> float:
    """The strongest period of 2 to 8 lines in a profile of k-space lines."""
    residual = profile - ndimage.median_filter(profile, 9, mode="wrap")
    rhythm = np.abs(fft.rfft(residual))
    return rhythm[len(profile) // 8 :].max() / len(profile)


def _shading(unit: np.ndarray) -> float:
    """Spread of a quadratic surface through the log brightness of tissue: a coil's bias field adds to anatomy's own."""
    rows, columns = (np.linspace(0, side, _GRID + 1).astype(int)[:-1] for side in unit.shape)
    inside = unit > 0.1
    amount = np.add.reduceat(np.add.reduceat(inside.astype(np.float32), rows, 0), columns, 1)
    total = np.add.reduceat(np.add.reduceat(unit * inside, rows, 0), columns, 1)
    full = amount >= 0.5 * amount.max()
    y, x = np.argwhere(full).T / _GRID - 0.5
    surface = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y], axis=1)
    logs = np.log(np.maximum(total[full] / np.maximum(amount[full], 1), 0.05))
    fitted = surface @ np.linalg.lstsq(surface, logs, rcond=None)[0]
    return fitted.std()


def _centre(pixels: np.ndarray) -> np.ndarray:
    """At most _NATIVE pixels a side from the middle, starting on JPEG's grid of 8."""
    starts = (max(0, side - _NATIVE) // 16 * 8 for side in pixels.shape)
    return pixels[tuple(slice(start, start + _NATIVE) for start in starts)]


def _reduce(pixels: np.ndarray) -> np.ndarray:
    """Block means with at most _COARSE pixels on the longer side, never fewer than 16 a side."""
    step = -(-max(pixels.shape) // _COARSE)
    step = max(1, min(step, min(pixels.shape) // 16))
    height, width = (side // step * step for side in pixels.shape)
    return pixels[:height, :width].reshape(height // step, step, width // step, step).mean(axis=(1, 3))
