"""A simulated lumbar spine for examples/, and the means to draw such slices: no patient is behind them.

Each phantom returns (H, W) float in [0, 1], the same for the same generator. Anatomy is laid out in mm, tissues
get plausible relative intensities, then `acquire` adds what a scanner adds: shading, finite k-space, Rician noise.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from scipy.interpolate import CubicSpline, PchipInterpolator
from scipy.spatial import cKDTree


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], sigma: float) -> np.ndarray:
    """Correlated noise of zero mean and unit deviation."""
    field = ndimage.gaussian_filter(rng.standard_normal(shape), sigma)
    return (field - field.mean()) / field.std()


def acquire(rng: np.random.Generator, image: np.ndarray, shading: np.ndarray, keep: float, noise: float) -> np.ndarray:
    """What a scanner does to tissue: receive shading, k-space cut to the central share `keep`, Rician noise."""
    height, width = image.shape
    spectrum = np.fft.fftshift(np.fft.fft2(image * shading))
    ky, kx = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    window = np.exp(-((np.hypot(kx, ky) / keep) ** 6))  # a soft edge: some ringing, not a cartoon of it
    signal = np.real(np.fft.ifft2(np.fft.ifftshift(spectrum * window)))
    real, imaginary = noise * rng.standard_normal((2, height, width))
    return np.clip(np.hypot(signal + real, imaginary), 0, 1)


def band(value: np.ndarray, low: np.ndarray | float, high: np.ndarray | float, soft: float) -> np.ndarray:
    """1 inside [low, high], 0 outside, with logistic edges about `soft` wide."""
    edge = np.minimum(value - low, high - value)
    return 1 / (1 + np.exp(-np.clip(edge / soft, -40, 40)))


def paint(image: np.ndarray, mask: np.ndarray, intensity: np.ndarray | float) -> None:
    """Blend `intensity` into `image`, in place, where `mask` is 1."""
    image += mask * (intensity - image)


# top of body (mm along the posterior wall), height, depth; T11 to S3; the sacrum's are fused and taper
_BODIES = (
    (-16, 24, 29), (13, 25, 30), (44, 26.5, 31.5), (78, 27, 33), (113, 27.5, 34), (149, 28, 34.5),
    (184.5, 27.5, 35), (219, 26, 31), (248, 22, 23), (272, 19, 17),
)  # fmt: skip
_HYDRATION = (
    0.62,
    0.66,
    0.7,
    0.72,
    0.62,
    0.34,
    0.2,
    0.16,
    0.14,
)  # nucleus brightness, T11/T12 to S2/S3; L4/5, L5/S1 dry
_BULGE_MM = (0, 0, 0, 0, 0.6, 2.2, 3.0, 0, 0)


def _along_spine(size: int, mm: float) -> tuple[np.ndarray, np.ndarray]:
    """Per pixel: mm along the posterior wall of the vertebral bodies, and mm in front of it."""
    y = np.array([-20, 30, 80, 130, 170, 205, 235, 262, 300, 330], float)
    x = np.array([152, 146, 137, 130, 131, 142, 160, 177, 190, 186], float)  # lordosis, then the sacrum turns back
    spline = CubicSpline(y, x)
    fine = np.linspace(y[0], y[-1], 4000)
    curve = np.stack([spline(fine), fine], 1)
    steps = np.hypot(*np.diff(curve, axis=0).T)
    arc = np.concatenate([[0], np.cumsum(steps)]) + y[0]
    rows, columns = np.mgrid[:size, :size] * mm
    _, nearest = cKDTree(curve).query(np.stack([columns.ravel(), rows.ravel()], 1))
    tangent = np.gradient(curve, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    offset = np.stack([columns.ravel(), rows.ravel()], 1) - curve[nearest]
    front = -(offset[:, 0] * tangent[nearest, 1] - offset[:, 1] * tangent[nearest, 0])
    return arc[nearest].reshape(size, size), front.reshape(size, size)


def _body_mask(s: np.ndarray, t: np.ndarray, body: tuple[float, float, float], grow: float) -> np.ndarray:
    """A vertebral body: concave endplates and a narrow waist."""
    top, height, depth = body
    v = np.clip((s - top - height / 2) / (height / 2), -1.3, 1.3)
    u = np.clip((t - depth / 2) / (depth / 2), -1.3, 1.3)
    waist = 1.7 * (1 - v**2)
    dish = 1.5 * (1 - u**2) - 1.3 * np.abs(u) ** 8
    across = band(t, 0.5 * waist - grow, depth - waist + grow, 0.45)
    return across * band(s, top + dish - grow, top + height - dish + grow, 0.45)


def _bodies_and_discs(image: np.ndarray, s: np.ndarray, t: np.ndarray, textures: list[np.ndarray]) -> None:
    coarse, fine = textures
    for upper, lower, water, bulge in zip(_BODIES, _BODIES[1:], _HYDRATION, _BULGE_MM, strict=False):
        start, end, depth = upper[0] + upper[1], lower[0], (upper[2] + lower[2]) / 2
        middle, half = (start + end) / 2, (end - start) / 2 + 1.5
        u = (t - depth / 2) / (depth / 2)
        disc = band(s, middle - half, middle + half, 0.5)
        disc = disc * band(t, -bulge * np.exp(-(((s - middle) / 4.5) ** 2)), depth + 0.8, 0.5)
        paint(image, disc, 0.1 + 0.02 * fine)
        core = np.exp(-((np.abs(u + 0.1) / 0.62) ** 4) - (np.abs(s - middle) / (half * 0.72)) ** 4)
        cleft = 1 - 0.38 * np.exp(-(((s - middle) / 1.1) ** 2)) * (np.abs(u) < 0.6)
        paint(image, core * disc, water * cleft * (1 + 0.07 * coarse))
    for body in _BODIES:
        paint(image, _body_mask(s, t, body, 1.0), 0.07)  # cortex and endplates
        fatty = 0.33 + 0.035 * coarse + 0.03 * fine
        paint(image, _body_mask(s, t, body, -0.3), fatty)
        middle = body[0] + body[1] / 2
        vein = np.exp(-(((s - middle) / 1.6) ** 2) - ((t - 1) / 6.0) ** 2 * (t > 1)) * (t > -0.5)
        paint(image, 0.75 * vein, 0.6)


def _canal(image: np.ndarray, s: np.ndarray, t: np.ndarray, rng: np.random.Generator) -> None:
    """Sac with fluid, the cord down to L1, nerve roots settling behind it, fat outside the dura."""
    back = t * -1
    depth = PchipInterpolator([-40, 60, 150, 215, 262, 340], [15, 15.5, 15, 13, 5, 0.5])(s)
    paint(image, band(back, -0.5, depth + 6, 0.6) * (s < 300), 0.62 + 0.05 * smooth_noise(rng, s.shape, 3))
    front = 1.3 + np.clip((s - 200) / 12, 0, 6)  # fat in front of the sac at L5/S1
    for middle, bulge in zip((b[0] + b[1] + 4 for b in _BODIES), _BULGE_MM, strict=False):
        front = front + 1.15 * bulge * np.exp(-(((s - middle) / 5.0) ** 2))
    sac = band(back, front, front + np.maximum(depth - 1.5, 0.1), 0.5) * band(s, -60, 262, 2)
    paint(image, band(back, front - 0.9, front + depth - 0.6, 0.4) * band(s, -60, 264, 2), 0.06)
    paint(image, sac, 0.9 + 0.025 * smooth_noise(rng, s.shape, 6))
    half = PchipInterpolator([-40, 20, 44, 62, 74, 340], [3.6, 4.1, 3.8, 1.9, 0.3, 0])(s)
    centre = front + PchipInterpolator([-40, 40, 80, 340], [6.6, 7.2, 9.5, 9.5])(s)
    paint(image, band(back, centre - half, centre + half, 0.35) * sac * (half > 0.2), 0.43)
    for number in range(11):
        begin, depth0, depth1 = 36 + 3 * rng.random(), rng.uniform(5.5, 9.5), rng.uniform(6.5, 12.2)
        path = (
            front + depth0 + (depth1 - depth0) * np.clip((s - begin) / 60, 0, 1) - 4.5 * np.clip((s - 170) / 90, 0, 1)
        )
        path = path + 0.35 * np.sin(s / (7 + number) + number)
        root = np.exp(-(((back - path) / 0.55) ** 2)) * band(s, begin, rng.uniform(215, 255), 4)
        paint(image, 0.5 * root * sac, 0.4)


def _posterior_elements(image: np.ndarray, s: np.ndarray, t: np.ndarray, textures: list[np.ndarray]) -> None:
    coarse, fine = textures
    smooth = ndimage.gaussian_filter(coarse, 5) * 5
    back = -t - 15.5
    for top, height, _ in _BODIES[:7]:
        middle = top + height * 0.72 + 0.42 * back + 6
        taper = np.clip(1 - ((back - 15) / 15.5) ** 4, 0, 1) ** 0.5  # rounded ends
        half = 9.2 * taper * (0.74 + 0.3 * np.clip(back / 28, 0, 1)) * (1 + 0.05 * smooth)
        for grow, value in ((0.9, 0.08), (-0.3, 0.36 + 0.03 * coarse + 0.025 * fine)):
            process = band(s, middle - half - grow, middle + half + grow, 0.6) * (taper > 0)
            paint(image, process * band(back, 0, 30.5, 0.5), value)
        ligament = band(back, -0.6, 2.2, 0.4) * np.exp(-(((s - top - height * 0.15) / 7) ** 2))
        paint(image, 0.8 * ligament, 0.1)


def lumbar_spine(rng: np.random.Generator, size: int = 448) -> np.ndarray:
    """A mid-sagittal T2 lumbar spine, anterior on the left; the two lowest lumbar discs dry and bulging."""
    mm = 280 / size
    s, t = _along_spine(size, mm)
    columns = np.mgrid[:size, :size][1] * mm
    rows = np.mgrid[:size, :size][0] * mm
    textures = [smooth_noise(rng, s.shape, 2.6), smooth_noise(rng, s.shape, 0.9)]
    bowel = smooth_noise(rng, s.shape, 11)
    image = 0.3 + 0.13 * np.tanh(1.6 * bowel) + 0.04 * textures[0]  # abdomen: saturated, restless
    paint(image, band(t, 26, 44, 2.5), 0.5 + 0.07 * textures[0])  # fat before the spine
    paint(image, band(t, 40, 53, 1.0) * band(s, -60, 165, 5), 0.06)  # aorta: flow void
    paint(image, band(-t, 13, 90, 1), 0.52 + 0.03 * textures[0] + 0.06 * smooth_noise(rng, s.shape, 9))
    lines = ndimage.gaussian_filter(rng.standard_normal(s.shape), (9, 0.9))
    muscle = 0.26 + 0.05 * np.clip(lines / lines.std(), -2, 3) + 0.02 * textures[1]
    paint(image, 0.75 * band(-t + 2 * smooth_noise(rng, s.shape, 14), 30, 52, 1.5) * band(s, -80, 225, 9), muscle)
    _posterior_elements(image, s, t, textures)
    _canal(image, s, t, rng)
    _bodies_and_discs(image, s, t, textures)
    skin = 208 + 20 * ((rows - 130) / 140) ** 2 + 2 * np.sin(rows / 37)
    fat = 0.74 + 0.015 * textures[0] + 0.03 * smooth_noise(rng, s.shape, 12)
    paint(image, band(columns, skin, 400, 0.8), fat)
    thickness = 22 + 0.07 * rows
    paint(image, band(columns, skin + thickness, 400, 0.5), 0.35)
    paint(image, band(columns, skin + thickness + 2, 400, 0.5), 0.0)
    coil = 0.36 + 0.72 / (1 + np.exp(-(columns - 118) / 26))
    coil *= np.exp(-(((rows - 140) / 175) ** 4)) * (1 + 0.04 * smooth_noise(rng, s.shape, 60))
    return acquire(rng, image, coil, keep=0.72, noise=0.018)
