"""A JPEG Lossless encoder for the tests (T.81, process 14, selection value 1), independent of any decoder."""

from __future__ import annotations

import struct

import numpy as np

_LENGTH = 5  # bits of each of 17 Huffman codes, so that code and category are the same number


def jpeg_lossless(pixels: np.ndarray, precision: int | None = None, predictor: int = 1, restart: int = 0) -> bytes:
    """(rows, columns) unsigned 8 or 16 bits -> codestream; restart: rows between two restart markers, 0 for none."""
    precision = precision or 8 * pixels.itemsize
    rows, columns = pixels.shape
    height = restart or rows
    pieces = [
        _entropy(_differences(pixels[top : top + height].astype(np.int64), predictor, 1 << (precision - 1)))
        for top in range(0, rows, height)
    ]
    table = bytes([0, *([0] * (_LENGTH - 1)), 17, *([0] * (16 - _LENGTH)), *range(17)])
    return b"".join(
        [
            b"\xff\xd8" + _segment(0xC4, table),
            _segment(0xC3, struct.pack(">BHHB", precision, rows, columns, 1) + b"\1\x11\0"),
            _segment(0xDD, struct.pack(">H", restart * columns)) if restart else b"",
            _segment(0xDA, bytes([1, 1, 0, predictor, 0, 0])),
            *(piece + bytes([0xFF, 0xD0 + i % 8]) for i, piece in enumerate(pieces[:-1])),
            pieces[-1] + b"\xff\xd9",
        ]
    )


def _differences(values: np.ndarray, predictor: int, start: int) -> np.ndarray:
    guess = np.empty_like(values)
    left, up, corner = values[1:, :-1], values[:-1, 1:], values[:-1, :-1]
    guess[1:, 1:] = [
        left,
        up,
        corner,
        left + up - corner,
        left + ((up - corner) >> 1),
        up + ((left - corner) >> 1),
        (left + up) >> 1,
    ][predictor - 1]
    guess[0, 1:], guess[1:, 0], guess[0, 0] = values[0, :-1], values[:-1, 0], start
    return (values - guess).ravel()


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def _entropy(differences: np.ndarray) -> bytes:
    bits = []
    for difference in ((differences + 32768) % 65536 - 32768).tolist():
        category = abs(difference).bit_length()
        bits.append(f"{category:0{_LENGTH}b}")
        if category not in (0, 16):
            low = difference if difference > 0 else difference + (1 << category) - 1
            bits.append(f"{low:0{category}b}")
    text = "".join(bits)
    text += "1" * (-len(text) % 8)
    return int(text, 2).to_bytes(len(text) // 8, "big").replace(b"\xff", b"\xff\0")
