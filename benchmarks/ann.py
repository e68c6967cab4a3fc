"""What a recall of .99 costs: our indexes, FAISS's and ScaNN's, beside usearch and hnswlib.

python benchmarks/ann.py            # 1,000,000 items
python benchmarks/ann.py --quick    # 100,000 items
python benchmarks/ann.py --shop     # the items and shoppers of the generated shop of serving.py

Items lie around centres whose popularity falls as a power; a shopper is the mean of some items of
a few centres. One query at a time in one thread, 500 neighbours; every index at the setting that
reaches the promise soonest. Libraries that are not installed are left out and named.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, Final

import numpy as np
from rich.console import Console
from rich.table import Table

from vitrina.index.base import Effort, RowArray
from vitrina.index.recall import overlap
from vitrina.index.tuning import Measured, front, tune_index
from vitrina.space import EmbeddingSpace, FloatMatrix, Vectors, normalise
from vitrina.towers.index_front import index_front

DIM, K = 64, 500
SHOPPERS: Final = 400
PROMISE: Final = 0.99
BREADTHS: Final = (500, 600, 750, 1000, 1500, 2000, 3000, 4000)
"""Nodes that a graph search keeps: the parameter of the libraries that have no other."""
LINKS: Final = 32

Found = Callable[[FloatMatrix], RowArray]
"""One query [dim] → rows [k]."""


def clustered(items: int) -> tuple[Vectors, Vectors]:
    """Items and shoppers, unit vectors."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((max(items // 500, 20), DIM)).astype(np.float32)
    share = 1 / np.arange(1, len(centres) + 1)
    cluster = rng.choice(len(centres), items, p=share / share.sum())
    noise = rng.standard_normal((items, DIM), dtype=np.float32)
    values = normalise(centres[cluster] + 0.6 * noise)
    by = np.argsort(cluster, kind="stable")
    starts = np.searchsorted(cluster[by], np.arange(len(centres) + 1))
    tastes = rng.choice(len(centres), (SHOPPERS, 3), p=share / share.sum())
    met = np.take_along_axis(tastes, rng.choice(3, (SHOPPERS, 8), p=[0.6, 0.3, 0.1]), 1)
    sizes = np.maximum(np.diff(starts)[met], 1)
    rows = by[np.minimum(starts[met] + (rng.random(met.shape) * sizes).astype(int), items - 1)]
    space = EmbeddingSpace("items_vbench", DIM, "0" * 64)
    return Vectors(space, values), Vectors(space, normalise(values[rows].mean(axis=1)))


def generated_shop(items: int) -> tuple[Vectors, Vectors]:
    """Items and shoppers of `big_shop.BigShop`, as a server of serving.py meets them."""
    from big_shop import LAST_SHARE, BigShop

    shop = BigShop(items)
    met = shop.values[shop.histories(SHOPPERS, 8)]
    space = EmbeddingSpace("items_vshop", DIM, "0" * 64)
    shoppers = normalise(met.mean(axis=1) + LAST_SHARE * met[:, -1])
    return Vectors(space, shop.values), Vectors(space, shoppers)


def usearch_index(values: FloatMatrix) -> tuple[Callable[[int], None], Found]:
    module = import_module("usearch.index")
    index = module.Index(ndim=DIM, metric="ip", dtype="f16", connectivity=LINKS)
    index.add(np.arange(len(values)), values)

    def breadth(nodes: int) -> None:
        index.expansion_search = nodes

    return breadth, lambda query: np.asarray(index.search(query, K, threads=1).keys)


def hnswlib_index(values: FloatMatrix) -> tuple[Callable[[int], None], Found]:
    index: Any = import_module("hnswlib").Index(space="ip", dim=DIM)
    index.init_index(max_elements=len(values), ef_construction=200, M=LINKS)
    index.add_items(values)
    index.set_num_threads(1)
    return index.set_ef, lambda query: index.knn_query(query[None], k=K)[0][0]


PEERS: Final = {"usearch": usearch_index, "hnswlib": hnswlib_index}


def measure_peer(name: str, items: Vectors, shoppers: Vectors, truth: RowArray) -> list[Measured]:
    """Every breadth up to the first that keeps the promise."""
    breadth, find = PEERS[name](np.ascontiguousarray(items.values))
    measured: list[Measured] = []
    for nodes in BREADTHS:
        breadth(nodes)
        found, times = [], []
        for query in shoppers.values:
            started = time.perf_counter_ns()
            found.append(find(query))
            times.append((time.perf_counter_ns() - started) / 1e6)
        recall = overlap(np.array(found, np.int64), truth)
        p50, p99 = np.percentile(times, (50, 99))
        measured.append(Measured(name, Effort(nodes), recall, p50, p99, float("nan")))  # type: ignore[arg-type]
        if recall >= PROMISE:
            break
    return measured


def shown(measured: Sequence[Measured]) -> Table:
    best = front(measured)
    table = Table(title=f"{K} neighbours, one thread, one query at a time", title_justify="left")
    for column in ("index", "lists", "rescored", f"recall@{K}", "p50 ms", "p99 ms", "MB", ""):
        table.add_column(column, justify="left" if column in ("index", "") else "right")
    for one in measured:
        table.add_row(
            one.kind,
            f"{one.effort.lists:,}",
            f"{one.effort.rescored}",
            f"{one.recall:.4f}",
            f"{one.p50_ms:.3f}",
            f"{one.p99_ms:.3f}",
            "–" if np.isnan(one.megabytes) else f"{one.megabytes:,.0f}",
            "front" if one in best else "",
        )
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="100,000 items")
    parser.add_argument("--shop", action="store_true", help="the generated shop of serving.py")
    parser.add_argument("--picture", type=Path, help="where to draw the front (SVG)")
    asked = parser.parse_args()
    console = Console()
    items, shoppers = (generated_shop if asked.shop else clustered)(
        100_000 if asked.quick else 1_000_000
    )
    tuned = tune_index(items, shoppers, target=PROMISE, k=K, progress=console.log)
    measured = list(tuned.measured)
    # Exact search by hand: NumPy's, in parts that fit in memory.
    parts = [shoppers.values[at : at + 50] @ items.values.T for at in range(0, SHOPPERS, 50)]
    truth = np.concatenate([np.argpartition(-part, K - 1, axis=1)[:, :K] for part in parts])
    for name in PEERS:
        try:
            console.log(name)
            measured += measure_peer(name, items, shoppers, truth)
        except ModuleNotFoundError:
            console.print(f"{name} is not installed: left out.")
    console.print(shown(measured), *tuned.left_out)
    chosen = tuned.chosen
    console.print(
        f"{os.cpu_count()} cores. Chosen for {PROMISE}: {chosen.kind}, recall@{K} "
        f"{chosen.recall:.4f}, p50 {chosen.p50_ms:.3f} ms."
    )
    if asked.picture is not None:
        asked.picture.write_text(index_front(measured, chosen, PROMISE, K), encoding="utf-8")


if __name__ == "__main__":
    main()
