"""Memory given back: what threads have freed, which glibc would keep, and what visitors sent, which Gradio would."""

from __future__ import annotations

import ctypes
from functools import cache

import gradio
from gradio.state_holder import SessionState

_M_ARENA_MAX, _ARENAS = -8, 2  # of malloc.h; by default every thread of a server may get a heap of its own
_HOLD = "_update_value_in_config"  # of Gradio's sessions: what each component took or showed last, for deep links


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


def hold_no_values() -> None:
    """Let sessions keep nothing but their `gr.State`: pictures, reports and answers go when they were sent."""
    if not hasattr(SessionState, _HOLD):
        raise RuntimeError(f"Gradio {gradio.__version__} holds visitors' values in a way that is not known here.")
    setattr(SessionState, _HOLD, lambda session, component, value: None)
