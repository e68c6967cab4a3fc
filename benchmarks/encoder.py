"""What does a user vector cost?

The exported user tower (untrained: weights do not matter to time) in ONNX Runtime, without torch:
one shopper with 50 events on one thread, as a request asks for it, and a batch of 10,000 shoppers,
as a nightly run would. Beside it the physical limit: the least time in which NumPy does the
multiplications of its blocks and head alone.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import numpy as np
import onnxruntime
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from vitrina.encoding import EncodedBatch
from vitrina.space import normalise
from vitrina.towers.export import encoder_inputs, export_user_tower
from vitrina.towers.user_tower import MEAN_DECAYS_PER_DAY, UserTower

ITEMS, EVENTS, DIM, EVENT_TYPES = 10_000, 50, 64, 7
SHOPPERS, CHUNK, REQUESTS = 10_000, 250, 3_000
BLOCKS: Final = (1, 2)


def main() -> None:
    argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    ).parse_args()
    rng = np.random.default_rng(0)
    vectors = normalise(rng.standard_normal((ITEMS, DIM)))
    shown = Table(title=f"{EVENTS} events, dim {DIM}, one thread")
    for heading in ("blocks", "one shopper, p50 µs", "p99 µs", "× products alone", "shoppers/s"):
        shown.add_column(heading, justify="right")
    for blocks in BLOCKS:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "user_tower.onnx"
            tower = UserTower(DIM, EVENT_TYPES, blocks=blocks, sequential=True).eval()
            export_user_tower(tower, path, vectors, histories(rng, 8))
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        one = encoder_inputs(vectors, histories(rng, 1))
        times = clocked(lambda: session.run(None, one), REQUESTS)  # noqa: B023
        with threadpool_limits(1):
            floor = np.median(clocked(products(rng, blocks), REQUESTS))
        batches = [histories(rng, CHUNK) for _ in range(SHOPPERS // CHUNK)]
        started = time.perf_counter()
        for batch in batches:
            session.run(None, encoder_inputs(vectors, batch))
        rate = SHOPPERS / (time.perf_counter() - started)
        p50, p99 = np.percentile(times, [50, 99])
        shown.add_row(str(blocks), f"{p50:.0f}", f"{p99:.0f}", f"{p50 / floor:.1f}", f"{rate:,.0f}")
    Console().print(shown)


def histories(rng: np.random.Generator, count: int) -> EncodedBatch:
    days = np.sort(rng.exponential(30, (count, EVENTS)).astype(np.float32), axis=1)[:, ::-1]
    return EncodedBatch(
        rows=rng.integers(ITEMS, size=(count, EVENTS)),
        event_types=rng.integers(EVENT_TYPES, size=(count, EVENTS)),
        days=days - days[:, -1:],
        mask=np.ones((count, EVENTS), np.bool_),
    )


def products(rng: np.random.Generator, blocks: int) -> Callable[[], None]:
    """The matrix products for one shopper: input, keys and values, and what the newest event needs.

    Blocks but the last are computed for all events.
    """
    x, newest = rng.standard_normal((EVENTS, DIM)), rng.standard_normal((1, DIM))
    x, newest = x.astype(np.float32), newest.astype(np.float32)
    shapes = [(x, (DIM, DIM))]
    for block in range(blocks):
        all_of = x if block < blocks - 1 else newest
        wide = np.repeat(all_of, 2, axis=1)
        shapes += [(x, (DIM, 2 * DIM)), (all_of, (DIM, DIM)), (all_of, (DIM, DIM))]
        shapes += [(all_of, (DIM, 2 * DIM)), (wide, (2 * DIM, DIM))]
    head = np.repeat(newest, 1 + len(MEAN_DECAYS_PER_DAY), axis=1)
    shapes += [(head, (head.shape[1], 2 * DIM)), (np.repeat(newest, 2, axis=1), (2 * DIM, DIM))]
    pairs = [(left, rng.standard_normal(shape).astype(np.float32)) for left, shape in shapes]

    def multiply() -> None:
        for left, right in pairs:
            left @ right

    return multiply


def clocked(call: Callable[[], object], times: int) -> np.ndarray:
    """Microseconds of each of `times` calls, after a tenth as many to warm up."""
    for _ in range(times // 10):
        call()
    found = np.empty(times)
    for place in range(times):
        started = time.perf_counter_ns()
        call()
        found[place] = (time.perf_counter_ns() - started) / 1e3
    return found


if __name__ == "__main__":
    main()
