"""Drills: break something under a running shop, ask on, mend it, and say what shoppers saw."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import httpx
import numpy as np
import pytest

from served import ids
from vitrina.bundle.bundle import Bundle

HANG_SECONDS = 30.0
"""Longer than any drill: what hangs does so until the fault is mended."""
MENDED_SECONDS = 20.0
"""Full service has to be back within this; PAUSE_SECONDS and a swap fit many times."""


def is_whole(config: pytest.Config) -> bool:
    """Whether the matrix is run at length; the option is there when tests/chaos is named."""
    return bool(config.getoption("--whole", default=False))


@dataclass(frozen=True)
class Shop:
    """A server that is drilled. bundle: what it serves, to judge answers by."""

    client: httpx.Client
    bundle: Bundle


@dataclass(frozen=True)
class Fault:
    """Something that breaks, and what may be served meanwhile.

    name: as the table has it. strike(shop): breaks it, and mends it when the `with` ends. stage:
    what `degraded` has to name; None: shoppers see no difference. served_by: what may serve
    shoppers who are known.
    """

    name: str
    strike: Callable[[Shop], AbstractContextManager[None]]
    stage: str | None
    served_by: Collection[str]


@dataclass
class Drill:
    """What was seen of a fault: a row of the table.

    seconds: each answer's. acknowledged, found, twice: event ids that were acknowledged, those
    of them in the histories afterwards, and those there more than once. mended: seconds from the
    end of the fault to an event that is acknowledged and an answer without any degradation.
    """

    fault: Fault
    seconds: list[float] = field(default_factory=list)
    served_by: Counter[str] = field(default_factory=Counter)
    degraded: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    acknowledged: int = 0
    found: int = 0
    twice: int = 0
    mended: float = 0.0

    def row(self) -> list[str]:
        """The table's cells, in the order of COLUMNS."""
        p50, p99, longest = np.percentile(np.array(self.seconds) * 1e3, [50, 99, 100])
        return [
            self.fault.name,
            _counts(self.served_by),
            _counts(self.degraded) or "nothing",
            f"{len(self.seconds)}",
            f"{len(self.wrong)}",
            f"{p50:.1f}",
            f"{p99:.1f}",
            f"{longest:.0f}",
            f"{self.acknowledged} / {self.found} / {self.twice}",
            f"{self.mended:.1f}",
        ]


def _counts(of: Counter[str]) -> str:
    return ", ".join(f"{name} {times}" for name, times in of.most_common())


COLUMNS = (
    *("fault", "known shoppers served by", "degraded", "answers", "wrong"),
    *("p50 ms", "p99 ms", "longest ms", "events acknowledged / found / twice", "mended after s"),
)

_shoppers = count()


def drill(fault: Fault, shop: Shop, rounds: int) -> Drill:
    """Ask a shop while something is broken, and until it is whole again.

    A round: an event of a shopper, which must be found afterwards if it was acknowledged, then
    three requests: of this shopper, who is known and whose vector is not cached; of somebody new;
    and with a filter and a history of its own.
    """
    seen = Drill(fault)
    shopper = f"shopper-{next(_shoppers)}"
    known = [item for item in shop.bundle.item_ids if _available(shop.bundle, item)]
    sent = [_event(shop, shopper, known[n], n) for n in range(2)]
    _ask(shop, Drill(fault), {"user_id": shopper})  # leaves a vector in the cache
    with fault.strike(shop):
        for n in range(2, 2 + rounds):
            sent.append(_event(shop, shopper, known[n % len(known)], n))
            seen.served_by[_ask(shop, seen, {"user_id": shopper})] += 1
            _ask(shop, seen, {})
            _ask(shop, seen, {"history": [{"item_id": known[0]}], "category": ["DAIRY"]})
    mended = time.perf_counter()
    while True:
        sent.append(_event(shop, shopper, known[0], 2 + rounds))
        after = Drill(fault)
        _ask(shop, after, {"user_id": shopper})
        seen.mended = time.perf_counter() - mended
        if sent[-1] is not None and not after.degraded and not after.wrong:
            break
        still = f"{sent[-1]}, {after.degraded}, {after.wrong}"
        assert seen.mended < MENDED_SECONDS, f"{fault.name}: still {still}"
        time.sleep(0.02)
    acknowledged = {moment for moment in sent if moment is not None}
    history = shop.client.get(f"/v1/users/{shopper}/history?limit=1000").json()["events"]
    moments = Counter(event["timestamp"] for event in history)
    seen.acknowledged = len(acknowledged)
    seen.found = sum(moment in moments for moment in acknowledged)
    seen.twice = sum(moments[moment] > 1 for moment in acknowledged)
    return seen


def check(seen: Drill) -> None:
    """What every fault promises: full, valid lists in time, and every event exactly once."""
    fault = seen.fault
    assert not seen.wrong, f"{fault.name}: {seen.wrong[:3]}"
    # A busy machine may make one request late that the fault has nothing to do with.
    (served_by, _), *_ = seen.served_by.most_common()
    assert served_by in fault.served_by, f"{fault.name}: {seen.served_by}"
    assert fault.stage is None or fault.stage in seen.degraded, f"{fault.name}: {seen.degraded}"
    assert (seen.found, seen.twice) == (seen.acknowledged, 0), fault.name


def _event(shop: Shop, shopper: str, item: str, n: int) -> str | None:
    """Post an event at a moment of its own; that moment if it was acknowledged."""
    moment = f"2026-01-{1 + n // 1440:02d}T{n // 60 % 24:02d}:{n % 60:02d}:00Z"
    event = {"user_id": shopper, "item_id": item, "event_type": "view", "timestamp": moment}
    answer = shop.client.post("/v1/events", json=event | {"event_id": f"{shopper}-{n}"})
    return moment if answer.status_code == 200 else None


def _ask(shop: Shop, seen: Drill, request: dict[str, Any]) -> str:
    """Ask for ten items, judge the answer, and return what served it."""
    started = time.perf_counter()
    answer = shop.client.post("/v1/recommendations", json={"k": 10, **request})
    seen.seconds.append(time.perf_counter() - started)
    if answer.status_code != 200:
        seen.wrong.append(f"{answer.status_code}: {answer.text[:300]}")
        return "nothing"
    content = answer.json()
    shown = ids(content)
    if len(set(shown)) != 10:
        seen.wrong.append(f"{len(set(shown))} items: {shown}")
    if sold_out := [item for item in shown if not _available(shop.bundle, item)]:
        seen.wrong.append(f"sold out: {sold_out}")
    if "category" in request and not all(_in(shop.bundle, item, "DAIRY") for item in shown):
        seen.wrong.append(f"not of the category: {shown}")
    for reason in content["degraded"]:
        seen.degraded[reason.partition(":")[0]] += 1
    served_by: str = content["served_by"]
    return served_by


def _available(bundle: Bundle, item: str) -> bool:
    return bool(bundle.catalog.available[bundle.row_of_item[item]])


def _in(bundle: Bundle, item: str, category: str) -> bool:
    code = bundle.catalog.categories.index(category)
    return bool((bundle.catalog.category[bundle.row_of_item[item]] == code).any())


@contextmanager
def broken(owner: type, name: str, behave: Callable[[Callable[..., Any]], Any]) -> Iterator[None]:
    """While it lasts, the method `name` of every `owner` is `behave(original)(...)`."""
    original = getattr(owner, name)
    setattr(owner, name, behave(original))
    try:
        yield
    finally:
        setattr(owner, name, original)


@contextmanager
def raising(owner: type, name: str) -> Iterator[None]:
    """The method raises an OSError."""

    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is away")

    with broken(owner, name, lambda _: fail):
        yield


@contextmanager
def hanging(owner: type, name: str, seconds: float = HANG_SECONDS) -> Iterator[None]:
    """The method takes so long, or until the fault is mended."""
    mended = threading.Event()

    def behave(original: Callable[..., Any]) -> Callable[..., Any]:
        def hang(*values: Any, **named: Any) -> Any:
            mended.wait(seconds)
            return original(*values, **named)

        return hang

    with broken(owner, name, behave):
        try:
            yield
        finally:
            mended.set()
