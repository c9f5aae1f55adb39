"""KneeMRI's .pck files: pickled arrays, read without ever letting a pickle run anything.

A pickle is a program. This one may name the five parts of a pickled numpy array and nothing else, and gets stand-ins
written here for them, which check what they are told: not even numpy's own unpickling sees the file's content.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mri_models.errors import DataError

MAX_BYTES = 512 * 2**20
NUMBERS = "iuf"  # kinds of dtype; "O" would let objects in
ORDERS = {"<", ">", "|", "="}


def read_array(path: Path) -> np.ndarray:
    """The (D, H, W) array of numbers in a .pck file, read-only.

    Raises DataError for anything else that a pickle may hold, and for damaged or oversized files.
    """
    if path.stat().st_size > MAX_BYTES:
        raise DataError("bad_volume", f"{path} is larger than {MAX_BYTES >> 20} MB; a knee volume has a few.")
    try:
        found = ArraysOnly(io.BytesIO(path.read_bytes()), encoding="latin1").load()  # Python 2 wrote some of them
    except DataError as error:
        raise DataError(error.code, f"{path}: {error.message}") from error
    except Exception as error:  # a pickle can be broken in as many ways as Python can raise
        raise DataError("bad_volume", f"{path} can't be read as a pickled array ({type(error).__name__}).") from error
    array = found.values if isinstance(found, _Array) else None
    if array is None or array.ndim != 3 or not array.size:
        raise DataError("bad_volume", f"{path} holds no array (slices, height, width) of numbers.")
    return array


class ArraysOnly(pickle.Unpickler):
    """Unpickles numpy arrays of numbers."""

    def find_class(self, module: str, name: str) -> Callable[..., Any] | str:
        """The stand-in for `module.name`; DataError unless that is part of a pickled array."""
        module = module.replace("numpy._core", "numpy.core")
        if (found := ADMITTED.get((module, name))) is None:
            raise DataError("unsafe_pickle", f"it asks for {module}.{name}, which is no part of an array; not opened.")
        return found


class _Type:
    """Stands for a dtype: a number's kind and size, then its byte order."""

    def __init__(self, code: str, *_flags: object):
        self.dtype = np.dtype(str(code))
        if self.dtype.kind not in NUMBERS:
            raise DataError("unsafe_pickle", f"it holds values of type {self.dtype}, not numbers; not opened.")

    def __setstate__(self, state: Sequence[Any]) -> None:
        if state[1] not in ORDERS:
            raise DataError("unsafe_pickle", f"its byte order is {state[1]!r}; not opened.")
        self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands for an ndarray; `values` once the pickle has told shape, type and content."""

    values: np.ndarray | None = None

    def __setstate__(self, state: Sequence[Any]) -> None:
        shape, kind, fortran, content = state[-4:]  # older pickles lack the version before them
        content = content.encode("latin1") if isinstance(content, str) else content
        self.values = _filled(content, kind, shape, "F" if fortran else "C")


def _filled(content: bytes, kind: _Type, shape: Sequence[int], order: str) -> np.ndarray:
    if not isinstance(content, bytes | bytearray) or not isinstance(kind, _Type):
        raise DataError("unsafe_pickle", f"it fills an array from {type(content).__name__}; not opened.")
    return np.frombuffer(bytes(content), kind.dtype).reshape(shape, order=order)


def _reconstruct(kind: str, _shape: object, _code: object) -> _Array:
    """How numpy begins to rebuild an array."""
    if kind != "ndarray":
        raise DataError("unsafe_pickle", f"it begins an array of type {kind!r}; not opened.")
    return _Array()


def _frombuffer(content: bytes, kind: _Type, shape: Sequence[int], order: str) -> _Array:
    """How protocol 5 writes an array."""
    found = _Array()
    found.values = _filled(content, kind, shape, order)
    return found


def _encode(text: str, encoding: str) -> bytes:
    """How Python 3 writes bytes into the older protocols."""
    if encoding != "latin1":
        raise DataError("unsafe_pickle", f"it encodes bytes as {encoding!r}; not opened.")
    return str(text).encode("latin1")


ADMITTED: dict[tuple[str, str], Callable[..., Any] | str] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy.core.numeric", "_frombuffer"): _frombuffer,
    ("numpy", "ndarray"): "ndarray",  # only ever an argument of the first; a word can't be called
    ("numpy", "dtype"): _Type,
    ("_codecs", "encode"): _encode,
}
