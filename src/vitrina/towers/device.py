"""Where towers are trained, and how precisely."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec

import torch
from torch import nn


def training_device() -> torch.device:
    """A CUDA device if there is one, this process's own under torchrun; otherwise the CPU.

    CUDA_VISIBLE_DEVICES says which may be used; empty, it keeps training on the CPU.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


def device_of(module: nn.Module) -> torch.device:
    """Where a module's parameters are."""
    return next(module.parameters()).device


def mixed_precision(device: torch.device) -> torch.autocast:
    """Matrix products in bfloat16, on GPUs that multiply it; weights and losses stay float32.

    bfloat16 has the range of float32, so losses need no scaling (Kalamkar et al., "A Study of
    BFLOAT16 for Deep Learning Training", 2019).
    """
    able = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, torch.bfloat16, enabled=able)


def compiler_pays(device: torch.device) -> bool:
    """On a GPU that torch can compile for. On a CPU, compiling takes longer than it saves."""
    return device.type == "cuda" and find_spec("triton") is not None


@contextmanager
def compiled(modules: Iterable[nn.Module]) -> Iterator[None]:
    """Run modules compiled, for inputs of any shape; after the block they are as they were."""
    modules = list(modules)
    for module in modules:
        module.forward = torch.compile(module.forward, dynamic=True)
    try:
        yield
    finally:
        for module in modules:
            del module.forward
