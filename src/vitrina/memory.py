"""Memory that a process has freed and still holds."""

from __future__ import annotations

import ctypes


def give_back_free_memory() -> None:
    """Return to the system what this process has freed, where its C library does so when asked.

    glibc keeps what lies free between blocks in use. Takes milliseconds, and the time to get the
    pages again.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # other C libraries have none
    if trim is not None:
        trim(0)
