"""Too many, too slow, too large, and a wrong clock: a server process, beset from outside."""

from __future__ import annotations

import asyncio
import json
import resource
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count
from pathlib import Path

import httpx
import pytest

from chaos.drill import Drill, Fault, Shop, is_whole
from served import ServerProcess, eventually, ids, shop_settings
from vitrina.bundle.bundle import load_bundle
from vitrina.bundle.registry import Registry
from vitrina.settings import Settings

HEAD = b"Host: localhost\r\nContent-Type: application/json\r\n"


@dataclass
class Besieged:
    """A server process. clock: the file that says how many seconds its clock is off, if it can."""

    shop: Shop
    pid: int
    clock: Path | None

    @property
    def address(self) -> tuple[str, int]:
        url = self.shop.client.base_url
        assert url.port is not None
        return url.host, url.port

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=30)

    def set_clock(self, seconds: int) -> None:
        """Put the server's clock forward, and wait until it shows in an answer's date."""
        assert self.clock is not None
        with self.clock.open("r+b") as file:
            file.write(struct.pack("q", seconds))

        def shows() -> bool:
            date = parsedate_to_datetime(self.shop.client.get("/healthz").headers["date"])
            return abs((date - datetime.now(UTC)).total_seconds() - seconds) < 600

        eventually(shows)


@pytest.fixture(scope="module")
def promoted(tmp_path_factory: pytest.TempPathFactory, bundle_path: Path) -> Settings:
    settings = shop_settings(tmp_path_factory.mktemp("besieged"))
    registry = Registry(settings.paths.bundles)
    registry.promote(registry.publish(bundle_path, metrics={}))
    return settings


@pytest.fixture(scope="module")
def besieged(
    promoted: Settings, deadline_ms: float, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Besieged]:
    home = promoted.paths.bundles.parent
    clock, environment = None, {}
    if compiler := shutil.which("cc"):
        folder = tmp_path_factory.mktemp("clock")
        clock, library = folder / "offset", folder / "set_clock.so"
        clock.write_bytes(struct.pack("q", 0))
        source = Path(__file__).with_name("set_clock.c")
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
        environment = {"LD_PRELOAD": str(library), "CLOCK_OFFSET": str(clock)}
    server = ServerProcess.start(home, environment=environment, deadline_ms=deadline_ms)
    registry = Registry(promoted.paths.bundles)
    bundle = load_bundle(registry.path(registry.list()[0].version))
    yield Besieged(Shop(server.client, bundle), server.process.pid, clock)
    server.stop(signal.SIGKILL)


def many_connections(besieged: Besieged, whole: bool) -> Iterator[None]:
    """Open, well used, and idle: each has had an answer."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with ExitStack() as stack:
        for _ in range(min(10_000, most - 1_000) if whole else 300):
            connection = stack.enter_context(besieged.connect())
            use(connection)
        yield
        use(connection)


def use(connection: socket.socket) -> None:
    """A request, and its whole answer."""
    connection.sendall(b"GET /healthz HTTP/1.1\r\n" + HEAD + b"\r\n")
    answer = b""
    while not answer.endswith(b"}"):
        answer += connection.recv(1000)
    assert answer.startswith(b"HTTP/1.1 200")


@contextmanager
def meanwhile(work: Callable[[], None]) -> Iterator[None]:
    """`work()` again and again, in a thread; its error is the block's."""
    done, problems = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            while not done.is_set():
                work()
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert not problems, problems


def slow_clients(besieged: Besieged, whole: bool) -> Iterator[None]:
    """Requests that come byte by byte, and never end; who is thrown out comes again."""
    with ExitStack() as stack:
        slow = [stack.enter_context(besieged.connect()) for _ in range(1_000 if whole else 100)]
        for number, connection in enumerate(slow):
            length = b"Content-Length: 1000\r\n\r\n" if number % 2 else b""
            connection.sendall(b"POST /v1/events HTTP/1.1\r\n" + HEAD + length)

        def drip() -> None:
            for number, connection in enumerate(slow):
                try:
                    connection.sendall(b" " if number % 2 else b"X-A: b\r\n")
                except OSError:
                    slow[number] = stack.enter_context(besieged.connect())
            time.sleep(0.2)

        with meanwhile(drip):
            yield


def hostile_bodies(besieged: Besieged, whole: bool) -> Iterator[None]:
    """Malformed, huge, deeply nested: each is refused."""
    deep, item = b"[" * 900 + b"]" * 900, b'{"user_id": "x", "item_id": "y", "event_type": '
    bodies = [
        *(b"", b"\xff\xfe", b'{"k": ', b"[" * 100_000, b'{"a":' * 150_000, deep, b" " * 1_100_000),
        *(
            item + deep + b"}",
            item + b'"' + b"z" * 900_000 + b'"}',
            b"[" + b"{}," * 300_000 + b"7]",
        ),
    ]
    with httpx.Client(base_url=besieged.shop.client.base_url, timeout=60) as client:

        def send() -> None:
            for body in bodies:
                for path in ("/v1/events", "/v1/recommendations"):
                    status = client.post(path, content=body).status_code
                    assert status in (400, 413, 422), (status, body[:100])

        with meanwhile(send):
            yield


def clock_set_back(besieged: Besieged, whole: bool) -> Iterator[None]:
    if besieged.clock is None:
        pytest.skip("no C compiler: the clock of a single process cannot be set")
    besieged.set_clock(-3600)
    yield
    besieged.set_clock(0)


def disk_full(besieged: Besieged, whole: bool) -> Iterator[None]:
    """No file of the server's can be written to any more."""
    before = resource.prlimit(besieged.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(besieged.pid, resource.RLIMIT_FSIZE, (0, before[1]))
    yield
    resource.prlimit(besieged.pid, resource.RLIMIT_FSIZE, before)


FAULTS = {
    "disk full": disk_full,
    "clock set back an hour": clock_set_back,
    "10,000 connections": many_connections,
    "1,000 slow-loris clients": slow_clients,
    "malformed, huge and nested bodies": hostile_bodies,
}


@pytest.mark.parametrize("name", FAULTS)
def test_shoppers_are_served_and_no_event_is_lost(
    name: str,
    besieged: Besieged,
    run_drill: Callable[[Fault, Shop], Drill],
    pytestconfig: pytest.Config,
) -> None:
    strike = contextmanager(FAULTS[name])
    whole = is_whole(pytestconfig)
    fault = Fault(name, lambda _: strike(besieged, whole), None, {"learned"})
    seen = run_drill(fault, besieged.shop)
    assert max(seen.seconds) < 5
    sent = len(seen.seconds) // 3 + 3
    assert seen.acknowledged == (3 if name == "disk full" else sent)


def test_events_without_a_time_count_while_the_clock_is_set_back(besieged: Besieged) -> None:
    client = besieged.shop.client

    def see(item: str, **fields: str) -> int:
        event = {"user_id": "tim", "item_id": item, "event_type": "view", **fields}
        return client.post("/v1/events", json=event).status_code

    def shown() -> list[str]:
        return ids(client.get("/v1/recommendations?user_id=tim&shelf=discover").json())

    assert see("item-0003") == 200
    before = shown()
    with contextmanager(clock_set_back)(besieged, False):
        assert see("item-0040") == 200
        assert shown() != before
        right = datetime.now(UTC).isoformat()
        assert see("item-0077", timestamp=right) == 422, "an hour from now, as this server has it"
    assert see("item-0077") == 200
    events = client.get("/v1/users/tim/history").json()["events"]
    assert [event["item_id"] for event in events] == ["item-0040", "item-0003", "item-0077"]


TAKEN_ON = 16
CLIENTS = 10 * TAKEN_ON


@dataclass
class Line:
    """A connection of asyncio, for one request after the other; cheaper than httpx by far."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def exchange(self, head: bytes, body: bytes = b"") -> tuple[int, int, bytes]:
        """Status, Retry-After (0: none) and body of the answer."""
        length = f"Content-Length: {len(body)}\r\n\r\n".encode()
        self.writer.write(head + b" HTTP/1.1\r\n" + HEAD + length + body)
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
        headers = {name.lower(): value for name, _, value in (x.partition(": ") for x in lines)}
        content = await self.reader.readexactly(int(headers["content-length"]))
        return int(lines[0].split()[1]), int(headers.get("retry-after", 0)), content


@dataclass
class Crowd:
    """What CLIENTS saw of a server, half of them sending events, the others asking."""

    seen: Drill
    acknowledged: dict[str, list[str]]
    put_off: Counter[str]
    deadline: float

    async def send_events(self, line: Line, shopper: str) -> None:
        for number in count():
            if time.perf_counter() > self.deadline:
                return
            event_id, item = f"{shopper}-{number}", f"item-{number % 100:04d}"
            event = {"user_id": shopper, "item_id": item, "event_type": "view"}
            body = json.dumps(event | {"event_id": event_id}).encode()
            status, wait, content = await line.exchange(b"POST /v1/events", body)
            if status == 200:
                self.acknowledged[shopper].append(event_id)
            else:
                await self._was_put_off("events", status, wait, content)

    async def ask(self, line: Line, shopper: str) -> None:
        while time.perf_counter() < self.deadline:
            started = time.perf_counter()
            query = f"GET /v1/recommendations?user_id={shopper}&k=10".encode()
            status, wait, content = await line.exchange(query)
            if status != 200:
                await self._was_put_off("answers", status, wait, content)
                continue
            self.seen.seconds.append(time.perf_counter() - started)
            answer = json.loads(content)
            self.seen.served_by[answer["served_by"]] += 1
            self.seen.degraded.update({why.partition(":")[0] for why in answer["degraded"]})
            if len(set(ids(answer))) != 10:
                self.seen.wrong.append(content.decode())

    async def _was_put_off(self, what: str, status: int, wait: int, content: bytes) -> None:
        self.put_off[what] += 1
        if status != 429 or not 1 <= wait <= 5:
            self.seen.wrong.append(f"{status}, {wait}: {content[:300]!r}")
        await asyncio.sleep(0.05)  # impatient: they were told to wait for a second


async def besiege(url: httpx.URL, seconds: float) -> Crowd:
    """Have CLIENTS at a server, each of which sends its next request after the answer."""
    fault = Fault(f"{CLIENTS} clients at once, {TAKEN_ON} are taken on", _nothing, "rank", ())
    shoppers = [f"crowd-{number}" for number in range(CLIENTS // 2)]
    lines = [Line(*await asyncio.open_connection(url.host, url.port)) for _ in range(CLIENTS)]
    acknowledged: dict[str, list[str]] = {shopper: [] for shopper in shoppers}
    crowd = Crowd(Drill(fault), acknowledged, Counter(), time.perf_counter() + seconds)
    await asyncio.gather(
        *(crowd.send_events(line, who) for line, who in zip(lines[::2], shoppers, strict=True)),
        *(crowd.ask(line, who) for line, who in zip(lines[1::2], shoppers, strict=True)),
    )
    for line in lines:
        line.writer.close()
    return crowd


@contextmanager
def _nothing(_: Shop) -> Iterator[None]:
    yield


def test_ten_times_too_much_is_put_off_events_first_and_loses_none_that_were_taken(
    promoted: Settings,
    deadline_ms: float,
    keep_row: Callable[[Drill], None],
    pytestconfig: pytest.Config,
) -> None:
    home = promoted.paths.bundles.parent
    server = ServerProcess.start(home, deadline_ms=deadline_ms, max_in_flight=TAKEN_ON)
    client = server.client

    def is_well() -> bool:
        event = {"user_id": "uma", "item_id": "item-0003", "event_type": "view"}
        taken = client.post("/v1/events", json=event).status_code == 200
        return taken and not client.get("/v1/recommendations?user_id=uma").json()["degraded"]

    try:
        seconds = 10.0 if is_whole(pytestconfig) else 1.0
        crowd = asyncio.run(besiege(client.base_url, seconds))
        seen, ended = crowd.seen, time.perf_counter()
        eventually(is_well)
        seen.mended = time.perf_counter() - ended
        for shopper, event_ids in crowd.acknowledged.items():
            events = client.get(f"/v1/users/{shopper}/export").json()["events"]
            logged = Counter(event["event_id"] for event in events)
            seen.acknowledged += len(event_ids)
            seen.found += sum(event_id in logged for event_id in event_ids)
            seen.twice += sum(times > 1 for times in logged.values())
    finally:
        server.stop(signal.SIGKILL)
    seen.degraded["events put off"] = crowd.put_off["events"]
    seen.degraded["answers put off"] = crowd.put_off["answers"]
    keep_row(seen)
    assert not seen.wrong, seen.wrong[:3]
    assert (seen.found, seen.twice) == (seen.acknowledged, 0)
    assert crowd.put_off["events"] > 0
    assert seen.degraded["rank"] > 0
