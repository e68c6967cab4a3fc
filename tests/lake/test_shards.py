"""Shards: whole sequences by bucket of shoppers, mapped into memory, a function of events alone."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.lake_shop import ingest_texts
from vitrina.errors import DataError
from vitrina.lake.engine import DuckDBEngine, Frame
from vitrina.lake.sequences import load_interactions, update_sequences, write_sequences
from vitrina.lake.shards import SCHEMA, SHARDS, bucket_of, read_shards
from vitrina.lake.shoppers import START
from vitrina.lake.tables import current_tables
from vitrina.schema import LOOKS

MIDNIGHT = datetime(2024, 5, 1)
SHOPPERS = ("ann", "ben", "Ågot", "用户", "dave")
events = st.lists(
    st.tuples(
        st.sampled_from(SHOPPERS),
        st.sampled_from(["s1", "s2"]),
        st.sampled_from(["bread", "soup"]),
        st.sampled_from(["view", "click", "purchase"]),
        st.integers(0, 6),
    ),
    min_size=1,
    max_size=40,
    unique_by=lambda event: (event[0], event[2], event[3], event[4]),
)


def shards_of(folder: Path, rows: list[tuple[str, str, str, str, int]]) -> None:
    """Write the sequences of (user, session, item, type, minute) rows to `folder`."""
    with DuckDBEngine() as engine:
        write_sequences(engine, frame_of(engine, rows), catalog_of(engine, rows), folder)


def catalog_of(engine: DuckDBEngine, rows: list[tuple[str, str, str, str, int]]) -> Frame:
    return engine.from_columns({"item_id": sorted({row[2] for row in rows} | {"never seen"})})


def frame_of(engine: DuckDBEngine, rows: list[tuple[str, str, str, str, int]]) -> Frame:
    user, session, item, kind, minute = zip(*rows, strict=True)
    return engine.from_columns(
        {
            "user_id": user,
            "session_id": session,
            "item_id": item,
            "event_type": kind,
            "timestamp": [MIDNIGHT + timedelta(minutes=m) for m in minute],
            START: pa.nulls(len(rows), pa.timestamp("us")),
        }
    )


def expected(rows: list[tuple[str, str, str, str, int]]) -> dict[str, list[tuple[Any, ...]]]:
    """Each shopper's sequence, by the definition, one event after the other."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for shopper, group in groupby(
        sorted(rows, key=lambda r: (r[0], r[4], r[2], r[3])), lambda r: r[0]
    ):
        own = list(group)
        sessions = sorted(
            {r[1] for r in own}, key=lambda s: (min(r[4] for r in own if r[1] == s), s)
        )
        kept: list[tuple[Any, ...]] = []
        before: tuple[Any, ...] = ()
        for _, session, item, kind, minute in own:
            looked = (session, item) if kind in LOOKS else ()
            if not looked or looked != before:
                pause = timedelta(minutes=minute - kept[-1][2]) if kept else timedelta(0)
                kept.append((item, kind, minute, pause, sessions.index(session)))
            before = looked
        found[shopper] = kept
    return found


@settings(max_examples=25, deadline=None)
@given(rows=events)
def test_a_sequence_is_ordered_and_a_repeated_look_counts_once(
    rows: list[tuple[str, str, str, str, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    shards_of(folder, rows)
    found: dict[str, list[tuple[Any, ...]]] = {}
    for path in folder.iterdir():
        for row in pa.Table.from_batches([pa.ipc.open_file(path).get_batch(0)]).to_pylist():
            assert bucket_of(row["user"]) == path.stem
            minute = (row["moment"].replace(tzinfo=None) - MIDNIGHT) // timedelta(minutes=1)
            event = (row["item"], row["event_type"], minute, row["pause"], row["session"])
            found.setdefault(row["user"], []).append(event)
    assert found == expected(rows)


def test_a_purchase_between_two_looks_and_another_session_keep_both(tmp_path: Path) -> None:
    looks = [
        ("ann", "s1", "soup", "view", 0),
        ("ann", "s1", "soup", "click", 1),  # a repeated look
        ("ann", "s1", "soup", "purchase", 2),
        ("ann", "s1", "soup", "purchase", 3),  # buying twice is buying twice
        ("ann", "s1", "soup", "view", 4),
        ("ann", "s2", "soup", "view", 5),  # back in another session
        ("ann", "s2", "soup", "view", 6),
    ]
    shards_of(tmp_path, looks)
    (shard,) = read_shards(tmp_path)
    assert shard["event_type"].to_pylist() == ["view", "purchase", "purchase", "view", "view"]
    assert shard["session"].to_pylist() == [0, 0, 0, 0, 1]


def test_a_shard_depends_on_its_own_shoppers_alone(tmp_path: Path) -> None:
    """So a run writes anew only the buckets of shoppers whose events changed."""
    rows = [(user, "s1", "soup", "view", minute) for user in SHOPPERS for minute in (0, 2)]
    late = [("ben", "s0", "apple", "dismiss", 1)]
    shards_of(tmp_path / "before", rows)
    shards_of(tmp_path / "after", rows + late)
    with DuckDBEngine() as engine:
        changed = engine.from_columns({"user_id": ["ben"], "session_id": ["s0"]})
        events = frame_of(engine, rows + late)
        items = catalog_of(engine, rows + late)
        update_sequences(engine, events, items, changed, tmp_path / "before", tmp_path / "updated")

    after = {path.name: path.read_bytes() for path in (tmp_path / "after").iterdir()}
    updated = {path.name: path for path in (tmp_path / "updated").iterdir()}
    assert {name: path.read_bytes() for name, path in updated.items()} == after
    anew = [n for n, path in updated.items() if not path.samefile(tmp_path / "before" / n)]
    assert anew == [f"{bucket_of('ben')}.arrow"]


def test_shards_are_mapped_not_read(tmp_path: Path) -> None:
    shards_of(tmp_path, [("ann", "s1", "soup", "view", minute) for minute in range(0, 5000)])
    allocated = pa.total_allocated_bytes()
    (shard,) = read_shards(tmp_path)
    assert shard.schema == SCHEMA
    assert pa.total_allocated_bytes() - allocated < shard.nbytes


def test_a_damaged_or_missing_shard_says_what_to_do(tmp_path: Path) -> None:
    ingest_texts(tmp_path)
    folder = current_tables(tmp_path / "lake") / SHARDS
    wanted = {"before_us": None, "item_ids": ["soup"], "event_types": ["view"]}
    shard = next(folder.iterdir())
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(DataError, match=f"{shard.name} is no readable shard.*vitrina ingest"):
        load_interactions(tmp_path / "lake", **wanted)
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with pytest.raises(DataError, match="no sequences"):
        load_interactions(tmp_path / "lake", **wanted)
