"""Augmentation against shortcuts: whatever could tell a source apart is made random.

Geometry (flip, rotation, scale, aspect, shift, border grey), resolution, blur or sharpening, histogram of another
image, gamma, contrast, inversion, bias field, noise, printed letters, marks drawn by people, JPEG, cut-out. Images are
(H, W) float32 in [0, 1].
"""

from __future__ import annotations

import string
from collections.abc import Callable

import cv2
import numpy as np

Rng = np.random.Generator
LYING = 0.03  # share of images that lie on a side or stand on their head: rare, but files come that way
QUARTER = np.array([[0, -1], [1, 0]])  # of a turn


def place(
    image: np.ndarray, mask: np.ndarray, size: int, rng: Rng, *, lying: float = LYING
) -> tuple[np.ndarray, np.ndarray]:
    """Random similarity transform of image and mask onto a (size, size) canvas."""
    height, width = image.shape
    scale = size / max(height, width) * np.exp(rng.uniform(np.log(0.75), np.log(1.35)))
    aspect = np.exp(rng.normal(0, 0.07))
    angle = np.deg2rad(rng.uniform(-20, 20) if rng.random() < 0.7 else 0)
    flip = rng.choice((-1, 1))
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    if rng.random() < lying:
        rotation = np.linalg.matrix_power(QUARTER, rng.integers(1, 4)) @ rotation
    matrix = rotation @ np.diag([scale * aspect * flip, scale / aspect])
    centre = size / 2 + rng.uniform(-0.08, 0.08, 2) * size
    shift = centre - matrix @ np.array([width / 2, height / 2])
    affine = np.column_stack([matrix, shift]).astype(np.float32)
    border = 0.0 if rng.random() < 0.7 else float(rng.uniform(0, 1))
    mode = cv2.BORDER_REPLICATE if rng.random() < 0.1 else cv2.BORDER_CONSTANT
    if scale < 0.8:  # warpAffine has no antialiasing
        image = cv2.GaussianBlur(image, (0, 0), 0.4 / scale)
    image = cv2.warpAffine(image, affine, (size, size), flags=cv2.INTER_LINEAR, borderMode=mode, borderValue=border)
    return image, cv2.warpAffine(mask, affine, (size, size), flags=cv2.INTER_NEAREST)


def lower_resolution(image: np.ndarray, rng: Rng) -> np.ndarray:
    size = image.shape[0]
    small = int(np.exp(rng.uniform(np.log(48), np.log(size))))
    down = cv2.resize(image, (small, small), interpolation=cv2.INTER_AREA)
    up = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.choice(3, p=(0.1, 0.5, 0.4))]
    return cv2.resize(down, (size, size), interpolation=up)


def blur(image: np.ndarray, rng: Rng) -> np.ndarray:
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 1.6))


def sharpen(image: np.ndarray, rng: Rng) -> np.ndarray:
    soft = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.7, 2))
    return image + rng.uniform(0.3, 1.2) * (image - soft)


def gamma(image: np.ndarray, rng: Rng) -> np.ndarray:
    return np.clip(image, 0, 1) ** np.exp(rng.uniform(-0.7, 0.7))


def contrast(image: np.ndarray, rng: Rng) -> np.ndarray:
    return (image - 0.5) * rng.uniform(0.5, 1.5) + 0.5 + rng.uniform(-0.2, 0.2)


def window(image: np.ndarray, rng: Rng) -> np.ndarray:
    low, high = np.percentile(image, (rng.uniform(0, 10), rng.uniform(90, 100)))
    return (image - low) / max(high - low, 0.05)


def tone_curve(image: np.ndarray, rng: Rng) -> np.ndarray:
    """A random monotone curve with fixed ends."""
    steps = np.cumsum(rng.dirichlet(np.full(5, 1.5)))
    return np.interp(image, np.linspace(0, 1, 6), np.concatenate([[0], steps])).astype(np.float32)


def invert_foreground(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Another tissue contrast: the head's grey levels turned over, the black background kept."""
    head = image > 0.08
    if rng.random() < 0.25:
        return 1 - image
    return np.where(head, np.clip(1.08 - image, 0, 1), image)


def bias_field(image: np.ndarray, rng: Rng) -> np.ndarray:
    coarse = rng.normal(0, rng.uniform(0.1, 0.45), (3, 3)).astype(np.float32)
    return image * np.exp(cv2.resize(coarse, image.shape[::-1], interpolation=cv2.INTER_CUBIC))


def noise(image: np.ndarray, rng: Rng) -> np.ndarray:
    sigma = rng.uniform(0.01, 0.09)
    grain = rng.standard_normal(image.shape, np.float32) * sigma
    if rng.random() < 0.5:  # Rician: the magnitude of a complex signal
        return np.hypot(image + grain, rng.standard_normal(image.shape, np.float32) * sigma)
    return image + grain


def text(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Letters near the borders, as scanners and web sites print them."""
    grey = (np.clip(image, 0, 1) * 255).astype(np.uint8)  # putText draws on bytes only
    size = image.shape[0]
    for _ in range(rng.integers(1, 4)):
        words = "".join(rng.choice(list(string.ascii_letters + string.digits + "  :./-"), rng.integers(2, 16)))
        edge = int(rng.uniform(0.02, 0.12) * size)
        x = int(rng.uniform(0, 0.7) * size)
        y = edge if rng.random() < 0.5 else size - edge
        font, scale, level = int(rng.integers(0, 4)), rng.uniform(0.22, 0.6), int(rng.integers(128, 256))
        cv2.putText(grey, words, (x, y), font, scale, level)
    return grey.astype(np.float32) / 255


def marks(image: np.ndarray, rng: Rng) -> np.ndarray:
    """Arrows, rings, boxes, lines, crosses and letters anywhere, as people draw them on what they show; most white."""
    grey = (np.clip(image, 0, 1) * 255).astype(np.uint8)
    size = image.shape[0]
    level = 255 if rng.random() < 0.6 else int(rng.integers(256))
    width = int(rng.integers(1, max(2, size // 64) + 1))
    for kind in rng.choice(6, rng.integers(1, 5), p=(0.5, 0.12, 0.08, 0.08, 0.1, 0.12)):
        at = rng.uniform(0.1, 0.9, 2) * size
        angle, long = rng.uniform(0, 2 * np.pi), rng.uniform(0.04, 0.2) * size
        (x, y), (u, v) = at.astype(int), (at + long * np.array([np.cos(angle), np.sin(angle)])).astype(int)
        match kind:
            case 0:
                cv2.arrowedLine(grey, (u, v), (x, y), level, width, cv2.LINE_AA, 0, rng.uniform(0.2, 0.6))
            case 1:
                axes = (rng.uniform(0.3, 1, 2) * long).astype(int) + 1
                cv2.ellipse(grey, (x, y), axes, np.rad2deg(angle), 0, 360, level, width, cv2.LINE_AA)
            case 2:
                cv2.rectangle(grey, (x, y), (u, v), level, width)
            case 3:
                cv2.line(grey, (x, y), (u, v), level, width, cv2.LINE_AA)
            case 4:
                cv2.drawMarker(grey, (x, y), level, int(rng.integers(0, 7)), max(3, int(long / 2)), width, cv2.LINE_AA)
            case 5:
                words = "".join(rng.choice(list(string.ascii_letters + string.digits + "*+"), rng.integers(1, 5)))
                cv2.putText(grey, words, (x, y), int(rng.integers(0, 4)), rng.uniform(0.3, 0.9), level, width)
    return grey.astype(np.float32) / 255


def jpeg(image: np.ndarray, rng: Rng) -> np.ndarray:
    grey = (np.clip(image, 0, 1) * 255).astype(np.uint8)
    _, data = cv2.imencode(".jpg", grey, (cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(15, 90))))
    return cv2.imdecode(data, cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255


def cut_out(image: np.ndarray, rng: Rng) -> np.ndarray:
    image = image.copy()
    size = image.shape[0]
    height, width = rng.integers(size // 12, size // 4, 2)
    y, x = rng.integers(0, size - height), rng.integers(0, size - width)
    image[y : y + height, x : x + width] = rng.random()
    return image


def match_histogram(image: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The grey levels of `other` in the order of `image`: takes away a source's typical contrast."""
    quantiles = np.linspace(0, 1, 33)
    return np.interp(image, np.quantile(image, quantiles) + quantiles * 1e-4, np.quantile(other, quantiles)).astype(
        np.float32
    )


CHAIN: tuple[tuple[float, Callable[[np.ndarray, Rng], np.ndarray]], ...] = (
    (0.25, window),
    (0.25, gamma),
    (0.25, tone_curve),
    (0.12, invert_foreground),
    (0.3, bias_field),
    (0.25, contrast),
    (0.3, lower_resolution),
    (0.15, blur),
    (0.15, sharpen),
    (0.3, noise),
    (0.2, text),
    (0.4, jpeg),
    (0.15, cut_out),
)
# Where thin structures and their grey levels are the evidence (discs): nothing that would wipe it out.
GENTLE = (
    (0.25, window),
    (0.15, gamma),
    (0.25, bias_field),
    (0.2, contrast),
    (0.1, blur),
    (0.1, sharpen),
    (0.15, noise),
    (0.15, text),
    (0.3, jpeg),
)


def augment(
    image: np.ndarray,
    mask: np.ndarray,
    size: int,
    rng: Rng,
    other: np.ndarray | None = None,
    *,
    gentle: bool = False,
    lying: float = LYING,
    marked: float = 0.0,
) -> tuple[np.ndarray, np.ndarray]:
    """image (H, W) float32, mask (H, W) uint8 → both (size, size); `other` lends its histogram.

    lying, marked: the shares of images that lie, and that are drawn on.
    """
    if other is not None:
        image = match_histogram(image, other)
    image, mask = place(image, mask, size, rng, lying=lying)
    if marked and rng.random() < marked:
        image = marks(image, rng)
    for probability, step in GENTLE if gentle else CHAIN:
        if rng.random() < probability:
            image = np.clip(step(image, rng), 0, 1)
    return np.ascontiguousarray(image, np.float32), mask


def transplant(
    image: np.ndarray, donor: np.ndarray, region: np.ndarray, rng: Rng, *, least: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Blend `donor` inside `region` into `image` at the same relative place, its contrast fitted to the recipient.

    image (H, W), donor and region (h, w); returns the image and the blended outline (H, W) uint8, which is empty
    where the region would fall outside the recipient's head. least: what is blended has between this and all of its
    size, log-uniform.
    """
    shape = image.shape[::-1]
    donor = cv2.resize(donor, shape, interpolation=cv2.INTER_AREA)
    region = cv2.resize(region, shape, interpolation=cv2.INTER_NEAREST)
    if least < 1:
        donor, region = shrink(donor, region, np.exp(rng.uniform(np.log(least), 0)))
    inside = region > 0
    if inside.sum() < 20 or np.mean(image[inside] > 0.1) < 0.9:
        return image, np.zeros(image.shape, np.uint8)
    ring = (cv2.dilate(region, np.ones((15, 15), np.uint8)) > 0) & ~inside
    spread = image[ring].std() / max(donor[ring].std(), 0.02)
    fitted = (donor - donor[ring].mean()) * np.clip(spread, 0.5, 2) * rng.uniform(0.7, 1.3) + image[ring].mean()
    if rng.random() < 0.3:  # lesions are darker than tissue on other sequences
        fitted = 2 * image[ring].mean() - fitted
    alpha = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), max(1.0, 0.012 * max(shape)))
    return np.clip(image + alpha * (fitted - image), 0, 1, dtype=np.float32), region


def shrink(donor: np.ndarray, region: np.ndarray, factor: float) -> tuple[np.ndarray, np.ndarray]:
    """donor (H, W) float32 and region (H, W) uint8, scaled by a factor below 1 around the region's middle."""
    left, top, width, height = cv2.boundingRect(region)
    affine = cv2.getRotationMatrix2D((left + width / 2, top + height / 2), 0, factor)
    soft = cv2.GaussianBlur(donor, (0, 0), 0.4 / factor)  # warpAffine has no antialiasing
    return (
        cv2.warpAffine(soft, affine, donor.shape[::-1], borderMode=cv2.BORDER_REPLICATE),
        cv2.warpAffine(region, affine, donor.shape[::-1], flags=cv2.INTER_NEAREST),
    )
