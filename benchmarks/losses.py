"""What does a loss cost, and in how much memory, next to torch's cross-entropy of all scores?

Random unit vectors, 64 numbers each; states in batches of 2,048, as in training. Each loss has a
process of its own:

    cross_entropy             torch's, of the matrix of all scores, in float32
    cross_entropy, bfloat16   the same, the matrix multiplied in bfloat16
    full_softmax              the fused one
    shared_softmax, K         a sample of K negatives

and is timed with its gradients, at its best of several batches. Memory is what the process holds at
most beyond what it held before the first batch. OMP_NUM_THREADS sets the threads.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

CATALOGS = (10_000, 50_000)
DIM = 64
BATCH = 2_048
TEMPERATURE = 0.07
SHOWN_ROWS = 100_000
PEER = "cross_entropy"
LOSSES = (
    PEER,
    "cross_entropy, bfloat16",
    "full_softmax",
    "shared_softmax, 256",
    "shared_softmax, 4096",
)


@dataclass(frozen=True, slots=True)
class Cost:
    """seconds: of SHOWN_ROWS rows. peak_mb: added by a batch, at most."""

    seconds: float
    peak_mb: float


def main() -> None:
    options = parse_options()
    if options.child:
        print(json.dumps(measure(options.child, options.items, options.repeat)))
        return
    for items in CATALOGS:
        costs = {loss: run(loss, items, options.repeat) for loss in LOSSES}
        Console().print(table(items, costs))


def table(items: int, costs: dict[str, Cost]) -> Table:
    shown = Table(title=f"{items:,} items, {SHOWN_ROWS:,} states in batches of {BATCH:,}")
    for heading in ("loss and gradients", "seconds", "x peer", "peak MB", "x peer"):
        shown.add_column(heading, justify="left" if " and " in heading else "right")
    peer = costs[PEER]
    for loss, cost in costs.items():
        shown.add_row(
            loss,
            f"{cost.seconds:.2f}",
            f"{cost.seconds / peer.seconds:.3f}",
            f"{cost.peak_mb:,.0f}",
            f"{cost.peak_mb / peer.peak_mb:.3f}",
        )
    return shown


def run(loss: str, items: int, repeat: int) -> Cost:
    """Measure one loss in a process of its own; this one never loads torch, whose memory would
    show up in the child's."""
    command = [sys.executable, __file__, "--child", loss]
    command += ["--items", str(items), "--repeat", str(repeat)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"'{loss}' ended with {done.returncode}.")
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


def measure(loss: str, items: int, repeat: int) -> dict[str, float]:
    import torch
    import torch.nn.functional as F  # noqa: N812

    from vitrina.towers.losses import full_softmax, mixed_log_q, shared_softmax

    torch.manual_seed(0)
    user = F.normalize(torch.randn(BATCH, DIM), dim=1).requires_grad_()
    catalog = F.normalize(torch.randn(items, DIM), dim=1).requires_grad_()
    scale = torch.tensor(1 / TEMPERATURE, requires_grad=True)
    targets, weights = torch.randint(items, (BATCH,)), torch.ones(BATCH)
    name, _, detail = loss.partition(", ")

    def value() -> Any:
        if name == "full_softmax":
            return full_softmax(user, catalog, targets, scale, weights)
        if name == "shared_softmax":
            negatives = torch.randint(items, (int(detail),))
            log_q = mixed_log_q(torch.ones(items), in_batch=0, uniform=int(detail))
            return shared_softmax(
                user, catalog, targets, negatives, log_q, scale, weights, correction="refined"
            )
        factors = torch.bfloat16 if detail else torch.float32
        scores = (user.to(factors) @ catalog.to(factors).T).float()
        return F.cross_entropy(scale * scores, targets)

    before, best = peak_mb(), float("inf")
    for _ in range(repeat + 1):  # the first one warms up, and shows the memory
        start = time.perf_counter()
        value().backward()
        best = min(best, time.perf_counter() - start)
        user.grad = catalog.grad = scale.grad = None
    return {"seconds": best * SHOWN_ROWS / BATCH, "peak_mb": peak_mb() - before}


def peak_mb() -> float:
    """The most that this process has held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repeat", type=int, default=8, help="batches measured, the best counts")
    parser.add_argument("--child", choices=LOSSES, help=argparse.SUPPRESS)
    parser.add_argument("--items", type=int, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
