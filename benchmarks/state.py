"""What the event log takes: durable events a second, alone and in batches, and what sharing costs.

    python benchmarks/state.py [--seconds S] [--postgres URL --redis URL] [--json FILE]

The embedded store is measured in a new file (in --folder: a disk's own figure, not a RAM disk's),
each line beside one transaction an append, which is what group commit replaces, in the same run.
Clients are threads of this process: it is all one core, the clients' work included. With
--postgres, the shared store too; with --redis, how long an event takes from its acknowledgement by
one process to the history that another reads.
"""

from __future__ import annotations

import argparse
import itertools
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from vitrina.schema import Event
from vitrina.settings import PathSettings, Settings, StateSettings
from vitrina.state.base import State
from vitrina.state.opening import open_state

SHOPPERS = 1_000
CLIENTS = 16
BATCH = 50

Append = Callable[[Sequence[Event]], int]


@dataclass(frozen=True)
class Rate:
    """One line of the table. cpu_s: processor time of this process a second."""

    store: str
    what: str
    events_s: float
    p50_ms: float
    p99_ms: float
    cpu_s: float


class OneByOne:
    """What group commit replaces: a transaction an append, one after the other."""

    def __init__(self, append: Append) -> None:
        self._append = append
        self._lock = threading.Lock()

    def __call__(self, events: Sequence[Event]) -> int:
        with self._lock:
            return self._append(events)


def measure(
    store: str, what: str, append: Append, clients: int, batch: int, seconds: float
) -> Rate:
    """Append from so many threads for so long."""
    numbers = itertools.count()
    took: list[list[float]] = [[] for _ in range(clients)]
    end = time.perf_counter() + seconds
    run = f"{store}-{what}-{time.time_ns()}"

    def client(mine: list[float]) -> None:
        while time.perf_counter() < end:
            now_us = time.time_ns() // 1000
            events = [
                Event(f"{run}-{n}", f"item-{n % 9973}", "view", now_us, f"shopper-{n % SHOPPERS}")
                for n in (next(numbers) for _ in range(batch))
            ]
            started = time.perf_counter()
            append(events)
            mine.append(time.perf_counter() - started)

    threads = [threading.Thread(target=client, args=(mine,)) for mine in took]
    started, cpu = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    elapsed = time.perf_counter() - started
    seconds_each = np.concatenate([np.array(mine) for mine in took])
    p50, p99 = np.percentile(seconds_each * 1e3, [50, 99])
    return Rate(
        store,
        what,
        round(len(seconds_each) * batch / elapsed, 1),
        round(float(p50), 2),
        round(float(p99), 2),
        round((time.process_time() - cpu) / elapsed, 2),
    )


def measure_store(store: str, state: State, seconds: float) -> list[Rate]:
    """All lines of one store."""
    alone = OneByOne(state.append)
    measure(store, "warm-up", state.append, CLIENTS, BATCH, seconds / 4)
    many = f"{CLIENTS} clients"
    return [
        measure(store, "1 client, singly", state.append, 1, 1, seconds),
        measure(store, f"{many}, singly, a commit each", alone, CLIENTS, 1, seconds),
        measure(store, f"{many}, singly", state.append, CLIENTS, 1, seconds),
        measure(store, f"1 client, by {BATCH}", state.append, 1, BATCH, seconds),
        measure(store, f"{many}, by {BATCH}, a commit each", alone, CLIENTS, BATCH, seconds),
        measure(store, f"{many}, by {BATCH}", state.append, CLIENTS, BATCH, seconds),
    ]


def measure_staleness(one: State, other: State, rounds: int = 500) -> tuple[float, float]:
    """Milliseconds from an acknowledgement at one process to the event in the other's history:
    p50 and p99, the reading included."""
    took = []
    for n in range(rounds):
        key = f"reader-{n % 20}"
        other.shopper(key, 100)
        moment = time.time_ns() // 1000
        one.append([Event(f"stale-{moment}", "item", "view", moment, key)])
        started = time.perf_counter()
        while other.shopper(key, 100)[0].timestamps_us[-1:] != (moment,):
            pass
        took.append(time.perf_counter() - started)
    p50, p99 = np.percentile(np.array(took) * 1e3, [50, 99])
    return round(float(p50), 3), round(float(p99), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=4.0, help="for each line")
    parser.add_argument("--folder", type=Path, help="where the embedded store's file is made")
    parser.add_argument("--postgres", help="postgresql://…: a database to fill with events")
    parser.add_argument("--redis", help="redis://…")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    rates, staleness = [], None
    with TemporaryDirectory(dir=arguments.folder) as home:
        paths = PathSettings(state=Path(home) / "state.sqlite")
        embedded = open_state(Settings(paths=paths))
        rates += measure_store("SQLite", embedded, arguments.seconds)
        embedded.close()
        if arguments.postgres:
            shared = StateSettings(log=arguments.postgres, redis=arguments.redis)
            settings = Settings(paths=paths, state=shared)
            one, other = open_state(settings), open_state(settings)
            name = "PostgreSQL and Redis" if arguments.redis else "PostgreSQL"
            rates += measure_store(name, one, arguments.seconds)
            staleness = measure_staleness(one, other)
            one.close()
            other.close()
    table = Table("store", "appended by", "events/s", "p50 ms", "p99 ms", "cores")
    for rate in rates:
        events, p50, p99 = f"{rate.events_s:,.0f}", f"{rate.p50_ms:.2f}", f"{rate.p99_ms:.2f}"
        table.add_row(rate.store, rate.what, events, p50, p99, f"{rate.cpu_s:.2f}")
    console = Console()
    console.print(table)
    if staleness is not None:
        p50, p99 = staleness
        console.print(f"Acknowledged here, read there: p50 {p50} ms, p99 {p99} ms")
    if arguments.json:
        content = {"rates": [asdict(rate) for rate in rates], "staleness_ms": staleness}
        arguments.json.write_bytes(orjson.dumps(content))


if __name__ == "__main__":
    main()
