"""Memory given back: glibc keeps what threads have freed, gigabytes of it after some maps, unless told otherwise."""

from __future__ import annotations

import ctypes
from functools import cache

_M_ARENA_MAX, _ARENAS = -8, 2  # of malloc.h; by default every thread of a server may get a heap of its own


@cache
def _libc() -> ctypes.CDLL | None:
    """glibc, where that is what this machine runs on."""
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return None
    return libc if hasattr(libc, "malloc_trim") and hasattr(libc, "mallopt") else None


def share_heaps() -> None:
    """Let all threads share two heaps; to be called before a server starts any."""
    if libc := _libc():
        libc.mallopt(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Return what is free to the machine, in milliseconds; worth it after work that took hundreds of megabytes."""
    if libc := _libc():
        libc.malloc_trim(0)
