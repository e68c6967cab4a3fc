"""The event log in the lake: every acknowledged event, once, whatever happens in between."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

import served
from lake.lake_shop import EVENTS_CSV, ITEMS_CSV, NOW, rows, shop_settings, write
from served import ServerProcess
from vitrina.bundle.registry import Registry
from vitrina.errors import DataError
from vitrina.lake import landing
from vitrina.lake.compaction import compact
from vitrina.lake.ingest import ingest
from vitrina.lake.landing import land, land_only_erasures, landed_until, watermark
from vitrina.lake.split import to_us
from vitrina.schema import IMPRESSION, Event
from vitrina.settings import LakeSettings, PathSettings, Settings
from vitrina.state.sqlite import SqliteState

MAY = to_us(datetime(2024, 5, 3, 12))


@pytest.fixture
def shop(tmp_path: Path) -> Settings:
    items = [write(tmp_path / "items.csv", ITEMS_CSV)]
    settings = shop_settings(tmp_path, items, [write(tmp_path / "events.csv", EVENTS_CSV)])
    ingest(settings, now=NOW)
    return settings


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SqliteState]:
    state = SqliteState(tmp_path / "state.sqlite")
    yield state
    state.close()


def views(first: int, last: int) -> list[Event]:
    """Events of ann, a minute apart."""
    return [
        Event(f"live-{n}", "soup", "view", MAY + n * 60_000_000, user_id="ann")
        for n in range(first, last)
    ]


def live(folder: Path) -> list[str]:
    ids = [row["event_id"] for row in rows(folder, "events")]
    return sorted(event_id for event_id in ids if event_id.startswith("live-"))


def test_events_of_the_log_come_into_the_lake_as_they_were_sent(
    tmp_path: Path, shop: Settings, state: SqliteState
) -> None:
    sent = Event("live-1", "soup", "purchase", MAY, "ann", None, "phone", 2.5, "r1", 3)
    visitor = Event("live-2", "milk", "view", MAY + 1, session_id="v1")
    state.append([sent, visitor])
    done = compact(shop, state, now=NOW)

    assert (done.landed, done.trimmed) == (2, 0)
    assert done.ingest is not None
    assert (done.ingest.rebuilt, done.ingest.events.read_now) == (None, 2)
    first, second = (row for row in rows(tmp_path, "events") if row["event_id"][:4] == "live")
    moment = first.pop("timestamp")
    assert moment == datetime(2024, 5, 3, 12, tzinfo=UTC)
    assert first == {
        "event_id": "live-1",
        "user_id": "ann",
        "session_id": "ann@20240503T120000",
        "item_id": "soup",
        "event_type": "purchase",
        "device_type": "phone",
        "value": 2.5,
        "request_id": "r1",
        "position": 3,
    }
    assert (second["user_id"], second["session_id"]) == (None, "v1")


def test_what_was_shown_lies_beside_the_events_each_once(
    tmp_path: Path, shop: Settings, state: SqliteState
) -> None:
    def shown(first: int, last: int) -> list[Event]:
        return [
            Event(f"shown-{n}", "soup", IMPRESSION, MAY + n, "ann", request_id="r1", position=n)
            for n in range(first, last)
        ]

    state.append([*shown(1, 4), *views(0, 2), *shown(4, 6)])
    done = compact(shop, state, now=NOW)
    assert done.landed == 2
    state.append(shown(6, 8))
    assert compact(shop, state, now=NOW).landed == 0
    state.append(views(2, 3))
    assert compact(shop, state, now=NOW).landed == 1
    assert live(tmp_path) == ["live-0", "live-1", "live-2"]
    assert not [row for row in rows(tmp_path, "quarantine") if row["reason"].startswith("unknown")]
    folder = shop.paths.lake / "log" / state.log_id()
    files = sorted(folder.glob("_impressions-*.parquet"))
    landed = [row for path in files for row in pq.read_table(path).to_pylist()]
    assert [row["event_id"] for row in landed] == [f"shown-{n}" for n in range(1, 8)]
    assert {(row["request_id"], row["position"]) for row in landed} == {
        ("r1", n) for n in range(1, 8)
    }


def test_each_run_takes_what_came_since_and_no_run_takes_anything_twice(
    tmp_path: Path, shop: Settings, state: SqliteState
) -> None:
    state.append(views(0, 5))
    assert compact(shop, state, now=NOW).landed == 5
    nothing = compact(shop, state, now=NOW)
    assert (nothing.landed, nothing.ingest) == (0, None)
    state.append(views(3, 9))
    again = compact(shop, state, now=NOW)
    assert (again.landed, again.watermark) == (4, landed_until(state, shop.paths.lake))
    assert live(tmp_path) == [f"live-{n}" for n in range(9)]
    # An ordinary ingest, and a full one, read the landed events as well, and find them the same.
    before = rows(tmp_path, "events")
    assert ingest(shop, now=NOW).events.read_now == 0
    full = ingest(shop, now=NOW, scope="all")
    assert (full.events.read_now, full.events.duplicates) == (12, 0)
    assert rows(tmp_path, "events") == before


def test_histories_loaded_from_the_lake_do_not_come_back_as_new_events(
    tmp_path: Path, shop: Settings, state: SqliteState
) -> None:
    state.append(views(0, 2))
    state.load_histories(["ann"], ["bread"], ["purchase"], [MAY])
    assert compact(shop, state, now=NOW).landed == 2
    assert live(tmp_path) == ["live-0", "live-1"]


def test_a_log_is_landed_in_files_of_bounded_size(
    tmp_path: Path, shop: Settings, state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(landing, "EVENTS_A_FILE", 3)
    state.append(views(0, 8))
    assert land(state, shop.paths.lake) == 8
    names = sorted(path.name for path in (shop.paths.lake / "log" / state.log_id()).iterdir())
    assert [(int(name[:20]), int(name[21:41])) for name in names] == [(1, 3), (4, 6), (7, 8)]
    ingest(shop, now=NOW)
    assert watermark(state, shop.paths.lake) == 8
    assert len(live(tmp_path)) == 8


def test_a_run_cut_off_between_its_steps_is_made_good_by_the_next(
    tmp_path: Path, shop: Settings, state: SqliteState
) -> None:
    lake = shop.paths.lake
    state.append(views(0, 4))
    # Cut off while a landing file was written …
    folder = lake / "log" / state.log_id()
    folder.mkdir(parents=True)
    torn = folder / f".{1:020}-{4:020}.parquet.99.tmp"
    torn.write_bytes(b"PAR1")
    # … and, next time, between landing and the tables.
    assert land(state, lake) == 4
    assert not torn.exists()
    assert watermark(state, lake) == 0
    state.append(views(4, 6))
    done = compact(shop, state, now=NOW)
    assert (done.landed, done.watermark) == (2, 6)
    assert len(live(tmp_path)) == 6
    assert done.ingest is not None
    assert done.ingest.events.duplicates == 0


def test_old_events_leave_the_log_once_the_tables_hold_them(
    tmp_path: Path, shop: Settings, state: SqliteState, monkeypatch: pytest.MonkeyPatch
) -> None:
    state.append(views(0, 4))
    land(state, shop.paths.lake)
    in_ten_days = time.time_ns() + timedelta(days=10) // timedelta(microseconds=1) * 1000
    monkeypatch.setattr(time, "time_ns", lambda: in_ten_days)
    # Landed is not enough: only the tables let histories be made anew.
    assert state.trim(watermark(state, shop.paths.lake), 2**62) == 0
    assert compact(shop, state, now=NOW).trimmed == 3  # the last one marks where landing goes on
    assert len(state.recent("ann", 10)) == 4
    state.append(views(1, 5))  # sent again, two of them far too late to be recognised
    done = compact(shop, state, now=NOW)
    assert done.landed == 3
    assert done.ingest is not None
    assert done.ingest.events.duplicates == 2
    assert live(tmp_path) == [f"live-{n}" for n in range(5)]


def test_a_log_put_back_from_a_copy_is_noticed(
    tmp_path: Path, shop: Settings, state: SqliteState
) -> None:
    state.append(views(0, 2))
    state.close()
    shutil.copy(tmp_path / "state.sqlite", tmp_path / "copy.sqlite")
    state = SqliteState(tmp_path / "state.sqlite")
    state.append(views(2, 4))
    compact(shop, state, now=NOW)
    restored = SqliteState(tmp_path / "copy.sqlite")
    restored.append(views(10, 15))
    with pytest.raises(DataError, match="replaced by an older copy"):
        compact(shop, restored, now=NOW)
    folder = shop.paths.lake / "log" / restored.log_id()
    folder.rename(folder.with_name(f"{folder.name}-before"))
    compact(shop, restored, now=NOW)
    assert live(tmp_path) == sorted(f"live-{n}" for n in (*range(4), *range(10, 15)))
    restored.close()
    state.close()


def test_a_new_log_is_read_from_its_beginning(
    tmp_path: Path, shop: Settings, state: SqliteState
) -> None:
    state.append(views(0, 3))
    compact(shop, state, now=NOW)
    other = SqliteState(tmp_path / "other.sqlite")
    other.append(views(3, 5))
    assert compact(shop, other, now=NOW).landed == 2
    assert len(live(tmp_path)) == 5
    other.close()


def test_a_shop_without_files_of_events_learns_from_its_log(
    tmp_path: Path, state: SqliteState
) -> None:
    items = [write(tmp_path / "items.csv", ITEMS_CSV)]
    state.append(views(0, 3))
    done = compact(shop_settings(tmp_path, items, []), state, now=NOW)
    assert done.ingest is not None
    assert (done.ingest.events.kept, len(live(tmp_path))) == (3, 3)


def test_events_that_may_not_train_do_not_come_into_the_lake(
    tmp_path: Path, shop: Settings, state: SqliteState
) -> None:
    private = [replace(each, purposes=("personalisation",)) for each in views(4, 8)]
    state.append([*views(0, 2), *private[:2], *views(2, 4), *private[2:]])
    done = compact(shop, state, now=NOW)
    assert (done.landed, len(live(tmp_path))) == (4, 4)
    assert compact(shop, state, now=NOW).landed == 0
    state.append(private[:1])
    assert compact(shop, state, now=NOW).landed == 0
    state.append(views(8, 9))
    assert compact(shop, state, now=NOW).landed == 1
    assert len(state.recent("ann", 20)) == 9


def test_after_an_erasure_the_lake_has_no_row_of_the_person(
    tmp_path: Path, shop: Settings, state: SqliteState
) -> None:
    in_a_minute = time.time_ns() // 1000 + 60_000_000
    later = Event("back", "soup", "view", in_a_minute, user_id="ann")
    visit = Event("visit", "milk", "view", MAY, session_id="v1")
    other = Event("live-99", "milk", "view", MAY + 1, user_id="ben")
    state.append([*views(0, 3), visit, other])
    compact(shop, state, now=NOW)  # the session is landed before anybody knows whose it is
    state.append(views(3, 5))
    compact(shop, state, now=NOW)  # a file that holds nobody else's
    state.identify("v1", "ann")
    state.append(views(5, 6))
    before = rows(tmp_path, "events")
    assert {"ann", "ben"} <= {row["user_id"] for row in before}
    state.erase("ann")

    done = compact(shop, state, now=NOW)

    assert done.ingest is not None
    assert done.ingest.rebuilt == "people have asked to be forgotten"
    after = rows(tmp_path, "events")
    assert after == [row for row in before if row["user_id"] != "ann" and row["session_id"] != "v1"]
    files = [path for path in (shop.paths.lake).rglob("*") if path.is_file()]
    assert not [path for path in files if b"visit" in _texts(path) or b"live-2" in _texts(path)]
    assert len(list(shop.paths.lake.glob("tables-*"))) == 1
    # It stays so, also for a full run over the shop's own files; whoever comes back is new.
    ingest(shop, now=NOW, scope="all")
    assert rows(tmp_path, "events") == after
    assert compact(shop, state, now=NOW).ingest is None
    state.append([later])
    assert compact(shop, state, now=NOW).landed == 1


def test_an_ingest_alone_honours_erasures_too(
    tmp_path: Path, shop: Settings, state: SqliteState
) -> None:
    state.erase("ann")
    land_only_erasures(state, shop.paths.lake)
    assert ingest(shop, now=NOW).rebuilt == "people have asked to be forgotten"
    assert "ann" not in {row["user_id"] for row in rows(tmp_path, "events")}


def _texts(path: Path) -> bytes:
    """All texts of a Parquet file, one after the other."""
    if path.suffix != ".parquet":
        return path.read_bytes()
    table = pq.read_table(path)
    return repr(table.to_pylist()).encode()


COMPACT = """
import sys
from pathlib import Path
from vitrina.lake.compaction import compact
from vitrina.settings import Settings
from vitrina.state.sqlite import SqliteState

settings = Settings.model_validate_json(sys.argv[1])
done = compact(settings, SqliteState(settings.paths.state))
print(done.landed, done.watermark)
"""


def compaction(settings: Settings) -> subprocess.Popen[str]:
    """A compaction in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", COMPACT, settings.model_dump_json()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


@pytest.mark.slow
def test_compaction_killed_again_and_again_loses_and_doubles_nothing_while_the_server_writes(
    tmp_path: Path, registry: Registry
) -> None:
    items = write(tmp_path / "items.csv", "item_id\nitem-0001\nitem-0002\n")
    settings = Settings(
        paths=PathSettings(
            lake=tmp_path / "lake", state=served.shop_settings(tmp_path).paths.state
        ),
        lake=LakeSettings(items=[items]),
    )
    server = ServerProcess.start(tmp_path)
    acknowledged: list[str] = []
    stop = threading.Event()

    def shoppers() -> None:
        number = 0
        while not stop.is_set():
            ids = [f"live-{number + n}" for n in range(5)]
            number += 5
            events = [
                {"event_id": each, "item_id": "item-0001", "event_type": "view", "user_id": each}
                for each in ids
            ]
            answer = server.client.post("/v1/events", json={"events": events})
            assert answer.status_code in (200, 202)
            acknowledged.extend(ids)
            time.sleep(0.01)

    writer = threading.Thread(target=shoppers)
    writer.start()
    dice = random.Random(0)
    try:
        for _ in range(6):
            process = compaction(settings)
            time.sleep(dice.uniform(0.8, 3.0))
            process.send_signal(signal.SIGKILL)
            process.communicate()
    finally:
        stop.set()
        writer.join()
    last = compaction(settings)
    _, error = last.communicate(timeout=120)
    assert last.returncode == 0, error
    server.stop()
    assert len(acknowledged) > 50
    assert live(tmp_path) == sorted(acknowledged)
    full = ingest(settings, scope="all")
    assert (full.events.read, full.events.duplicates) == (len(acknowledged), 0)
    assert live(tmp_path) == sorted(acknowledged)
