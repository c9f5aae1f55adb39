"""JPEG Lossless (T.81, process 14), the usual compression of PACS exports -> stored values, in numpy alone.

The decoders that exist for it are C++ libraries which end the whole process on hostile bytes, or copyleft. Huffman
codes are sequential, so every bit position is looked up at once and only the walk from code to code is a loop.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_CHUNK = 1 << 16  # bytes whose bit positions are looked up at a time
_INTERVALS = 4096  # restart intervals of a frame; encoders write a few rows in each, and each costs a tenth of a ms
_AHEAD = 8  # bytes that a code and its extra bits may reach beyond their first byte, rounded up
_RESTART = re.compile(rb"\xff[\xd0-\xd7]")
_END = re.compile(rb"\xff[^\x00\xd0-\xd7]")
_SOF3, _DHT, _SOS, _DRI = 0xC3, 0xC4, 0xDA, 0xDD
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, 0xCC}

_Table = tuple[np.ndarray, np.ndarray, np.ndarray]

_GUESS = {
    2: lambda left, up, corner: up,
    3: lambda left, up, corner: corner,
    4: lambda left, up, corner: left + up - corner,
    5: lambda left, up, corner: left + (up - corner >> 1),
    6: lambda left, up, corner: up + (left - corner >> 1),
    7: lambda left, up, corner: left + up >> 1,
}


@dataclass(frozen=True, slots=True)
class LosslessFrame:
    """What the headers say of one frame in one grey scan. predictor: 1 to 7; shift: low bits that were left out.

    restart: rows between two restart markers, 0 for none. table: 16-bit window -> (code length, category, bits of the
    code and of what follows it). entropy: the coded bytes.
    """

    rows: int
    columns: int
    precision: int
    predictor: int
    shift: int
    restart: int
    table: _Table
    entropy: bytes


def parse(data: bytes) -> LosslessFrame:
    """Headers of a codestream; ValueError or struct.error for any that isn't one grey image of process 14."""
    size, interval, tables = None, 0, {}
    for marker, body, end in _segments(data):
        if marker == _DHT:
            tables |= _tables(body)
        elif marker == _DRI:
            interval = struct.unpack(">H", body)[0]
        elif marker in _FRAMES:
            precision, rows, columns, samples = struct.unpack_from(">BHHB", body)
            if marker != _SOF3 or samples != 1 or not 2 <= precision <= 16 or size or not rows * columns:
                raise ValueError(f"frame of process {marker:#x}, {samples} samples, {precision} bits")
            size = rows, columns, precision
        elif marker == _SOS:
            samples, _, table, predictor, _, shift = struct.unpack(">6B", body)
            if not size or samples != 1 or not 1 <= predictor <= 7 or shift & 15 >= size[2] or interval % size[1]:
                raise ValueError(f"scan of {samples} samples, predictor {predictor}, restart every {interval} pixels")
            restart = interval // size[1]
            if restart and size[0] > restart * _INTERVALS:
                raise ValueError("too many restart intervals")
            stop = _END.search(data, end)
            entropy = data[end : stop.start() if stop else len(data)]
            return LosslessFrame(*size, predictor, shift & 15, restart, _spread(*tables[table >> 4]), entropy)
    raise ValueError("no scan")


def decode(frame: LosslessFrame) -> np.ndarray:
    """(rows, columns) uint16. Raises ValueError for codes that no table has and for data that end early."""
    height = frame.restart or frame.rows
    tops = range(0, frame.rows, height)
    pieces = _RESTART.split(frame.entropy, len(tops)) if frame.restart else [frame.entropy]
    if len(pieces) < len(tops):
        raise ValueError(f"{len(pieces)} of {len(tops)} restart intervals")
    values = np.empty((frame.rows, frame.columns), np.uint16)
    for top, piece in zip(tops, pieces, strict=False):
        rows = min(height, frame.rows - top)
        differences = _differences(piece.replace(b"\xff\0", b"\xff"), frame.table, rows * frame.columns)
        values[top : top + rows] = _predicted(
            differences.reshape(rows, frame.columns), frame.predictor, 1 << (frame.precision - frame.shift - 1)
        )
    return (values << frame.shift) & np.uint16((1 << frame.precision) - 1)


def _segments(data: bytes) -> Iterator[tuple[int, bytes, int]]:
    """(marker, body, where the next begins) up to the first that is damaged."""
    if not data.startswith(b"\xff\xd8"):
        raise ValueError("no start of image")
    at = 2
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            raise ValueError("no marker where one should be")
        if data[at + 1] == 0xFF:  # a fill byte
            at += 1
            continue
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + 2 + length
        if length < 2 or end > len(data):
            raise ValueError("a segment beyond the end")
        yield data[at + 1], data[at + 4 : end], end
        at = end


def _tables(body: bytes) -> dict[int, tuple[bytes, bytes]]:
    """Huffman tables by number: (how many codes have 1, 2, ... 16 bits, their categories)."""
    found, at = {}, 0
    while at < len(body):
        counts = body[at + 1 : at + 17]
        categories = body[at + 17 : at + 17 + sum(counts)]
        if len(counts) != 16 or len(categories) != sum(counts) or max(categories, default=0) > 16:
            raise ValueError("a Huffman table of another kind")
        found[body[at] & 15] = counts, categories
        at += 17 + len(categories)
    return found


def _spread(counts: bytes, categories: bytes) -> _Table:
    """A Huffman table over all 16-bit windows; those that start with no code have length 0, and bits 1."""
    lengths, values = np.zeros(1 << 16, np.uint8), np.zeros(1 << 16, np.uint8)
    start, k = 0, 0
    for length, count in enumerate(counts, 1):
        for category in categories[k : k + count]:
            stop = start + (1 << (16 - length))
            if stop > 1 << 16:
                raise ValueError("more Huffman codes than there are")
            lengths[start:stop], values[start:stop] = length, category
            start = stop
        k += count
    bits = lengths + np.where(values < 16, values, 0)
    return lengths, values, np.maximum(bits, 1)  # without a code the walk goes on, and the check in `_read` ends it


def _differences(entropy: bytes, table: _Table, count: int) -> np.ndarray:
    """`count` differences, int32: a code says how many bits follow, those are the value (T.81, F.1.2.1 and H.1.2.2)."""
    steps = table[2]
    octets = np.frombuffer(entropy + bytes(_AHEAD), np.uint8)
    found, done, bit = np.empty(count, np.int32), 0, 0
    for first in range(0, len(entropy), _CHUNK):
        piece = octets[first : first + _CHUNK + _AHEAD]
        size = len(piece) - _AHEAD
        at = _walk(steps[_windows(piece, size)].tobytes(), bit, count - done)
        bit = int(at[-1] + steps[_window(piece, at[-1:])[0]]) if len(at) else bit
        done += _read(piece, at, table, found[done:])
        if done == count:
            if bit > 8 * size + 8 * max(0, len(entropy) - first - size):
                raise ValueError("the data end within a code")
            return found
        bit -= 8 * size
    raise ValueError(f"{done} of {count} pixels")


def _walk(steps: bytes, bit: int, most: int) -> np.ndarray:
    """Bit positions of the codes in one chunk, at most `most`."""
    at: list[int] = []
    end = len(steps)
    while bit < end:
        at.append(bit)
        bit += steps[bit]
    return np.array(at[:most], np.int64)


def _windows(piece: np.ndarray, size: int) -> np.ndarray:
    """(8 * size,) the 16 bits from every bit position on."""
    wide = piece[: size + 2].astype(np.uint32)
    wide = wide[:-2] << 16 | wide[1:-1] << 8 | wide[2:]
    return (wide[:, None] >> np.arange(8, 0, -1, dtype=np.uint32) & 0xFFFF).ravel()


def _window(piece: np.ndarray, at: np.ndarray) -> np.ndarray:
    return _ahead(piece, at) >> 24 & 0xFFFF


def _ahead(piece: np.ndarray, at: np.ndarray) -> np.ndarray:
    """40 bits from each position on (the last 7 of them may be zero), int64."""
    first = at >> 3
    wide = np.zeros(len(at), np.int64)
    for k in range(5):
        wide |= piece[first + k].astype(np.int64) << (32 - 8 * k)
    return wide << (at & 7) & 0xFFFFFFFFFF


def _read(piece: np.ndarray, at: np.ndarray, table: _Table, into: np.ndarray) -> int:
    """Write the differences of the codes at these positions; how many they are."""
    wide = _ahead(piece, at)
    lengths, categories, bits = (part[wide >> 24 & 0xFFFF].astype(np.int64) for part in table)
    if not lengths.all():
        raise ValueError("a code that the table does not have")
    low = wide >> (40 - bits) & (1 << categories) - 1
    half = 1 << np.maximum(categories - 1, 0)
    values = np.where(low < half, low - (1 << categories) + 1, low)
    into[: len(at)] = np.where(categories < 16, values, 1 << 15)
    return len(at)


def _predicted(differences: np.ndarray, predictor: int, start: int) -> np.ndarray:
    """Undo the prediction (T.81, H.1.2.1); uint16, modulo 2^16. The first row looks left, the first column up."""
    values = differences.astype(np.uint16)
    values[0, 0] = (int(values[0, 0]) + start) & 0xFFFF
    values[:, 0] = np.cumsum(values[:, 0], dtype=np.uint16)
    if predictor == 1:
        return np.cumsum(values, axis=1, dtype=np.uint16, out=values)
    values[0] = np.cumsum(values[0], dtype=np.uint16)
    rows, columns = values.shape
    flat, step = values.reshape(-1), columns - 1
    for diagonal in range(2, rows + columns - 1):  # pixels whose row and column add up to this depend on earlier ones
        top, bottom = max(1, diagonal - columns + 1), min(rows - 1, diagonal - 1)
        if top <= bottom:
            first, last = diagonal + top * step, diagonal + bottom * step + 1
            near = (flat[first - back : last - back : step].astype(np.int32) for back in (1, columns, columns + 1))
            flat[first:last:step] += _GUESS[predictor](*near).astype(np.uint16)
    return values
