"""A client that loads a server on loopback: one process, several connections, each always waiting.

Prints a line of JSON: requests, failures (an answer that is no 200, or a list that is empty),
degraded (answers that name a failed stage), seconds, p50_ms, p99_ms.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import uvloop
from big_shop import item_id, user_id

END = b"\r\n\r\n"


@dataclass
class Seen:
    milliseconds: list[float] = field(default_factory=list)
    failures: int = 0
    degraded: int = 0


class Connection(asyncio.Protocol):
    """Asks, waits for the whole answer, asks again until it is time to end.

    every: seconds from one request's start to the next one's; 0: at once.
    """

    def __init__(
        self, ask: Callable[[], bytes], judge: Callable[[bytes], bool], seen: Seen, until: float
    ) -> None:
        self.ask, self.judge, self.seen, self.until = ask, judge, seen, until
        self.every = 0.0
        self.buffer = b""
        self.started = 0.0
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.send()

    def send(self) -> None:
        self.started = time.perf_counter()
        self.transport.write(self.ask())

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head = self.buffer.find(END)
        if head < 0:
            return
        at = self.buffer.lower().find(b"content-length:", 0, head)
        length = int(self.buffer[at + 15 : self.buffer.find(b"\r\n", at)])
        if len(self.buffer) < head + len(END) + length:
            return
        answer, self.buffer = self.buffer, b""
        now = time.perf_counter()
        self.seen.milliseconds.append(1e3 * (now - self.started))
        self.seen.failures += not (answer.startswith(b"HTTP/1.1 200") and self.judge(answer))
        self.seen.degraded += b'"degraded":[]' not in answer and b'"degraded"' in answer
        if now >= self.until:
            self.transport.close()
            self.done.set_result(None)
        elif self.every:
            wait = max(0.0, self.started + self.every - now)
            asyncio.get_running_loop().call_later(wait, self.send)
        else:
            self.send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.seen.failures += 1
            self.done.set_result(None)


def recommendation(shoppers: int) -> bytes:
    shopper = user_id(random.randrange(shoppers))
    return f"GET /v1/recommendations?user_id={shopper} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def of_librecommender(shoppers: int) -> bytes:
    body = f'{{"user":"{user_id(random.randrange(shoppers))}","n_rec":20}}'
    head = "POST /embed/recommend HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


def events(shoppers: int, items: int, batch: int) -> bytes:
    rows = ",".join(
        f'{{"user_id":"{user_id(random.randrange(shoppers))}",'
        f'"item_id":"{item_id(random.randrange(items))}","event_type":"view"}}'
        for _ in range(batch)
    )
    body = f"[{rows}]"
    head = "POST /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()


async def load(options: argparse.Namespace) -> Seen:
    seen = Seen()
    until = time.perf_counter() + options.seconds
    if options.batch:
        ask = lambda: events(options.shoppers, options.items, options.batch)  # noqa: E731
        judge = lambda answer: f'"accepted":{options.batch}'.encode() in answer  # noqa: E731
    elif options.asks == "librecommender":
        ask = lambda: of_librecommender(options.shoppers)  # noqa: E731
        judge = lambda answer: answer.count(b'"item-') == 20  # noqa: E731
    else:
        ask = lambda: recommendation(options.shoppers)  # noqa: E731
        judge = lambda answer: b'"items":[{' in answer  # noqa: E731
    loop = asyncio.get_running_loop()
    connections = []
    for _ in range(options.connections):
        _, connection = await loop.create_connection(
            lambda: Connection(ask, judge, seen, until), "127.0.0.1", options.port
        )
        connection.every = options.connections / options.rate if options.rate else 0.0
        connections.append(connection)
    await asyncio.gather(*(each.done for each in connections))
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--connections", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--shoppers", type=int, required=True, help="are asked for, at random")
    parser.add_argument("--items", type=int, default=1)
    parser.add_argument("--batch", type=int, default=0, help="events of a request; 0: recommend")
    parser.add_argument("--asks", choices=["vitrina", "librecommender"], default="vitrina")
    parser.add_argument("--rate", type=float, default=0, help="requests a second; 0: all it can")
    parser.add_argument("--core", type=int, default=None)
    options = parser.parse_args()
    if options.core is not None:
        os.sched_setaffinity(0, {options.core})
    started = time.perf_counter()
    seen = uvloop.run(load(options))
    seconds = time.perf_counter() - started
    p50, p99 = np.percentile(seen.milliseconds, [50, 99])
    answer = {
        "requests": len(seen.milliseconds),
        "failures": seen.failures,
        "degraded": seen.degraded,
        "seconds": seconds,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
    }
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
