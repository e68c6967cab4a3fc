"""Bad bundles and bad disks: the bundle in service serves on, and /readyz says what is wrong."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import orjson
import pytest

from chaos.drill import Drill, Fault, Shop, is_whole
from served import ServerProcess, Supervised, eventually, ids, shop_settings
from shop import tiny_bundle
from vitrina.bundle.bundle import INDEX, ITEMS
from vitrina.bundle.manifest import read_manifest, write_manifest
from vitrina.bundle.registry import POINTER, Registry
from vitrina.bundle.writer import file_entry


@contextmanager
def pointing(shop: Shop, content: bytes, problem: str) -> Iterator[None]:
    """The registry's pointer is `content`, which /readyz reports with `problem`."""
    pointer = shop.bundle.path.parent / POINTER
    good = pointer.read_bytes()
    pointer.write_bytes(content)
    try:
        eventually(lambda: problem in (shop.client.get("/readyz").json()["problem"] or ""))
        yield
    finally:
        pointer.write_bytes(good)
    eventually(lambda: shop.client.get("/readyz").json()["problem"] is None)


@contextmanager
def serving_bad(shop: Shop, spoil: Callable[[Path], None], problem: str) -> Iterator[None]:
    """Another bundle is current, and spoilt: promotion would refuse it, disks are less careful."""
    registry = shop.bundle.path.parent
    bad = registry / "20260109T090000-baad"
    shutil.copytree(shop.bundle.path, bad)
    write_manifest(bad, replace(read_manifest(bad), version=bad.name))
    spoil(bad)
    pointer = orjson.loads((registry / POINTER).read_bytes()) | {"version": bad.name}
    try:
        with pointing(shop, orjson.dumps(pointer), problem):
            yield
    finally:
        shutil.rmtree(bad)


def truncate_index(folder: Path) -> None:
    content = (folder / INDEX).read_bytes()
    (folder / INDEX).write_bytes(content[: len(content) // 2])


def index_of_another_shop(folder: Path) -> None:
    other = tiny_bundle(folder / "other", seed=3)
    shutil.copyfile(other / INDEX, folder / INDEX)
    shutil.rmtree(folder / "other")
    manifest = read_manifest(folder)
    files = {**manifest.files, INDEX: file_entry(folder / INDEX)}
    write_manifest(folder, replace(manifest, files=files))


@contextmanager
def files_gone(shop: Shop) -> Iterator[None]:
    """Somebody has removed the folder of the bundle in service."""
    folder = shop.bundle.path
    away = folder.with_name(f".away-{folder.name}")
    folder.rename(away)
    try:
        yield
    finally:
        away.rename(folder)


FAULTS = (
    Fault(
        "index file of the new bundle truncated",
        lambda shop: serving_bad(shop, truncate_index, f"{INDEX} has"),
        None,
        {"learned"},
    ),
    Fault(
        "new bundle with an index of another space",
        lambda shop: serving_bad(shop, index_of_another_shop, "lives in"),
        None,
        {"learned"},
    ),
    Fault(
        "registry's pointer unreadable",
        lambda shop: pointing(shop, b"{", "registry cannot be read"),
        None,
        {"learned"},
    ),
    Fault("files of the bundle in service removed", files_gone, None, {"learned"}),
)


def test_a_file_truncated_in_place_costs_what_is_in_hand(
    tmp_path: Path, bundle_path: Path, keep_row: Callable[[Drill], None]
) -> None:
    registry = Registry(tmp_path / "bundles")
    for path in (bundle_path, tiny_bundle(tmp_path / "drafts", seed=1)):
        registry.promote(registry.publish(path, metrics={}))
    (good,) = registry.earlier()
    server = Supervised.start(tmp_path, workers=1)
    seen = Drill(Fault("file of the bundle in service truncated, one worker", files_gone, None, ()))

    def ask() -> str:
        started = time.perf_counter()
        try:
            answer = server.client.get("/v1/recommendations?user_id=ada&k=10").json()
        except httpx.TransportError:  # the worker ended with it in hand
            seen.degraded["connections lost"] += 1
            return ""
        seen.seconds.append(time.perf_counter() - started)
        seen.served_by[answer["served_by"]] += 1
        assert len(ids(answer)) == 10
        return str(answer["bundle"])

    try:
        event = {"user_id": "ada", "item_id": "item-0003", "event_type": "view"}
        seen.acknowledged = server.client.post("/v1/events", json=event).json()["accepted"]
        assert ask() == registry.current()
        served = registry.path(str(registry.current()))
        os.truncate(served / ITEMS, 0)
        struck = time.perf_counter()
        eventually(lambda: ask() == good, seconds=60)
        seen.mended = time.perf_counter() - struck
        assert seen.degraded["connections lost"] == 1
        assert f"{ITEMS} has 0 bytes" in server.client.get("/readyz").json()["problem"]
        seen.found = len(server.client.get("/v1/users/ada/history").json()["events"])
        assert seen.found == seen.acknowledged == 1
    finally:
        server.end()
    keep_row(seen)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_shoppers_do_not_notice(
    fault: Fault, shop: Shop, run_drill: Callable[[Fault, Shop], Drill]
) -> None:
    seen = run_drill(fault, shop)
    # What the fault did it would do to all; a busy machine makes a few late.
    assert max(seen.degraded.values(), default=0) < len(seen.seconds) / 2


def test_promotions_under_load_fail_no_request_and_leave_no_memory_behind(
    tmp_path: Path, bundle_path: Path, pytestconfig: pytest.Config
) -> None:
    registry = Registry(shop_settings(tmp_path).paths.bundles)
    versions = [
        registry.publish(path, metrics={})
        for path in (bundle_path, tiny_bundle(tmp_path / "drafts", seed=1))
    ]
    registry.promote(versions[0])
    server = ServerProcess.start(tmp_path)
    done, seen, failures = threading.Event(), set[str](), list[str]()

    def shop() -> None:
        with httpx.Client(base_url=server.client.base_url, timeout=30) as client:
            while not done.is_set():
                answer = client.get("/v1/recommendations?user_id=ada&k=10")
                content = answer.json()
                good = answer.status_code == 200 and len(content["items"]) == 10
                one_bundle = content.get("item_embedding_version") == f"items_v{content['bundle']}"
                if not (good and one_bundle) or content["degraded"]:
                    failures.append(answer.text)
                seen.add(content.get("bundle", ""))

    def swap(version: str) -> None:
        if version == versions[0]:
            registry.rollback()
        else:
            registry.promote(version)
        eventually(lambda: server.client.get("/readyz").json()["bundle"] == version)

    def memory_mb() -> float:
        status = Path(f"/proc/{server.process.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    shoppers = [threading.Thread(target=shop) for _ in range(3)]
    try:
        for shopper in shoppers:
            shopper.start()
        for _ in range(2):
            swap(versions[1])
            swap(versions[0])
        before = memory_mb()
        for _ in range(50 if is_whole(pytestconfig) else 3):
            swap(versions[1])
            swap(versions[0])
        after = memory_mb()
    finally:
        done.set()
        for shopper in shoppers:
            shopper.join()
        server.stop(signal.SIGKILL)
    assert not failures
    assert seen == set(versions)
    assert after - before < 30  # an encoder and its runtime left behind are 3 MB each
