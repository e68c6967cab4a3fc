"""Memory that is free goes back to the system."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import pytest

from vitrina.towers.memory import give_back_all_free_memory

BLOCK, BLOCKS = 100_000, 1_000


@pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="a C library that is not glibc"
)
def test_what_lies_free_between_blocks_in_use_goes_back() -> None:
    blocks = [b"x" * BLOCK for _ in range(BLOCKS)]
    del blocks[::2]
    before = resident()
    give_back_all_free_memory()
    assert before - resident() > 0.3 * BLOCK * BLOCKS
    assert len(blocks) == BLOCKS // 2  # in use until here


def resident() -> int:
    """Bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
