"""The embedded store: what only a file can meet."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stores import assert_same, event
from vitrina.errors import DataError
from vitrina.schema import PURPOSES, Event
from vitrina.state.sqlite import SqliteState
from vitrina.state.sqlite_tables import APPLICATION_ID, STEPS

MINUTE = 60_000_000


@pytest.fixture
def state(tmp_path: Path) -> Iterator[SqliteState]:
    state = SqliteState(tmp_path / "state.sqlite")
    yield state
    state.close()


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


@pytest.mark.parametrize("found", [1, 2])
def test_a_state_of_an_earlier_format_is_brought_up_to_date(tmp_path: Path, found: int) -> None:
    path = tmp_path / "state.sqlite"
    with sqlite3.connect(path) as database:
        for step in STEPS[:found]:
            database.executescript(step)
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        database.execute(f"PRAGMA user_version = {found}")
        database.execute(
            "INSERT INTO event_log (event_id, item_id, event_type, timestamp_us, user_id, "
            "received_at_us) VALUES ('e1', 'soup', 'view', 1, 'ada', 2)"
        )
        database.execute("INSERT INTO history VALUES ('ada', 1, 'soup', 'view')")
    database.close()
    state = SqliteState(path)
    assert state.read(0, 10).columns["purposes"] == [PURPOSES]
    assert state.append([event("e1"), event("e2", at=2)]) == 1
    assert len(state.recent("ada", 10)) == 2
    name = state.log_id()
    state.close()
    again = SqliteState(path)
    assert again.log_id() == name
    again.close()


ACKNOWLEDGING_WRITER = """
import sys
from pathlib import Path
from vitrina.schema import PURPOSES, Event, Purchases
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


WRITER_ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
from vitrina.errors import StateError
from vitrina.schema import Event
from vitrina.state.sqlite import SqliteState

state = SqliteState(Path(sys.argv[1]))
limit = 400_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
taken = 0
try:
    while True:
        moments = range(taken, taken + 9)
        taken += state.append([Event(f"e{at}", "soup", "view", at, "ada") for at in moments])
except StateError as error:
    assert "took none of these events" in str(error), error
assert len(state.recent("ada", 10**6)) == taken, "what was taken can be read"
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
taken += state.append([Event("room", "soup", "view", 10**9, "ada")])
print(taken)
"""


def test_a_full_disk_refuses_events_and_loses_none(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    writer = subprocess.run(
        [sys.executable, "-c", WRITER_ON_A_FULL_DISK, str(path)],
        check=True,
        capture_output=True,
        text=True,
    )
    taken = int(writer.stdout)
    assert taken > 100
    state = SqliteState(path)
    assert len(state.read(0, 10**6)) == len(state.recent("ada", 10**6)) == taken
    state.close()


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
