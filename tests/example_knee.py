"""A simulated knee for examples/: our own drawing, no patient is behind it."""

from __future__ import annotations

import numpy as np
from example_spine import acquire, band, paint, smooth_noise
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.interpolate import CubicSpline
from scipy.spatial import cKDTree


def _outline(points: list[tuple[float, float]], size: int, mm: float, smooth: bool = True) -> np.ndarray:
    """A closed curve (or polygon) through (x, y) points in mm, as signed distance in mm (positive inside)."""
    curve = np.array([*points, points[0]], float)
    if smooth:
        spline = CubicSpline(np.linspace(0, 1, len(curve)), curve, bc_type="periodic")
        curve = spline(np.linspace(0, 1, 400))
    drawn = [tuple(xy) for xy in curve / mm * 2]
    canvas = Image.new("1", (2 * size, 2 * size))
    ImageDraw.Draw(canvas).polygon(drawn, fill=1)
    inside = np.asarray(canvas)
    signed = ndimage.distance_transform_edt(inside) - ndimage.distance_transform_edt(~inside)
    return signed.reshape(size, 2, size, 2).mean((1, 3)) * mm / 2


def _inside(signed: np.ndarray, soft: float = 0.35) -> np.ndarray:
    """1 where the distance is positive, 0 where it is negative, with a soft edge in mm."""
    return 1 / (1 + np.exp(-np.clip(signed / soft, -40, 40)))


def _cord(points: list[tuple[float, float]], size: int, mm: float) -> np.ndarray:
    """Distance in mm from an open smooth curve through (x, y) points in mm."""
    spline = CubicSpline(np.linspace(0, 1, len(points)), np.array(points, float))
    rows, columns = np.mgrid[:size, :size] * mm
    distance, _ = cKDTree(spline(np.linspace(0, 1, 400))).query(np.stack([columns.ravel(), rows.ravel()], 1))
    return distance.reshape(size, size)


_FEMUR = [(63, -20), (63, 10), (61, 28), (54, 41), (49, 54), (50, 68), (57, 79), (68, 84.5), (80, 85), (92, 82),
          (103, 75), (109, 65), (109, 54), (103, 45), (95, 37), (91, 22), (90, 0), (90, -20), (76, -40)]  # fmt: skip
_TIBIA = [(53, 95), (60, 91), (70, 91.5), (81, 92), (92, 91), (102, 92), (106, 98), (103, 108), (97, 120), (93, 140),
          (91, 175), (78, 200), (65, 175), (62, 145), (58, 126), (52, 112), (50.5, 103)]  # fmt: skip
_PATELLA = [(34, 36), (39, 31.5), (45, 34), (47, 45), (45.5, 54), (41, 60), (36, 56), (33, 46)]
_MENISCI = ([(51, 87.5), (50.5, 92.5), (64, 89.3)], [(108, 81), (106, 92.5), (93, 88.2)])  # anterior, posterior horn
_MUSCLES = (
    [(99, -30), (102, 10), (110, 36), (118, 47), (127, 46), (131, 20), (130, -30), (114, -45)],  # hamstring
    [(106, 34), (114, 44), (119, 60), (129, 82), (131, 125), (128, 185), (108, 195), (104, 150), (110, 112),
     (114, 88), (112, 66), (107, 48)],
    [(94, 118), (101, 116), (107, 124), (103, 150), (102, 195), (94, 195), (95, 150)],  # popliteus, soleus
    [(52, -30), (60, -30), (60, 8), (56, 20), (51, 8)],  # quadriceps
)  # fmt: skip


def _knee_soft_tissue(image: np.ndarray, rng: np.random.Generator, size: int, mm: float) -> None:
    """Fat everywhere, muscles behind and above, small vessels, skin."""
    rows, columns = np.mgrid[:size, :size] * mm
    image += 0.8 + 0.02 * smooth_noise(rng, image.shape, 1) + 0.03 * smooth_noise(rng, image.shape, 8)
    lines = ndimage.gaussian_filter(rng.standard_normal(image.shape), (14, 1.1))
    fibres = lines / lines.std() + 0.5 * smooth_noise(rng, image.shape, 9)
    for outline in _MUSCLES:
        signed = _outline(outline, size, mm) + 0.7 * smooth_noise(rng, image.shape, 5)
        marbling = 0.3 * np.clip(fibres - 1.7, 0, 1.2)
        paint(image, _inside(signed, 0.5), 0.35 + 0.022 * np.clip(fibres, -2, 2) + marbling)
    for points, half in (([(96, -20), (100, 20), (113, 52)], 0.8), ([(34, 70), (29, 110), (33, 170)], 0.6)):
        paint(image, 0.7 * _inside(half - _cord(points, size, mm)), 0.25)
    front = 27 + 10 * ((rows - 52) / 70) ** 2 * (rows < 52) + 9 * ((rows - 52) / 90) ** 2 * (rows >= 52)
    rear = 139 - 5 * np.exp(-(((rows - 72) / 28) ** 2))
    paint(image, 1 - band(columns, front, rear, 0.4), 0.4)
    paint(image, 1 - band(columns, front - 1.6, rear + 1.6, 0.4), 0.0)


def _joint(image: np.ndarray, rng: np.random.Generator, size: int, mm: float, bones: list[np.ndarray]) -> None:
    """Joint space, cartilage on the three bones, the infrapatellar fat pad, a little fluid."""
    rows, columns = np.mgrid[:size, :size] * mm
    femur, tibia, patella = bones
    grain = smooth_noise(rng, image.shape, 0.9)
    pad = _outline([(41, 61), (48, 66), (51, 76), (54, 86), (51, 92), (46, 97), (41, 84)], size, mm)
    capsule = _outline([(47, 30), (50, 62), (56, 84), (52, 94), (104, 95), (110, 86), (113, 68), (108, 50), (80, 60),
                        (60, 30)], size, mm)  # fmt: skip
    paint(image, _inside(capsule, 0.5), 0.46 + 0.03 * grain)
    paint(image, _inside(pad, 0.5), 0.78 + 0.03 * grain + 0.05 * smooth_noise(rng, image.shape, 3))
    cartilage = 0.57 + 0.02 * grain
    paint(image, _inside(femur + 2.4) * band(rows, 42, 92, 1.5), cartilage)
    paint(image, _inside(tibia + 1.9) * band(rows, 80, 96, 1) * band(columns, 55, 104, 2), cartilage)
    paint(image, _inside(patella + 2.3) * band(columns, 42, 60, 1) * band(rows, 35, 56, 1), cartilage)
    fluid = _cord([(52, 10), (54, 26), (50, 36)], size, mm)
    paint(image, 0.7 * _inside(1.2 - fluid), 0.95)


def knee(rng: np.random.Generator, size: int = 416) -> np.ndarray:
    """A sagittal proton-density knee through a condyle; anterior on the left."""
    mm = 160 / size
    image = np.zeros((size, size))
    _knee_soft_tissue(image, rng, size, mm)
    bones = [_outline(points, size, mm) for points in (_FEMUR, _TIBIA, _PATELLA)]
    _joint(image, rng, size, mm, bones)
    rows, columns = np.mgrid[:size, :size] * mm
    trabeculae = 0.025 * smooth_noise(rng, image.shape, 0.9) + 0.03 * smooth_noise(rng, image.shape, 7)
    scar = np.exp(-(((rows - 44 - 4 * np.sin(columns / 9)) / 0.7) ** 2))
    scar += np.exp(-(((rows - 108 - 1.5 * np.sin(columns / 6)) / 0.7) ** 2))
    for signed in bones:
        paint(image, _inside(signed), 0.07)  # cortex
        paint(image, _inside(signed - 0.9, 0.4), 0.66 + trabeculae - 0.05 * scar)
    tendons = (
        ([(48, -20), (46, 8), (40, 33)], 2.5), ([(37, 58), (42, 78), (47, 97), (52, 110)], 2.0),
    )  # fmt: skip
    for points, half in tendons:
        paint(image, _inside(half - _cord(points, size, mm)), 0.09)
    for triangle in _MENISCI:
        paint(image, _inside(_outline(triangle, size, mm, smooth=False), 0.3), 0.06)
    coil = 0.95 * np.exp(-(((rows - 78) / 105) ** 4)) * (1 + 0.06 * smooth_noise(rng, image.shape, 50))
    return acquire(rng, image, coil, keep=0.78, noise=0.02)
