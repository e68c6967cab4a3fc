"""A new file of events changes what it touches, and the tables equal those of a full run."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake.lake_shop import EVENTS_CSV, ITEMS_CSV, NOW, rows, shop_settings, write
from vitrina.lake.catalog import load_catalog
from vitrina.lake.datasets.complete_journey import write_complete_journey
from vitrina.lake.ingest import ingest
from vitrina.lake.last_set import Scope
from vitrina.lake.report import IngestReport
from vitrina.lake.shards import SHARDS, shard_files
from vitrina.lake.tables import TableName, current_tables

TABLES: tuple[TableName, ...] = get_args(TableName)
HEADER = "event_id,user_id,session_id,item_id,event_type,timestamp\n"
MIDNIGHT = datetime(2024, 4, 30, 22)

EVENT = st.tuples(
    st.sampled_from(["", "", "e1", "e2", "e3"]),
    st.sampled_from(["ann", "ben", ""]),
    st.sampled_from(["", "", "", "visit"]),
    st.sampled_from(["soup", "bread", "caviar"]),
    st.sampled_from(["view", "purchase", "telepathy"]),
    # Around the end of a month, a quarter of an hour apart: gaps of half an hour open and close.
    st.integers(0, 16).map(lambda n: MIDNIGHT + timedelta(minutes=15 * n)),
).map(lambda event: ",".join(str(field) for field in event))
FILES = st.lists(st.lists(EVENT, max_size=8), min_size=1, max_size=5)


def tables_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """All tables as rows, for files have an order of their own, and the shards as they are.

    Without when an item came, where its source does not say: only who saw it come knows.
    """
    shards = current_tables(folder / "lake") / SHARDS
    tables = {
        name: sorted(rows(folder, name), key=lambda row: repr(sorted(row.items())))
        for name in TABLES
    }
    for item in tables["items"]:
        del item["created_at"]
    return tables | {SHARDS: [{path.name: path.read_bytes()} for path in shard_files(shards)]}


def of_the_whole(report: IngestReport) -> IngestReport:
    """The report without what is only about the run."""
    events = replace(report.events, read_now=0)
    items = replace(report.items, read_now=0)
    return replace(report, events=events, items=items, rebuilt=None, seconds={})


@settings(max_examples=5, deadline=None, suppress_health_check=list(HealthCheck))
@given(files=FILES, data=st.data())
def test_batches_in_any_order_make_the_tables_of_one_full_run(
    files: list[list[str]], data: st.DataObject
) -> None:
    order = data.draw(st.permutations(range(len(files))))
    cuts = data.draw(st.sets(st.sampled_from(range(len(files)))))
    caviar_comes = data.draw(st.sampled_from(range(len(files) + 1)))
    with TemporaryDirectory() as name:
        folder = Path(name)
        items = [write(folder / "items.csv", ITEMS_CSV)]
        first = "e0,eve,,milk,view,2024-04-30T23:50:00"
        write(folder / "events" / "5.csv", HEADER + first + "\n")
        parts = shop_settings(folder / "parts", items, [str(folder / "events")])
        ingest(parts, now=NOW)
        report = None
        for position, number in enumerate(order):
            lines = "".join(line + "\n" for line in files[number])
            write(folder / "events" / f"{2 * number}.csv", HEADER + lines)
            if position == caviar_comes:
                write(folder / "items.csv", ITEMS_CSV + "caviar,Caviar,,,\n")
            if position in cuts:
                report = ingest(parts, now=NOW)
                assert report.rebuilt is None
        report = ingest(parts, now=NOW)
        whole = ingest(shop_settings(folder / "whole", items, [str(folder / "events")]), now=NOW)
        assert tables_of(folder / "parts") == tables_of(folder / "whole")
        assert of_the_whole(report) == of_the_whole(whole)


def months_written_anew(folder: Path, before: Path) -> set[str]:
    now = current_tables(folder / "lake") / "events"
    return {
        path.name
        for path in now.iterdir()
        if not (before / "events" / path.name).exists()
        or not path.samefile(before / "events" / path.name)
    }


def test_only_new_files_are_read_and_only_their_months_written(tmp_path: Path) -> None:
    shop = shop_settings(
        tmp_path, [write(tmp_path / "items.csv", ITEMS_CSV)], [str(tmp_path / "events")]
    )
    write(tmp_path / "events" / "may.csv", EVENTS_CSV)
    june = EVENTS_CSV.replace("2024-05", "2024-03")
    write(tmp_path / "events" / "march.csv", june)
    first = ingest(shop, now=NOW)
    assert first.rebuilt is not None
    before = current_tables(tmp_path / "lake")

    write(tmp_path / "events" / "late.csv", EVENTS_CSV + "ann,milk,view,2024-05-01T10:20:00Z,\n")
    second = ingest(shop, now=NOW)
    assert second.rebuilt is None
    assert (second.events.read_now, second.events.read) == (4, 10)
    assert (second.events.kept, second.events.duplicates) == (7, 3)
    assert (second.items.read_now, second.items.read) == (0, 3)
    assert months_written_anew(tmp_path, before) == {"2024-05.parquet"}
    sessions = {row["session_id"] for row in rows(tmp_path, "events") if row["user_id"] == "ann"}
    assert sessions == {"ann@20240301T100000", "ann@20240501T100000"}

    third = ingest(shop, now=NOW)
    assert (third.rebuilt, third.events.read_now) == (None, 0)
    assert of_the_whole(third) == of_the_whole(second)


def test_an_event_between_two_visits_makes_them_one(tmp_path: Path) -> None:
    line = "ann,soup,view,{},\n"
    header = "user_id,item_id,event_type,timestamp,value\n"
    write(
        tmp_path / "events" / "a.csv",
        header + line.format("2024-04-30T23:40") + line.format("2024-05-01T00:30"),
    )
    items = [write(tmp_path / "items.csv", ITEMS_CSV)]
    shop = shop_settings(tmp_path, items, [str(tmp_path / "events")])
    assert ingest(shop, now=NOW).sessions == 2
    write(tmp_path / "events" / "b.csv", header + line.format("2024-05-01T00:05"))
    report = ingest(shop, now=NOW)
    assert (report.rebuilt, report.sessions) == (None, 1)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("changed", "a.csv has changed"),
        ("removed", "a.csv is gone"),
        ("gap", "the session gap"),
        ("clock", "in the future no more"),
        ("mapping", "a.csv is mapped otherwise"),
    ],
)
def test_what_makes_old_verdicts_wrong_reads_everything_again(
    tmp_path: Path, change: str, why: str
) -> None:
    header = "user_id,item_id,event_type,timestamp,value\n"
    line = "ann,jam,view,2024-05-03,\nann,soup,view,2024-06-05,\n"
    write(tmp_path / "events" / "a.csv", EVENTS_CSV + line)
    write(tmp_path / "events" / "b.csv", header + "ben,milk,view,2024-05-03,\n")
    items = [write(tmp_path / "items.csv", ITEMS_CSV)]
    shop = shop_settings(tmp_path, items, [str(tmp_path / "events")])
    ingest(shop, now=NOW)
    now = NOW
    if change == "changed":
        write(tmp_path / "events" / "a.csv", EVENTS_CSV + line.replace("2024-05-03", "2024-05-04"))
    elif change == "removed":
        (tmp_path / "events" / "a.csv").unlink()
    elif change == "gap":
        lake = shop.lake.model_copy(update={"session_gap_minutes": 60})
        shop = shop.model_copy(update={"lake": lake})
    elif change == "clock":
        now = NOW + timedelta(days=10)
    elif change == "mapping":
        source = shop.lake.events[0].model_copy(update={"event_types": {"view": "click"}})
        lake = shop.lake.model_copy(update={"events": [source]})
        shop = shop.model_copy(update={"lake": lake})
    report = ingest(shop, now=now)
    assert report.rebuilt is not None
    assert why in report.rebuilt
    assert report.events.read_now == report.events.read
    assert ingest(shop, now=now).rebuilt is None


def test_events_that_waited_for_their_item_are_taken_up_when_the_catalog_has_it(
    tmp_path: Path,
) -> None:
    line = "ann,jam,view,2024-05-01T10:20:00Z,much\nann,caviar,view,2024-05-02,\n"
    events = write(tmp_path / "events.csv", EVENTS_CSV + line)
    items = write(tmp_path / "items.csv", ITEMS_CSV)
    shop = shop_settings(tmp_path, [items], [events])
    assert ingest(shop, now=NOW).events.kept == 3
    write(tmp_path / "items.csv", ITEMS_CSV + "jam,Jam,,,\n")
    report = ingest(shop, now=NOW)
    assert (report.rebuilt, report.events.read_now) == (None, 0)
    assert (report.events.kept, sum(report.events.quarantined.values())) == (4, 1)
    assert report.sessions == 2  # the view of the jam lies within ann's first visit
    notes = rows(tmp_path, "quarantine")
    assert {(note["row"], note["column"], note["row_kept"]) for note in notes} == {
        (4, "value", True),
        (5, "item_id", False),
    }
    parts = tables_of(tmp_path)
    ingest(shop, now=NOW, scope="all")
    assert tables_of(tmp_path) == parts


def test_a_catalog_that_changes_without_touching_events_leaves_them_alone(tmp_path: Path) -> None:
    items = write(tmp_path / "items.csv", ITEMS_CSV)
    shop = shop_settings(tmp_path, [items], [write(tmp_path / "events.csv", EVENTS_CSV)])
    ingest(shop, now=NOW)
    write(tmp_path / "items.csv", ITEMS_CSV.replace("1.50", "1.75") + "jam,Jam,,,\n")
    report = ingest(shop, now=NOW)
    assert (report.rebuilt, report.items.read_now, report.events.read_now) == (None, 4, 0)


@pytest.mark.parametrize("scope", ["new", "all"])
def test_an_item_that_leaves_the_catalog_keeps_its_events_and_is_not_to_be_had(
    tmp_path: Path, scope: Scope
) -> None:
    items = write(tmp_path / "items.csv", ITEMS_CSV)
    shop = shop_settings(tmp_path, [items], [str(tmp_path / "events")])
    write(tmp_path / "events" / "a.csv", EVENTS_CSV)
    ingest(shop, now=NOW)
    write(tmp_path / "items.csv", ITEMS_CSV.replace("soup", "oats"))
    header = "user_id,item_id,event_type,timestamp,value\n"
    write(tmp_path / "events" / "b.csv", header + "ben,soup,view,2024-05-03,\n")
    report = ingest(shop, now=NOW, scope=scope)
    assert (report.items.kept, report.events.quarantined) == (3, {})
    assert {row["user_id"] for row in rows(tmp_path, "events") if row["item_id"] == "soup"} == {
        *("ann", "ben")
    }
    catalog = load_catalog(tmp_path / "lake")
    assert catalog.item_ids == ["bread", "milk", "oats", "soup"]
    assert catalog.title[3] == "Tomato soup"
    assert catalog.available.tolist() == [True, True, True, False]


def test_a_file_that_was_only_touched_is_not_read_again(tmp_path: Path) -> None:
    events = write(tmp_path / "events.csv", EVENTS_CSV)
    shop = shop_settings(tmp_path, [write(tmp_path / "items.csv", ITEMS_CSV)], [events])
    ingest(shop, now=NOW)
    os.utime(events, (1, 1))
    assert ingest(shop, now=NOW).rebuilt is None


def test_a_file_of_no_use_is_tried_again_when_it_is_mended(tmp_path: Path) -> None:
    write(tmp_path / "events" / "a.csv", EVENTS_CSV)
    write(tmp_path / "events" / "b.csv", "")
    items = [write(tmp_path / "items.csv", ITEMS_CSV)]
    shop = shop_settings(tmp_path, items, [str(tmp_path / "events")])
    assert len(ingest(shop, now=NOW).events.unusable_files) == 1
    assert len(ingest(shop, now=NOW).events.unusable_files) == 1
    write(tmp_path / "events" / "b.csv", EVENTS_CSV.replace("ann", "eve"))
    mended = ingest(shop, now=NOW)
    assert mended.rebuilt is None
    assert (mended.events.unusable_files, mended.events.read, mended.events.kept) == ([], 6, 5)


@pytest.mark.slow
def test_a_year_of_real_purchases_in_weekly_files_equals_one_full_run(tmp_path: Path) -> None:
    demo = write_complete_journey(tmp_path / "input", as_of=datetime(2017, 12, 1), smoke=True)
    items = [str(demo.items)]
    parts = shop_settings(tmp_path / "parts", items, [str(tmp_path / "weeks")])
    (tmp_path / "weeks").mkdir()
    weeks = duckdb.sql(
        f"SELECT DISTINCT strftime(timestamp, '%W') FROM '{demo.events}' ORDER BY 1"
    ).fetchall()
    for position, (week,) in enumerate(weeks):
        duckdb.sql(
            f"SELECT * EXCLUDE (session_id) FROM '{demo.events}' "
            f"WHERE strftime(timestamp, '%W') = '{week}'"
        ).write_parquet(str(tmp_path / "weeks" / f"{week}.parquet"))
        if position % 16 == 15 or position > len(weeks) - 3:
            report = ingest(parts, now=NOW)
            assert (report.rebuilt is None) == (position > 15)
    whole = ingest(shop_settings(tmp_path / "whole", items, [str(tmp_path / "weeks")]), now=NOW)
    assert of_the_whole(report) == of_the_whole(whole)
    assert whole.events.read == demo.purchases
    for name in TABLES:
        assert rows(tmp_path / "parts", name) == rows(tmp_path / "whole", name)
