"""Hand-made features of one image: grey levels, texture (GLCM, LBP), shape (HOG).

GLCM: grey-level co-occurrence (Haralick 1973). LBP: local binary patterns (Ojala 2002). HOG: histograms of oriented
gradients (Dalal & Triggs 2005). All from a canvas of 128 px.
"""

from __future__ import annotations

import numpy as np
from skimage.feature import graycomatrix, graycoprops, hog, local_binary_pattern

SIZE = 128
LEVELS = 32  # grey levels of the co-occurrence matrix
DISTANCES = (1, 2, 4)
ANGLES = tuple(np.arange(4) * np.pi / 4)
PROPERTIES = ("contrast", "dissimilarity", "homogeneity", "energy", "correlation")
POINTS, RADII = 8, (1, 3)
GRID = 4  # LBP histograms of GRID x GRID tiles
HOG_CELL = 16
BINS = 16


def intensity(image: np.ndarray) -> np.ndarray:
    """(S, S) in [0, 1] -> (33,): mean, spread, skewness, kurtosis, entropy, 11 percentiles, histogram, share of black.

    Everything but the last is about the pixels that are not black, so that the margin's size says little.
    """
    inside = image[image > 0.02]
    if inside.size == 0:
        return np.zeros(5 + 11 + BINS + 1, np.float32)
    mean, spread = inside.mean(), inside.std()
    z = (inside - mean) / max(spread, 1e-6)
    shares = np.histogram(inside, BINS, (0, 1))[0] / inside.size
    entropy = -(shares[shares > 0] * np.log2(shares[shares > 0])).sum()
    moments = [mean, spread, (z**3).mean(), (z**4).mean(), entropy]
    percentiles = np.percentile(inside, np.linspace(0, 100, 11))
    return np.concatenate([moments, percentiles, shares, [1 - inside.size / image.size]]).astype(np.float32)


def glcm(image: np.ndarray) -> np.ndarray:
    """(S, S) in [0, 1] -> (60,): five properties at three distances and four angles."""
    levels = np.minimum((image * LEVELS).astype(np.uint8), LEVELS - 1)
    matrix = graycomatrix(levels, DISTANCES, ANGLES, LEVELS, symmetric=True, normed=True)
    return np.concatenate([graycoprops(matrix, name).ravel() for name in PROPERTIES]).astype(np.float32)


def lbp(image: np.ndarray) -> np.ndarray:
    """(S, S) in [0, 1] -> (320,): shares of the ten uniform patterns in 4 x 4 tiles, at two radii."""
    pixels = (image * 255).round().astype(np.uint8)
    found = []
    for radius in RADII:
        patterns = local_binary_pattern(pixels, POINTS, radius, "uniform").astype(int)
        for rows in np.array_split(patterns, GRID):
            for tile in np.array_split(rows, GRID, axis=1):
                found.append(np.bincount(tile.ravel(), minlength=POINTS + 2) / tile.size)
    return np.concatenate(found).astype(np.float32)


def gradients(image: np.ndarray) -> np.ndarray:
    """(S, S) in [0, 1] -> (576,): nine orientations in 8 x 8 cells of 16 px."""
    cells = (HOG_CELL, HOG_CELL)
    return hog(image, 9, cells, (1, 1), block_norm="L2-Hys", transform_sqrt=True).astype(np.float32)


def handmade(image: np.ndarray) -> np.ndarray:
    """(128, 128) float32 in [0, 1] -> (989,) float32."""
    return np.concatenate([part(image) for part in (intensity, glcm, lbp, gradients)])
