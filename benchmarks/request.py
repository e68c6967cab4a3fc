"""What one recommendation costs: p50 and p99 of each stage and of the whole, in microseconds.

    python benchmarks/request.py [--bundle PATH | --config FILE] [--requests N] [--json FILE]

Without --bundle it takes the bundle that is promoted in the registry of the settings file.
Shoppers are made up (as many events as the bundle's `max_history`, drawn by popularity, half of
them purchases) and kept in a SQLite file of their own, so that the figures depend on the bundle
alone. Every stage is timed by the recommender itself, on one thread, one request after the other.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from http.client import HTTPConnection
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from vitrina.bundle.bundle import Bundle, load_bundle
from vitrina.bundle.registry import Registry
from vitrina.errors import VitrinaError
from vitrina.online.app import create_app
from vitrina.online.candidates import Shelf
from vitrina.online.recommender import Recommender, Request
from vitrina.online.server import serve
from vitrina.online.stages import STAGES, make_breakers
from vitrina.settings import load_settings
from vitrina.state.sqlite import SqliteState
from vitrina.state.vector_cache import LruVectorCache

SHOPPERS = 200
EVENT_GAP_US = 6 * 3_600_000_000
TARGETS_US = {
    "history": 60,
    "user_vector": 200,
    "user_vector (cached)": 20,
    "candidates": 200,
    "rank": 700,
    "hydrate": 60,
    "HTTP": 130,
}
"""DESIGN.md's targets for p50, on one core with 1 M items of 64 dimensions; `rank` there is
ranking (500) and rules (200), `hydrate` has the JSON in it."""


@dataclass(frozen=True)
class Timing:
    """One line of the table; target: DESIGN.md's p50, if it has one."""

    what: str
    p50_us: float
    p99_us: float
    target_us: float | None = None


def timing(what: str, seconds: Sequence[float]) -> Timing:
    """Percentiles of measured durations."""
    p50, p99 = np.percentile(np.asarray(seconds) * 1e6, [50, 99])
    return Timing(what, round(float(p50), 1), round(float(p99), 1), TARGETS_US.get(what))


def make_histories(bundle: Bundle, state: SqliteState) -> list[str]:
    """Fill the store with made-up shoppers; returns their keys."""
    rng = np.random.default_rng(0)
    length = bundle.manifest.max_history
    weights = bundle.popularity.astype(np.float64) + 1e-9
    rows = rng.choice(len(weights), size=SHOPPERS * length, p=weights / weights.sum())
    keys = [f"shopper-{n}" for n in range(SHOPPERS)]
    state.load_histories(
        np.repeat(keys, length).tolist(),
        [bundle.item_ids[row] for row in rows],
        ["purchase", "view"] * (SHOPPERS * length // 2),
        (np.tile(np.arange(length), SHOPPERS) * EVENT_GAP_US).tolist(),
    )
    return keys


def measure_stages(
    recommender: Recommender, keys: Sequence[str], requests: int, shelf: Shelf
) -> tuple[dict[str, list[float]], list[float]]:
    """Seconds in each stage and in making the JSON, request by request."""
    stages: dict[str, list[float]] = {stage: [] for stage in (*STAGES, "total")}
    json: list[float] = []
    for n in range(requests):
        answer = recommender.recommend(Request(key=keys[n % len(keys)], shelf=shelf))
        started = time.perf_counter()
        answer.to_json()
        json.append(time.perf_counter() - started)
        for stage, milliseconds in answer.timings_ms.items():
            stages[stage].append(milliseconds / 1e3)
    return stages, json


def measure_recommender(bundle: Bundle, state: SqliteState, requests: int) -> list[Timing]:
    """The stages in this process: vectors computed, then cached."""
    settings = load_settings(env={}).serve
    keys = make_histories(bundle, state)
    breakers = make_breakers(settings.deadline_ms)
    cache = LruVectorCache(settings.cache_size, 3600)
    computing = Recommender(bundle, state, None, settings, breakers)
    caching = Recommender(bundle, state, cache, settings, breakers)
    for recommender in (computing, caching):
        measure_stages(recommender, keys, 2 * SHOPPERS, "for_you")
    computed, json = measure_stages(computing, keys, requests, "for_you")
    cached, _ = measure_stages(caching, keys, requests, "for_you")
    return [
        timing("history", computed["history"]),
        timing("user_vector", computed["user_vector"]),
        timing("user_vector (cached)", cached["user_vector"]),
        timing("candidates", computed["candidates"]),
        timing("rank", computed["rank"]),
        timing("hydrate", computed["hydrate"]),
        timing("JSON", json),
        timing("all stages", computed["total"]),
        timing("all stages (cached)", cached["total"]),
    ]


def serve_shop(env: dict[str, str], ready: Connection) -> None:
    """A server process; tells its port."""
    settings = load_settings(env=env)
    serve(create_app(settings), settings.serve, lambda url: ready.send(int(url.split(":")[-1])))


def measure_http(env: dict[str, str], keys: Sequence[str], requests: int) -> list[Timing]:
    """One client on loopback, one connection: the whole answer, and what HTTP adds to it."""
    processes = multiprocessing.get_context("spawn")
    here, there = processes.Pipe()
    server = processes.Process(target=serve_shop, args=(env, there))
    server.start()
    connection = HTTPConnection("127.0.0.1", here.recv())
    whole, added = [], []
    try:
        for n in range(requests + 2 * len(keys)):
            started = time.perf_counter()
            connection.request("GET", f"/v1/recommendations?user_id={keys[n % len(keys)]}")
            body = connection.getresponse().read()
            elapsed = time.perf_counter() - started
            if n >= 2 * len(keys):
                whole.append(elapsed)
                added.append(elapsed - orjson.loads(body)["timings_ms"]["total"] / 1e3)
    finally:
        connection.close()
        server.kill()
        server.join()
    return [timing("HTTP", added), timing("over HTTP, in all (cached)", whole)]


def measure_scan_floor(bundle: Bundle) -> Timing:
    """Reading every vector once, on one thread: what an exact scan cannot do without."""
    seconds = []
    for _ in range(200):
        started = time.perf_counter()
        bundle.vectors.values.max()
        seconds.append(time.perf_counter() - started)
    return timing("floor: reading all vectors", seconds)


def measure(bundle_path: Path, requests: int) -> list[Timing]:
    """All figures for one bundle."""
    with TemporaryDirectory() as home:
        bundle = load_bundle(bundle_path)
        registry = Registry(Path(home) / "bundles")
        registry.promote(registry.publish(bundle_path, metrics={}))
        env = {
            "VITRINA_PATHS__STATE": f'"{home}/state.sqlite"',
            "VITRINA_SERVE__PORT": "0",
            "VITRINA_PATHS__BUNDLES": f'"{home}/bundles"',
        }
        state = SqliteState(Path(home) / "state.sqlite")
        timings = measure_recommender(bundle, state, requests)
        state.close()
        keys = [f"shopper-{n}" for n in range(SHOPPERS)]
        timings += measure_http(env, keys, requests)
    return [*timings, measure_scan_floor(bundle)]


def print_table(bundle: Bundle, timings: Sequence[Timing]) -> None:
    """The figures beside the targets."""
    info = bundle.manifest.index
    table = Table(
        "µs", "p50", "p99", "target p50",
        title=f"One request: {len(bundle.item_ids):,} items, dim {bundle.space.dim}, "
        f"{info.kind} index, recall@500 {info.recall_at_500:.3f}",
    )  # fmt: skip
    for line in timings:
        target = "" if line.target_us is None else f"{line.target_us:,.0f}"
        table.add_row(line.what, f"{line.p50_us:,.1f}", f"{line.p99_us:,.1f}", target)
    Console().print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bundle", type=Path, help="default: the promoted bundle")
    parser.add_argument("--config", type=Path, help="settings file (default: vitrina.toml)")
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    arguments = parser.parse_args()
    try:
        path = arguments.bundle
        if path is None:
            registry = Registry(load_settings(arguments.config).paths.bundles)
            current = registry.current()
            if current is None:
                sys.exit(f"No bundle is promoted in {registry.root}. Run 'make demo' first.")
            path = registry.path(current)
        timings = measure(path, arguments.requests)
        print_table(load_bundle(path, verify=False), timings)
    except VitrinaError as error:
        sys.exit(str(error))
    if arguments.json:
        arguments.json.write_bytes(orjson.dumps([asdict(line) for line in timings]))


if __name__ == "__main__":
    main()
