"""Drifts that can be turned up from severity 1 (hardly seen) to 5 (gross): (H, W) float32 in [0, 1] → the same.

Lengths are stated for an image of 256 px and grow with it. Motion and ghosting act on k-space lines, as in scanners
(and in torchio's RandomMotion and RandomGhosting), not on pixels.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from PIL import Image
from scipy import fft, ndimage

SEVERITIES = (1, 2, 3, 4, 5)
SHOTS = 6  # of an interleaved acquisition
Rng = np.random.Generator
Change = Callable[[np.ndarray, float, Rng], np.ndarray]


@dataclass(frozen=True, slots=True)
class Drift:
    """One kind of change: what it does at a strength, the strength of each severity, and what that number is."""

    title: str
    change: Change
    strengths: tuple[float, float, float, float, float]
    unit: str


def simulate(pixels: np.ndarray, name: str, severity: int, rng: Rng) -> np.ndarray:
    """The image as if acquired after the drift `name` (a key of DRIFTS) at `severity` 1-5."""
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be one of {SEVERITIES}, got {severity}")
    drift = DRIFTS[name]
    return np.clip(drift.change(pixels, drift.strengths[severity - 1], rng), 0, 1, dtype=np.float32)


def gaussian_noise(pixels: np.ndarray, sd: float, rng: Rng) -> np.ndarray:
    return pixels + sd * rng.standard_normal(pixels.shape, np.float32)


def rician_noise(pixels: np.ndarray, sd: float, rng: Rng) -> np.ndarray:
    """The magnitude of a complex signal with Gaussian noise in both channels: air turns grey (Gudbjartsson 1995)."""
    real, imaginary = sd * rng.standard_normal((2, *pixels.shape), np.float32)
    return np.hypot(pixels + real, imaginary)


def blur(pixels: np.ndarray, sigma: float, _: Rng) -> np.ndarray:
    return ndimage.gaussian_filter(pixels, sigma * _scale(pixels))


def motion(pixels: np.ndarray, shift: float, rng: Rng) -> np.ndarray:
    """Lines are dealt among shots, as a turbo spin echo does; the head lies elsewhere, by `shift` px (sd), at each."""
    shot = np.arange(pixels.shape[0]) % SHOTS
    dy, dx = rng.normal(0, shift * _scale(pixels), (SHOTS, 2))[shot].T
    ky, kx = (fft.fftshift(fft.fftfreq(side)) for side in pixels.shape)
    ramp = np.exp(-2j * np.pi * ((ky * dy)[:, None] + dx[:, None] * kx[None]))
    return _from_lines(_to_lines(pixels) * ramp)


def ghosting(pixels: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    """Every second to fourth k-space line is weaker by `strength`, except around the centre."""
    space = _to_lines(pixels)
    lines = np.arange(len(space))
    weak = (lines % rng.integers(2, 5) == 0) & (np.abs(lines - len(space) // 2) > 0.01 * len(space))
    return _from_lines(space * np.where(weak, 1 - strength, 1)[:, None])


def brightness(pixels: np.ndarray, offset: float, _: Rng) -> np.ndarray:
    return pixels + offset


def contrast(pixels: np.ndarray, factor: float, _: Rng) -> np.ndarray:
    return pixels.mean() + factor * (pixels - pixels.mean())


def gamma(pixels: np.ndarray, exponent: float, _: Rng) -> np.ndarray:
    return pixels**exponent


def bias_field(pixels: np.ndarray, strength: float, rng: Rng) -> np.ndarray:
    """Brightness falls off from a coil at one side, by a factor of exp(2 * strength) from edge to edge."""
    y, x = (np.linspace(-1, 1, side, dtype=np.float32) for side in pixels.shape)
    angle = rng.uniform(0, 2 * np.pi)
    along = np.cos(angle) * y[:, None] + np.sin(angle) * x[None]
    return pixels * np.exp(strength * (along - along.max() / 2))


def resolution(pixels: np.ndarray, share: float, _: Rng) -> np.ndarray:
    """A matrix of `share` of the lines, shown at the old size."""
    height, width = pixels.shape
    small = max(8, round(width * share)), max(8, round(height * share))
    image = Image.fromarray(pixels, mode="F").resize(small, Image.Resampling.BOX)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC))


def scanner(pixels: np.ndarray, amount: float, rng: Rng) -> np.ndarray:
    """Another make: coarser matrix, edge enhancement, S-shaped tone curve and a little noise, all at once."""
    coarse = resolution(pixels, 1 - 0.5 * amount, rng)
    sharper = coarse + 1.5 * amount * (coarse - ndimage.gaussian_filter(coarse, 1.5 * _scale(pixels)))
    toned = np.clip(sharper, 0, 1)
    toned = toned + amount * (toned * toned * (3 - 2 * toned) - toned)
    return rician_noise(toned, 0.03 * amount, rng)


def jpeg(pixels: np.ndarray, quality: float, _: Rng) -> np.ndarray:
    stream = io.BytesIO()
    Image.fromarray(np.rint(pixels * 255).astype(np.uint8)).save(stream, "JPEG", quality=int(quality))
    return np.asarray(Image.open(stream), np.float32) / 255


def structures(pixels: np.ndarray, radius: float, rng: Rng) -> np.ndarray:
    """Something no patient here had: two bright discs with dark rims, as metal leaves them, inside the body."""
    image = pixels.copy()
    reach = radius * max(pixels.shape)
    spots = np.argwhere(pixels > pixels.mean())
    for row, column in rng.choice(spots, 2):
        y, x = np.ogrid[: pixels.shape[0], : pixels.shape[1]]
        distance = np.hypot(y - row, x - column) / reach
        image = np.where(distance < 1.35, 0.0, image)
        image = np.where(distance < 1, 1.0, image)
    return image


def _scale(pixels: np.ndarray) -> float:
    return max(pixels.shape) / 256


def _to_lines(pixels: np.ndarray) -> np.ndarray:
    return fft.fftshift(fft.fft2(pixels))


def _from_lines(space: np.ndarray) -> np.ndarray:
    return np.abs(fft.ifft2(fft.ifftshift(space))).astype(np.float32)


# Severity 1 is near what scanners differ by anyway; 3 is plain to a reader beside the original; 5 spoils the image.
DRIFTS: Mapping[str, Drift] = MappingProxyType(
    {
        # Clinical images have 1-3 % noise; 10 % hides grey against white matter.
        "gaussian_noise": Drift("Gaussian noise", gaussian_noise, (0.01, 0.02, 0.04, 0.07, 0.12), "sd of full range"),
        "rician_noise": Drift("Rician noise", rician_noise, (0.01, 0.02, 0.04, 0.07, 0.12), "sd of full range"),
        # A voxel is about 1 px at 256, so sigma 1.2 doubles its size.
        "blur": Drift("Blur", blur, (0.4, 0.8, 1.2, 1.8, 2.6), "sigma in px of 256"),
        # 1 px is about 0.9 mm: breathing and swallowing move a head by 0.5-2 mm.
        "motion": Drift("Motion", motion, (0.3, 0.6, 1.2, 2.0, 3.2), "shift in px of 256"),
        "ghosting": Drift("Ghosting", ghosting, (0.08, 0.16, 0.3, 0.5, 0.8), "loss of every k-th line"),
        "brightness": Drift("Brightness", brightness, (0.02, 0.04, 0.08, 0.14, 0.22), "offset of full range"),
        "contrast": Drift("Contrast", contrast, (0.9, 0.8, 0.65, 0.5, 0.35), "factor"),
        # A display's gamma taken for another's: 2.2 / 1.8 is 1.2, applied twice 1.5, linear for sRGB 2.2.
        "gamma": Drift("Gamma", gamma, (1.15, 1.3, 1.6, 2.0, 2.6), "exponent"),
        # Uncorrected surface coils lose a half to two thirds from edge to edge.
        "bias_field": Drift("Bias field", bias_field, (0.15, 0.3, 0.55, 0.85, 1.2), "log amplitude"),
        "resolution": Drift("Lower resolution", resolution, (0.85, 0.7, 0.5, 0.36, 0.25), "share of lines"),
        "scanner": Drift("Another scanner", scanner, (0.2, 0.4, 0.6, 0.8, 1.0), "mix of four changes"),
        # 75 is the libraries' default; blocks are plain from about 30.
        "jpeg": Drift("JPEG compression", jpeg, (70, 50, 30, 18, 8), "quality"),
        "structures": Drift("Unseen structures", structures, (0.02, 0.035, 0.05, 0.07, 0.1), "radius of side"),
    }
)
COVARIATE = tuple(name for name in DRIFTS if name != "structures")
