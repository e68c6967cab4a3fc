"""What does serving cost, from a request's first byte to its answer's last?

A server process on one core and a client process on another, over loopback; a generated shop
(`big_shop.py`: 1 M items of 64 numbers, 1 M shoppers with histories in the embedded store), answers
of 20 items from 500 candidates. Printed are

    start           seconds until /readyz says yes, and memory next to the raw vectors and catalog
    requests        p50 and p99 at one connection, requests a second at 16: shoppers drawn from all
                    (a vector is computed for nearly every request), and from 1,000 (cached)
    floor           the bare calls of the libraries for the same work, one after another: SQLite,
                    ONNX Runtime, FAISS, NumPy, orjson; and uvicorn with an answer of the same size
    events          durable events a second, in batches of 50 and singly
    --soak MINUTES  70 % of that load with a swap of bundles every minute: failed requests, swaps,
                    memory and how it grows

--shop FOLDER keeps the generated shop for the next run; it takes minutes to make.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http.client import HTTPConnection
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import faiss
import numpy as np
import onnxruntime
import orjson
import psutil
import uvicorn
from big_shop import MAX_HISTORY, BigShop, encoded, user_id
from rich.console import Console
from rich.table import Table
from starlette.types import Receive, Scope, Send

from vitrina.bundle.bundle import ENCODER, INDEX, load_bundle
from vitrina.bundle.registry import Registry
from vitrina.towers.export import encoder_inputs

SERVER_CORE, CLIENT_CORE = 0, 1
CONNECTIONS: Final = 16
HOT: Final = 1_000
"""Shoppers whose vectors are all cached after a moment."""
K, CANDIDATES = 20, 500
SETTLED: Final = 4
"""Minutes of a soak until both bundles have served twice, and caches are full."""

Loads = Sequence[tuple[str, tuple[dict[str, Any], dict[str, Any]]]]
"""By name, what `client` says of one connection and of many."""


@dataclass(frozen=True, slots=True)
class Shop:
    """versions: of the bundles in the registry, the first of them promoted."""

    folder: Path
    items: int
    shoppers: int

    @property
    def registry(self) -> Registry:
        return Registry(self.folder / "bundles")

    @property
    def state(self) -> Path:
        return self.folder / "state.sqlite"


def main() -> None:
    options = parse_options()
    console = Console()
    with TemporaryDirectory(prefix="vitrina-bench-") as name:
        shop = Shop(options.shop or Path(name), options.items, options.shoppers)
        if not shop.state.exists():
            make(shop, options.events, options.soak is not None, console)
        floors = floor(shop)
        with Server(shop) as server:
            console.print(start_table(shop, server))
            measured = [
                ("shoppers drawn from all", load(server, shop.shoppers, options)),
                (f"from {HOT:,} of them", load(server, HOT, options)),
            ]
            console.print(request_table(measured, floors))
            console.print(event_table(server, shop, options))
            if options.soak is not None:
                rate = 0.7 * measured[0][1][1]["requests"] / measured[0][1][1]["seconds"]
                console.print(soak(server, shop, rate, options.soak))


def make(shop: Shop, events: int, two: bool, console: Console) -> None:
    started = time.perf_counter()
    shop.folder.mkdir(parents=True, exist_ok=True)
    generated = BigShop(shop.items)
    for hours in range(2 if two else 1):
        with TemporaryDirectory(dir=shop.folder) as name:
            path = generated.write_bundle(Path(name), hours)
            version = shop.registry.publish(path, metrics={})
    shop.registry.promote(version)
    made = time.perf_counter() - started
    console.print(f"{shop.items:,} items embedded, indexed and published in {made:.0f} s")
    generated.write_histories(shop.state, shop.shoppers, events)
    console.print(f"{shop.shoppers:,} histories stored in {time.perf_counter() - started:.0f} s")


class Server:
    """`vitrina serve` in a process of its own, on one core."""

    def __init__(self, shop: Shop) -> None:
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [str(Path(sys.executable).with_name("vitrina")), "serve", "--json"],
            env=os.environ | environment(shop),
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
        )
        assert self.process.stdout is not None
        said = ""
        while not said.endswith("}\n"):
            line = self.process.stdout.readline()
            if not line:
                raise SystemExit("The server did not start; above it says why.")
            said += line
        self.port = int(json.loads(said)["address"].split(":")[-1])
        while self.get("/readyz")[0] != 200:
            time.sleep(0.01)
        self.ready_seconds = time.perf_counter() - self.started

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def get(self, path: str) -> tuple[int, bytes]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, body

    def memory(self, what: Literal["Pss", "Pss_Anon"] = "Pss") -> int:
        """Bytes that supervisor and workers hold, by a line of the kernel's.

        Pss: files that they have mapped included; Pss_Anon: without these.
        """
        supervisor = psutil.Process(self.process.pid)
        return sum(_memory(each.pid, what) for each in [supervisor, *supervisor.children()])

    def bundle(self) -> str:
        """The version that serves."""
        return str(json.loads(self.get("/readyz")[1])["bundle"])


def _memory(pid: int, what: str) -> int:
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) * 1024 for line in text.splitlines() if f"{what}:" in line)


def environment(shop: Shop) -> dict[str, str]:
    return {
        "VITRINA_PATHS__STATE": f'"{shop.state}"',
        "VITRINA_PATHS__BUNDLES": f'"{shop.registry.root}"',
        "VITRINA_SERVE__PORT": "0",
        "VITRINA_SERVE__DRAIN_SECONDS": "0",
    }


def client(server_port: int, **options: object) -> dict[str, Any]:
    """One run of `load.py`."""
    command = client_command(server_port, **options)
    found: dict[str, Any] = json.loads(subprocess.check_output(command, text=True))
    return found


def client_command(server_port: int, **options: object) -> list[str]:
    command = [sys.executable, str(Path(__file__).with_name("load.py"))]
    command += ["--port", str(server_port), "--core", str(CLIENT_CORE)]
    for name, value in options.items():
        command += [f"--{name}", str(value)]
    return command


def load(
    server: Server, shoppers: int, options: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One connection, and many."""
    seconds = options.seconds
    client(server.port, shoppers=shoppers, seconds=max(1.0, seconds / 4))  # warm
    one = client(server.port, shoppers=shoppers, seconds=seconds)
    many = client(server.port, shoppers=shoppers, seconds=seconds, connections=CONNECTIONS)
    return one, many


def floor(shop: Shop) -> list[tuple[str, float]]:
    """p50 microseconds of the bare calls, on one thread."""
    os.sched_setaffinity(0, {SERVER_CORE})
    registry = shop.registry
    version = registry.current()
    assert version is not None, "made with a promoted bundle"
    bundle = load_bundle(registry.path(version), verify=False)
    rng = np.random.default_rng(1)
    shoppers = iter(rng.integers(shop.shoppers, size=100_000).tolist())
    db = sqlite3.connect(shop.state)
    db.execute("PRAGMA mmap_size = 1073741824")
    recent = "SELECT item_id, event_type, timestamp_us FROM history WHERE key = ? LIMIT ?"
    bought = "SELECT item_id, count, last_us, recent FROM purchases WHERE key = ?"

    def read() -> None:
        key = user_id(next(shoppers))
        db.execute(recent, (key, MAX_HISTORY)).fetchall()
        db.execute(bought, (key,)).fetchall()

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(bundle.path / ENCODER), options)
    histories = [
        encoder_inputs(bundle.vectors.values, encoded(rng, rng.integers(shop.items, size=(1, 8))))
        for _ in range(64)
    ]
    turn = iter(range(10**9))
    index = faiss.read_index(str(bundle.path / INDEX))
    faiss.omp_set_num_threads(1)
    vectors = [session.run(None, each)[0] for each in histories]
    available = faiss.IDSelectorBitmap(np.packbits(bundle.catalog.available, bitorder="little"))
    parameters = faiss.SearchParameters(sel=available)
    if isinstance(index, faiss.IndexIVF):
        parameters = faiss.SearchParametersIVF(nprobe=index.nprobe, sel=available)
    scores = rng.standard_normal(CANDIDATES).astype(np.float32)
    popularity = bundle.popularity
    rows = rng.integers(shop.items, size=CANDIDATES)

    def rank() -> None:
        np.argsort(-(scores - np.log1p(popularity[rows])), kind="stable")[:K]

    blobs = [bundle.catalog.blob(int(row)) for row in rows[:K]]

    def hydrate() -> None:
        orjson.dumps(
            {"items": [orjson.Fragment(blob) for blob in blobs], "scores": scores[0:0].tolist()}
        )

    def encode() -> None:
        session.run(None, histories[next(turn) % 64])

    parts = [
        ("SQLite: a history and the purchases", clocked(read)),
        (
            "ONNX Runtime: the encoder",
            clocked(encode),
        ),
        (
            f"FAISS: {CANDIDATES} of {shop.items:,}",
            clocked(lambda: index.search(vectors[next(turn) % 64], CANDIDATES, params=parameters)),
        ),
        (f"NumPy: an order of {CANDIDATES}", clocked(rank)),
        (f"orjson: {K} items", clocked(hydrate)),
    ]
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    return [*parts, ("uvicorn: an answer of that size", 1e3 * bare_http(sum(map(len, blobs))))]


def clocked(call: Callable[[], object], times: int = 2_000) -> float:
    """p50 microseconds."""
    found = []
    for _ in range(times):
        started = time.perf_counter_ns()
        call()
        found.append((time.perf_counter_ns() - started) / 1e3)
    return float(np.median(found))


def bare_http(size: int) -> float:
    """p50 milliseconds at one connection of an application that does nothing but answer."""
    processes = multiprocessing.get_context("spawn")
    here, there = processes.Pipe()
    process = processes.Process(target=run_bare, args=(size, there))
    process.start()
    there.close()
    port = here.recv()
    try:
        return float(client(port, shoppers=HOT, seconds=3)["p50_ms"])
    finally:
        process.kill()
        process.join()


def run_bare(size: int, ready: Connection) -> None:
    os.sched_setaffinity(0, {SERVER_CORE})
    body = b'"items":[{' + b" " * size

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        length = str(len(body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    class Server(uvicorn.Server):
        async def startup(self, sockets: Any = None) -> None:
            await super().startup(sockets)
            ready.send(self.servers[0].sockets[0].getsockname()[1])

    Server(uvicorn.Config(app, port=0, lifespan="off", log_level="warning", access_log=False)).run()


def start_table(shop: Shop, server: Server) -> Table:
    version = shop.registry.current()
    assert version is not None, "made with a promoted bundle"
    path = shop.registry.path(version)
    raw = sum((path / name).stat().st_size for name in ("items.safetensors", "catalog.jsonl"))
    shown = Table(title="start")
    for heading in ("", "measured", "aim"):
        shown.add_column(heading, justify="right" if heading else "left")
    shown.add_row("seconds until ready", f"{server.ready_seconds:.1f}", "5")
    shown.add_row("memory, GB", f"{server.memory() / 1e9:.2f}", "")
    shown.add_row("x raw vectors + catalog", f"{server.memory() / raw:.2f}", "1.5")
    return shown


def load_table(title: str, measured: Loads) -> Table:
    """What was measured of each, at one connection and at many."""
    shown = Table(title=title)
    for heading in ("", "p50 ms", "p99 ms", "requests/s", "failed", "degraded"):
        shown.add_column(heading, justify="right" if heading else "left")
    for label, (one, many) in measured:
        shown.add_row(
            label,
            f"{one['p50_ms']:.2f}",
            f"{one['p99_ms']:.2f}",
            f"{many['requests'] / many['seconds']:,.0f}",
            str(one["failures"] + many["failures"]),
            str(one["degraded"] + many["degraded"]),
        )
    return shown


def request_table(
    measured: Loads,
    floors: Sequence[tuple[str, float]],
) -> Table:
    title = f"recommendations: {K} items from {CANDIDATES} candidates, one core"
    shown = load_table(title, measured)
    shown.add_section()
    for label, microseconds in floors:
        shown.add_row(label, f"{microseconds / 1e3:.3f}")
    total = sum(microseconds for _, microseconds in floors) / 1e3
    over = measured[0][1][0]["p50_ms"] / total
    shown.add_row("these calls together", f"{total:.3f}")
    shown.add_row("ours, of shoppers drawn from all, to that", f"{over:.2f} x")
    return shown


def event_table(server: Server, shop: Shop, options: argparse.Namespace) -> Table:
    shown = Table(title="durable events, one core")
    for heading in ("", "events/s", "p50 ms", "p99 ms", "failed"):
        shown.add_column(heading, justify="right" if heading else "left")
    for label, batch, connections in (
        ("batches of 50, 4 connections", 50, 4),
        ("singly, 64 connections", 1, 64),
        ("singly, 1 connection", 1, 1),
    ):
        found = client(
            server.port,
            shoppers=shop.shoppers,
            items=shop.items,
            batch=batch,
            seconds=options.seconds,
            connections=connections,
        )
        shown.add_row(
            label,
            f"{batch * found['requests'] / found['seconds']:,.0f}",
            f"{found['p50_ms']:.2f}",
            f"{found['p99_ms']:.2f}",
            str(found["failures"]),
        )
    return shown


def soak(server: Server, shop: Shop, rate: float, minutes: int) -> Table:
    """Requests at a steady rate, and another bundle every minute, promoted amid the load."""
    shown = Table(title=f"{minutes} minutes at {rate:,.0f} requests/s, a swap every minute")
    for heading in ("minute", "requests", "p50 ms", "p99 ms", "failed", "degraded"):
        shown.add_column(heading, justify="right")
    for heading in ("swap s", "memory GB", "of its own MB"):
        shown.add_column(heading, justify="right")
    versions = [each.version for each in shop.registry.list()]
    if len(versions) < 2:
        raise SystemExit(f"{shop.folder} has one bundle; a soak takes two. Make another shop.")
    requests = failed = swaps = 0
    own = []
    for minute in range(minutes):
        asking = subprocess.Popen(
            client_command(
                server.port, shoppers=shop.shoppers, seconds=60, rate=rate, connections=CONNECTIONS
            ),
            stdout=subprocess.PIPE,
            text=True,
        )
        version = versions[versions.index(server.bundle()) - 1]
        shop.registry.promote(version)
        began = time.perf_counter()
        while asking.poll() is None and server.bundle() != version:
            time.sleep(0.1)
        swapped = server.bundle() == version
        taken = f"{time.perf_counter() - began:.1f}" if swapped else "no"
        found = json.loads(asking.communicate()[0])
        swaps += swapped
        requests += found["requests"]
        failed += found["failures"]
        own.append(server.memory("Pss_Anon") / 1e6)
        shown.add_row(
            str(minute + 1),
            f"{found['requests']:,}",
            f"{found['p50_ms']:.2f}",
            f"{found['p99_ms']:.2f}",
            str(found["failures"]),
            str(found["degraded"]),
            taken,
            f"{server.memory() / 1e9:.2f}",
            f"{own[-1]:.0f}",
        )
    shown.caption = (
        f"{failed} of {requests:,} requests failed; {swaps} swaps of {minutes}; memory of its own "
        f"{own[0]:.0f} MB after the first, {own[-1]:.0f} MB after the last"
    )
    settled = own[SETTLED:]
    if len(settled) > 1:
        slope = np.polyfit(np.arange(len(settled)), settled, 1)[0]
        shown.caption += f", {slope:+.2f} MB a minute from the {SETTLED + 1}th on"
    return shown


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--shoppers", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=8, help="of each shopper (8)")
    parser.add_argument("--seconds", type=float, default=10, help="of each load (10)")
    parser.add_argument("--soak", type=int, metavar="MINUTES", help="ends with it")
    parser.add_argument("--shop", type=Path, metavar="FOLDER", help="make it there, or find it")
    return parser.parse_args()


if __name__ == "__main__":
    main()
