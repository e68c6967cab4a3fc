"""Training in several processes at once, as torchrun starts them.

Every process, called a rank, draws the same batches and computes its part of each; losses and
gradients are added up, so that all take the same step as one process with the whole batch would.
Outside `joined`, there is one rank, and nothing here does anything.

Gradients are added by hand, in one buffer, and not by DistributedDataParallel: that hangs on the
forward pass of one module, and a step here calls two towers, one of them by `states`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from vitrina.errors import TrainingError
from vitrina.towers.device import training_device

T = TypeVar("T")


def count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def number() -> int:
    """Which of them this one is, from 0."""
    return dist.get_rank() if dist.is_initialized() else 0


def first() -> bool:
    """Whether this is the one that writes and speaks for all."""
    return number() == 0


def expected() -> int:
    """How many processes torchrun has started: 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in os.environ else 1


@contextmanager
def joined() -> Iterator[None]:
    """Join the processes that torchrun has started, for the length of the block.

    Over NCCL where each has a GPU of its own, over gloo where they have none. Raises TrainingError
    when the others cannot be reached.
    """
    if expected() == 1 or dist.is_initialized():
        yield
        return
    device = training_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    with _others():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        dist.destroy_process_group()


def wait() -> None:
    """Until all ranks have come here."""
    same(None)


def same(value: T) -> T:
    """The first rank's value, on all of them."""
    values = [value]
    if count() > 1:
        with _others():
            dist.broadcast_object_list(values, src=0)
    return values[0]


def every(value: T) -> list[T]:
    """Each rank's value, in their order."""
    values = [value] * count()
    if count() > 1:
        with _others():
            dist.all_gather_object(values, value)
    return values


def once(work: Callable[[], T]) -> T:
    """What `work` returns on the first rank, on all of them; the others do nothing meanwhile."""
    return same(work()) if first() else same(None)  # type: ignore[return-value]


def add_up(tensor: Tensor) -> Tensor:
    """The sum of a tensor over all ranks, in place."""
    if count() > 1:
        with _others():
            dist.all_reduce(tensor)
    return tensor


def share_state(module: nn.Module) -> None:
    """Give all ranks the first one's weights and buffers: machines round differently."""
    if count() > 1:
        with _others():
            for value in module.state_dict().values():
                dist.broadcast(value, src=0)


def mean(rows: Tensor) -> Tensor:
    """The mean of all ranks' rows: [n, width], each rank's own n, → [width]."""
    if count() == 1:
        return rows.mean(0)
    sums = torch.cat([rows.sum(0), rows.new_tensor([len(rows)])])
    add_up(sums)
    return sums[:-1] / sums[-1]


def add_up_gradients(parameters: Iterable[nn.Parameter], loss: Tensor) -> float:
    """Replace gradients by their sums over all ranks; returns the sum of the losses."""
    if count() == 1:
        return loss.item()
    gradients = [p.grad for p in parameters if p.grad is not None]
    total = torch.cat([loss.detach().reshape(1), *(gradient.flatten() for gradient in gradients)])
    add_up(total)
    pieces = torch.split(total[1:], [gradient.numel() for gradient in gradients])
    for gradient, piece in zip(gradients, pieces, strict=True):
        gradient.copy_(piece.view_as(gradient))
    return total[0].item()


@contextmanager
def _others() -> Iterator[None]:
    """Say what it means when the other ranks do not answer."""
    try:
        yield
    except RuntimeError as error:
        raise TrainingError(
            f"Process {os.environ.get('RANK', '?')} of the {expected()} that train together cannot "
            f"reach the others: one has ended, and said why, or cannot be connected to. Nothing "
            f"was written; the same command goes on from the last checkpoint. "
            f"({str(error).splitlines()[0]})"
        ) from error
