"""The lake's events as the columns of shoppers' histories."""

from __future__ import annotations

from pathlib import Path

import pytest

from lake.lake_shop import ingest_texts
from vitrina.errors import DataError
from vitrina.lake.histories import load_history_columns

EVENTS = """user_id,session_id,item_id,event_type,timestamp
ann,s1,soup,view,2024-05-01T10:00:00Z
,s2,bread,purchase,2024-05-01T12:00:00.000001+02:00
"""


def test_events_become_columns_by_history_key(tmp_path: Path) -> None:
    ingest_texts(tmp_path, events=EVENTS)
    columns = load_history_columns(tmp_path / "lake")
    rows = zip(
        columns.keys, columns.item_ids, columns.event_types, columns.timestamps_us, strict=True
    )
    assert len(columns) == 2
    assert set(rows) == {
        ("ann", "soup", "view", 1_714_557_600_000_000),
        ("session:s2", "bread", "purchase", 1_714_557_600_000_001),
    }


def test_without_tables_the_way_to_make_them_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="vitrina ingest"):
        load_history_columns(tmp_path / "lake")
