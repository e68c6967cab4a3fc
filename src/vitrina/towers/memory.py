"""Memory of a training: whether a catalog fits into it, and giving back what is free."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pyarrow as pa  # type: ignore[import-untyped]
import torch

from vitrina.errors import TrainingError
from vitrina.memory import give_back_free_memory
from vitrina.settings import TrainSettings
from vitrina.towers.device import training_device

FLOAT_BYTES: Final = 4
TRAINED_COPIES: Final = 5
"""Of a learnt number: itself, its gradient, AdamW's two moments, and its moving average."""
FIXED_COPIES: Final = 1
GIB: Final = 2**30
CGROUPS: Final = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    (
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory/memory.usage_in_bytes",
    ),
)
"""A container's limit and what it uses of it, of both versions of control groups."""


def require_memory(items: int, settings: TrainSettings, available: int | None = None) -> None:
    """Raise TrainingError unless what training keeps of each item's id fits into memory.

    That is the least a training needs; what a step computes comes on top. available: bytes; what
    is free where training happens, if not given.
    """
    free = available_bytes() if available is None else available
    copies = TRAINED_COPIES if settings.objective == "next_item" else FIXED_COPIES
    needed = items * settings.dim * FLOAT_BYTES * copies
    if needed <= free:
        return
    kept = "weights, gradients, two moments and an average" if copies > 1 else "factors"
    raise TrainingError(
        f"{items:,} items do not fit: their ids alone take {needed / GIB:,.1f} GiB in training "
        f"({kept}, {settings.dim} numbers each), and {free / GIB:,.1f} GiB are free. Take items "
        f"that nobody has met out of the catalog, set a smaller train.dim, or train where there is "
        f"more memory."
    )


def available_bytes() -> int:
    """Memory that this process can still get: of the GPU it would train on, or of the machine."""
    device = training_device()
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free)
    limits = (_left_of(Path(limit), Path(used)) for limit, used in CGROUPS)
    return min([_of_machine(), *(left for left in limits if left is not None)])


def give_back_all_free_memory() -> None:
    """Return to the system what this process has freed, what Arrow keeps of it, too.

    Arrow keeps what reading the lake took. Each step's tensors have other sizes than those of the
    step before and seldom fit into what those left, so that a training would come to hold several
    times what it uses. Costs the time to get pages again: not for every step.
    """
    pa.default_memory_pool().release_unused()
    give_back_free_memory()


def _of_machine() -> int:
    """Free memory and what the system can give up, where it says so; otherwise all there is."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    sizes = dict(line.split(":") for line in lines)
    return int(sizes["MemAvailable"].split()[0]) * 1024  # given in kB


def _left_of(limit: Path, used: Path) -> int | None:
    """What a container may still take; None where it has no limit."""
    try:
        return int(limit.read_text()) - int(used.read_text())
    except (OSError, ValueError):  # no such group, or "max"
        return None
