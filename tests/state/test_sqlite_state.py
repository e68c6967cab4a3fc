"""The event log and the histories: what is acknowledged stays, once, in the right order."""

from __future__ import annotations

import math
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrina.errors import DataError
from vitrina.schema import Event, History, Purchases
from vitrina.state.sqlite import SqliteState

MINUTE = 60_000_000


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SqliteState]:
    state = SqliteState(tmp_path / "state.sqlite")
    yield state
    state.close()


def event(
    event_id: str, item: str = "soup", kind: str = "view", at: int = 0, user: str | None = "ada"
) -> Event:
    return Event(event_id, item, kind, at, user_id=user)


def assert_same(left: Purchases, right: Purchases) -> None:
    """Equal, but for the rounding that the order of additions decides."""
    assert left.item_ids == right.item_ids
    assert left.counts == right.counts
    assert left.last_us == right.last_us
    assert left.recent == pytest.approx(right.recent)


def test_a_history_is_the_newest_events_oldest_first(state: SqliteState) -> None:
    state.append([event(f"e{n}", item=f"item-{n}", at=n * MINUTE) for n in range(10)])

    history = state.recent("ada", 3)

    assert history == History(
        ("item-7", "item-8", "item-9"), ("view",) * 3, tuple(n * MINUTE for n in (7, 8, 9))
    )
    assert state.recent("nobody", 3) == History()


def test_a_late_event_lands_where_it_belongs(state: SqliteState) -> None:
    state.append(
        [event("e1", item="bread", at=5 * MINUTE), event("e2", item="milk", at=9 * MINUTE)]
    )
    state.append([event("e3", item="eggs", at=7 * MINUTE)])
    assert list(state.recent("ada", 10).item_ids) == ["bread", "eggs", "milk"]


def test_an_event_sent_twice_counts_once(state: SqliteState) -> None:
    bought = event("e1", kind="purchase")
    assert state.append([bought, bought]) == 1
    assert state.append([bought]) == 0
    assert len(state.recent("ada", 10)) == 1
    assert list(state.purchases("ada").counts) == [1]


def test_a_session_has_a_history_of_its_own(state: SqliteState) -> None:
    state.append([Event("e1", "soup", "view", 1, session_id="ada")])
    assert len(state.recent("ada", 10)) == 0
    assert len(state.recent("session:ada", 10)) == 1
    assert state.shoppers(10) == []
    state.append([event(f"u{user}", user=user) for user in ("zoe", "bob", "session", "settle")])
    assert state.shoppers(10) == ["bob", "session", "settle", "zoe"]


def test_purchases_are_counted_by_item_and_the_old_ones_forgotten(state: SqliteState) -> None:
    day = 86_400_000_000
    state.append(
        [
            event("e1", kind="purchase", at=120 * day),
            event("e2", kind="purchase", at=60 * day),
            event("e3", kind="view", at=150 * day),
            event("e4", kind="purchase", item="tea", at=2 * day),
            event("e5", kind="purchase", at=180 * day),
        ]
    )
    bought = state.purchases("ada")
    assert bought.item_ids == ("soup", "tea")
    assert bought.counts == (3, 1)
    assert bought.last_us == (180 * day, 2 * day)
    assert bought.recent == pytest.approx((1 + math.exp(-1) + math.exp(-2), 1))


def test_the_log_is_read_back_in_order_and_whole(state: SqliteState) -> None:
    events = [
        Event("e1", "soup", "purchase", 5, "ada", None, "phone", 2.5, "r1", 3),
        Event("e2", "tea", "view", 1, session_id="s"),
    ]
    state.append(events)

    logged = state.read(after=0, limit=10)

    assert [Event(*row) for row in zip(*logged.columns.values(), strict=True)] == events
    first, second = logged.offsets
    assert first < second
    assert state.read(after=first, limit=10).columns["event_id"] == ("e2",)
    assert len(state.read(after=second, limit=10)) == 0


@given(
    st.lists(
        st.builds(
            Event,
            event_id=st.sampled_from([f"e{n}" for n in range(12)]),
            item_id=st.sampled_from(["soup", "tea", "naïve ☕", ""]),
            event_type=st.sampled_from(["view", "purchase"]),
            timestamp_us=st.integers(0, 5).map(lambda month: month * 30 * 86_400_000_000),
            user_id=st.sampled_from(["ada", "bob"]),
        ),
        unique_by=lambda entry: entry.event_id,
        max_size=12,
    ),
    st.data(),
)
def test_any_order_any_duplication_gives_the_same_state(
    events: list[Event], data: st.DataObject
) -> None:
    repeated = data.draw(
        st.permutations(
            events + data.draw(st.lists(st.sampled_from(events or [event("e")]), max_size=5))
            if events
            else []
        )
    )
    straight, shuffled = SqliteState(None), SqliteState(None)
    straight.append(events)
    for entry in repeated:
        shuffled.append([entry])
    for user in ("ada", "bob"):
        assert straight.recent(user, 100) == shuffled.recent(user, 100)
        assert_same(straight.purchases(user), shuffled.purchases(user))
    straight.close()
    shuffled.close()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ada", "bob"]),
            st.sampled_from(["soup", "tea"]),
            st.sampled_from(["view", "purchase"]),
            st.integers(0, 4),
        ),
        max_size=10,
    ),
    st.integers(0, 10),
    st.integers(0, 10),
)
def test_imported_and_logged_events_count_once_in_either_order(
    rows: list[tuple[str, str, str, int]], logged: int, imported: int
) -> None:
    def log(state: SqliteState) -> None:
        state.append(
            [
                Event(f"e{n}", item, kind, at, user_id=user)
                for n, (user, item, kind, at) in enumerate(rows[:logged])
            ]
        )

    def load(state: SqliteState) -> None:
        users, items, kinds, moments = (
            zip(*rows[imported:], strict=True) if rows[imported:] else ((),) * 4
        )
        state.load_histories(users, items, kinds, moments)

    log_first, load_first = SqliteState(None), SqliteState(None)
    log(log_first)
    load(log_first)
    load(load_first)
    log(load_first)
    for user in ("ada", "bob"):
        kept = {row for row in rows[:logged] + rows[imported:] if row[0] == user}
        assert len(log_first.recent(user, 100)) == len(kept)
        assert log_first.recent(user, 100) == load_first.recent(user, 100)
        assert_same(log_first.purchases(user), load_first.purchases(user))
        assert sum(log_first.purchases(user).counts) == sum(
            kind == "purchase" for _, _, kind, _ in kept
        )
    log_first.close()
    load_first.close()


def test_an_import_replaces_the_one_before_and_keeps_logged_events(state: SqliteState) -> None:
    state.append([event("e1", item="online", kind="purchase", at=9)])
    state.load_histories(["ada"], ["old"], ["purchase"], [1])
    state.load_histories(["ada", "bob"], ["new", "new"], ["view", "view"], [2, 2])

    assert list(state.recent("ada", 10).item_ids) == ["new", "online"]
    assert list(state.purchases("ada").item_ids) == ["online"]
    assert state.shoppers(10) == ["ada", "bob"]
    assert state.shoppers(1) == ["ada"]


def test_a_failed_import_leaves_everything_as_it_was(state: SqliteState) -> None:
    state.load_histories(["ada"], ["old"], ["view"], [1])
    with pytest.raises(sqlite3.IntegrityError):
        state.load_histories(["ada", "bob"], ["new", "new"], ["view", "view"], [2, None])  # type: ignore[list-item]
    assert list(state.recent("ada", 10).item_ids) == ["old"]


def test_a_failed_append_stores_none_of_its_events(state: SqliteState) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        state.append([event("e1"), Event("e2", "soup", "view", "noon", user_id="ada")])  # type: ignore[arg-type]
    assert state.recent("ada", 10) == History()
    assert state.append([event("e1")]) == 1


def test_writers_in_threads_and_other_processes_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    state, neighbour = SqliteState(path), SqliteState(path)  # as two processes have it

    def write(store: SqliteState, writer: int) -> None:
        for n in range(20):
            store.append([event(f"{writer}-{n}", item=f"{writer}-{n}", at=n)])
            assert len(store.recent("ada", 1000)) > n

    threads = [
        threading.Thread(target=write, args=(store, writer))
        for writer, store in enumerate((state, neighbour) * 2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(state.recent("ada", 1000)) == 80
    assert len(state.read(0, 1000)) == 80
    state.close()
    neighbour.close()


def test_trimming_takes_old_events_out_of_the_log_and_not_out_of_histories(
    state: SqliteState,
) -> None:
    state.append([event(f"e{n}", kind="purchase", item=f"i{n}", at=n) for n in range(12_000)])
    offsets = state.read(0, 20_000).offsets
    assert state.trim(offsets[-1], received_before_us=0) == 0
    assert state.trim(offsets[-1], received_before_us=2**62) == 11_999
    assert state.read(0, 10).columns["event_id"] == ("e11999",)
    assert state.event_id_at(offsets[-1]) == "e11999"
    assert state.event_id_at(offsets[0]) is None
    assert len(state.purchases("ada").item_ids) == 12_000
    state.append([event("new", at=1)])
    assert state.read(offsets[-1], 10).columns["event_id"] == ("new",)


def test_a_log_of_the_first_format_gets_a_name_and_keeps_its_events(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    state = SqliteState(path)
    state.append([event("e1")])
    name = state.log_id()
    state.close()
    with sqlite3.connect(path) as database:
        database.execute("DROP TABLE log_identity")
        database.execute("PRAGMA user_version = 1")
    database.close()
    state = SqliteState(path)
    assert len(state.read(0, 10)) == 1
    assert state.log_id() != name
    state.close()


ACKNOWLEDGING_WRITER = """
import sys
from pathlib import Path
from vitrina.schema import Event
from vitrina.state.sqlite import SqliteState

state = SqliteState(Path(sys.argv[1]))
for n in range(1_000_000):
    state.append([Event(f"e{n}", f"item-{n}", "purchase", n, user_id="ada")])
    print(n, flush=True)
"""


def test_kill_9_loses_no_acknowledged_event(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    for _ in range(2):
        writer = subprocess.Popen(
            [sys.executable, "-c", ACKNOWLEDGING_WRITER, str(path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert writer.stdout is not None
        for _ in range(25):
            acknowledged = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
        acknowledged = max([acknowledged, *map(int, writer.stdout.read().split())])
        writer.wait()

        state = SqliteState(path)
        stored = state.recent("ada", 1_000_000)
        # One more may have been written and not yet acknowledged.
        assert len(stored) in (acknowledged + 1, acknowledged + 2)
        assert len(state.purchases("ada").item_ids) == len(stored) == len(state.read(0, 1_000_000))
        assert set(state.purchases("ada").counts) == {1}
        state.close()
        path = tmp_path / "again" / "state.sqlite"


def test_a_file_that_is_no_database_is_refused_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    path.write_bytes(b"item_id,title\n1,Soup\n" * 1000)
    with pytest.raises(DataError, match=r"state\.sqlite cannot be used.*Move the file aside"):
        SqliteState(path)


def test_a_database_of_another_program_is_refused_and_untouched(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    with sqlite3.connect(path) as foreign:
        foreign.execute("CREATE TABLE invoices (id)")
    foreign.close()
    with pytest.raises(DataError, match="another program"):
        SqliteState(path)
    with sqlite3.connect(path) as foreign:
        assert foreign.execute("SELECT name FROM sqlite_schema").fetchall() == [("invoices",)]
    foreign.close()


def test_a_state_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    SqliteState(path).close()
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(DataError, match="format 99"):
        SqliteState(path)
