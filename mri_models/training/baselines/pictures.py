"""Images as every baseline gets them: prepared in one of several ways, on a square canvas, kept on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.lib.format import open_memmap
from PIL import Image

from mri_models.pixels import stretch, to_unit
from mri_models.preprocess import letterbox
from mri_models.training.baselines.cases import Cases

SIDE = 256  # px of the canvases that are kept; baselines shrink them
SHRINK = cv2.INTER_AREA
HEAD = 0.08  # grey level above which a pixel may belong to the head


@dataclass(frozen=True, slots=True)
class Preparation:
    """What happens between file and canvas; the defaults are what serving does."""

    stretched: bool = True  # 0.5-99.5 percentile to [0, 1]; else the file's own grey levels
    grey: str = "luma"  # or "mean": equal weights for red, green and blue
    denoised: str = ""  # or "median" (3 x 3), "nlm" (non-local means, Buades 2005)
    head: bool = False  # crop to the head's bounding box

    @property
    def slug(self) -> str:
        """Names the cache."""
        return "-".join(str(value) or "none" for value in dataclasses.astuple(self))


def canvases(cases: Cases, preparation: Preparation, cache: Path) -> np.ndarray:
    """(N, 256, 256) uint8, made once and read from CACHE afterwards."""

    def fill(kept: np.ndarray) -> None:
        for i, sample in enumerate(cases.samples):
            kept[i] = (prepared(sample.path, preparation) * 255).round().astype(np.uint8)

    shape = (len(cases), SIDE, SIDE)
    return kept_array(cache / f"canvases-{preparation.slug}-{key(cases)}.npy", shape, np.uint8, fill)


def key(cases: Cases) -> str:
    """Short hash of which images these are, in this order."""
    from hashlib import sha256

    return sha256("\n".join(cases.names).encode()).hexdigest()[:12]


def kept_array(path: Path, shape: tuple[int, ...], dtype: type, fill: Callable[[np.ndarray], None]) -> np.ndarray:
    """The array at `path`, filled first where it is not there; it appears only once it is whole."""
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".part")
        array = open_memmap(partial, mode="w+", dtype=dtype, shape=shape)
        fill(array)
        array.flush()
        partial.rename(path)
    return np.load(path, mmap_mode="r")


def prepared(path: Path, preparation: Preparation) -> np.ndarray:
    """(256, 256) float32 in [0, 1], aspect kept, black borders."""
    grey = read_grey(path, preparation.grey)
    grey = stretch(grey) if preparation.stretched else grey
    if preparation.head:
        grey = head_only(grey)
    if preparation.denoised:
        grey = denoise(grey, preparation.denoised)
    return letterbox(np.ascontiguousarray(grey, np.float32), SIDE)


def read_grey(path: Path, how: str) -> np.ndarray:
    """(H, W) float32 in [0, 1]."""
    with Image.open(path) as image:
        if how == "luma":
            return to_unit(np.asarray(image.convert("L")))
        return to_unit(np.asarray(image.convert("RGB"))).mean(2)


def denoise(grey: np.ndarray, how: str) -> np.ndarray:
    """(H, W) float32 in [0, 1] -> the same without its grain."""
    pixels = (grey * 255).round().astype(np.uint8)
    if how == "median":
        return to_unit(cv2.medianBlur(pixels, 3))
    if how == "nlm":
        return to_unit(cv2.fastNlMeansDenoising(pixels, None, h=6, templateWindowSize=5, searchWindowSize=13))
    raise ValueError(f'denoised must be "", "median" or "nlm", got {how!r}')


def head_only(grey: np.ndarray) -> np.ndarray:
    """The bounding box of the largest bright region; the whole image where that is under a twentieth of it."""
    mask = cv2.morphologyEx((grey > HEAD).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        return grey
    left, top, width, height, area = stats[1 + stats[1:, cv2.CC_STAT_AREA].argmax()]
    return grey[top : top + height, left : left + width] if area >= grey.size / 20 else grey


def shrunk(canvas: np.ndarray, size: int) -> np.ndarray:
    """(256, 256) uint8 -> (size, size) float32 in [0, 1]."""
    return cv2.resize(canvas, (size, size), interpolation=SHRINK).astype(np.float32) / 255


def varied(canvas: np.ndarray, size: int, rng: np.random.Generator) -> np.ndarray:
    """(S, S) uint8 -> (size, size) float32: flipped, turned, zoomed, shifted, sheared, of another gamma."""
    side = canvas.shape[0]
    scale = size / side * np.exp(rng.uniform(np.log(0.85), np.log(1.18)))
    angle, shear = np.deg2rad(rng.uniform(-15, 15)), np.tan(np.deg2rad(rng.uniform(-8, 8)))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = scale * turn @ np.array([[1, shear], [0, 1]]) @ np.diag([rng.choice((-1, 1)), 1])
    shift = size / 2 + rng.uniform(-0.06, 0.06, 2) * size - matrix @ np.full(2, side / 2)
    soft = cv2.GaussianBlur(canvas, (0, 0), 0.4 / scale) if scale < 0.8 else canvas  # warpAffine does not average
    moved = cv2.warpAffine(soft, np.column_stack([matrix, shift]), (size, size), flags=cv2.INTER_LINEAR)
    return (moved.astype(np.float32) / 255) ** np.float32(np.exp(rng.uniform(-0.3, 0.3)))
