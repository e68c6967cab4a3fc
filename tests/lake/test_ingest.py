"""Properties of a whole ingest: everything is accounted for, and a run either counts or did not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake.lake_shop import EVENTS_CSV, ITEMS_CSV, NOW, ingest_texts, rows, shop_settings, write
from vitrina.errors import DataError
from vitrina.lake import ingest as ingest_module
from vitrina.lake.datasets.complete_journey import write_complete_journey
from vitrina.lake.ingest import STAGES, ingest
from vitrina.lake.shoppers import START
from vitrina.lake.tables import current_tables, read_report
from vitrina.settings import LakeSettings, PathSettings, Settings

FEW = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))

FIELD = st.sampled_from(
    ["", "ann", "soup", "bread", "view", "purchase", "2024-05-01", "1714557600"]
)
MESSY_LINE = st.one_of(
    st.lists(FIELD, min_size=5, max_size=5).map(",".join),
    st.lists(FIELD, min_size=1, max_size=7).map(",".join),
    st.text(st.characters(codec="utf-8", exclude_characters="\r\n\0"), max_size=12),
    st.just('ann,soup,"view,2024-05-01,'),
)
ROW = st.tuples(
    st.sampled_from(["ann", "ben", ""]),
    st.sampled_from(["soup", "bread", "milk", "caviar"]),
    st.sampled_from(["view", "purchase", "telepathy"]),
    st.integers(0, 300).map(lambda minutes: datetime(2024, 5, 1) + timedelta(minutes=minutes)),
)


@FEW
@given(
    st.lists(st.one_of(MESSY_LINE, ROW.map(lambda row: ",".join(map(str, row)) + ",")), max_size=30)
)
def test_every_row_read_is_kept_or_quarantined_or_a_duplicate(lines: list[str]) -> None:
    with TemporaryDirectory() as folder:
        report = ingest_texts(Path(folder), events=EVENTS_CSV + "\n".join(lines) + "\n")
        quarantine = rows(Path(folder), "quarantine")
        kept = rows(Path(folder), "events")

    events = report.events
    assert events.read == events.kept + sum(events.quarantined.values()) + events.duplicates
    assert events.kept == len(kept) >= 3
    lost = [row for row in quarantine if row["table"] == "events" and not row["row_kept"]]
    assert len(lost) == sum(events.quarantined.values())


def test_a_session_that_the_shop_names_is_kept(tmp_path: Path) -> None:
    events = (
        "user_id,session_id,item_id,event_type,timestamp\n"
        "ann,visit-1,soup,view,2024-05-01T10:00\n"
        "ann,visit-1,bread,view,2024-05-01T15:00\n"
        "ann,,milk,view,2024-05-01T15:01\n"
    )
    ingest_texts(tmp_path, events=events)
    sessions = [event["session_id"] for event in rows(tmp_path, "events")]
    assert sessions == ["visit-1", "visit-1", "ann@20240501T150100"]


def test_ingesting_twice_gives_the_same_tables(tmp_path: Path) -> None:
    events = EVENTS_CSV + ",soup,view,2024-05-01,\nben,milk,view,2024-05-02T11:10:00Z,x\n"
    first = ingest_texts(tmp_path, events=events)
    before = [rows(tmp_path, table) for table in ("items", "events", "quarantine")]
    second = ingest_texts(tmp_path, events=events, scope="all")
    assert [rows(tmp_path, table) for table in ("items", "events", "quarantine")] == before
    assert (second.items, second.events) == (first.items, first.events)
    assert len(list((tmp_path / "lake").glob("tables-*"))) <= 2


@settings(FEW, max_examples=4)
@given(st.permutations(["a.csv", "b.csv", "c.jsonl", "d.parquet"]), st.lists(ROW, max_size=10))
def test_the_order_of_input_files_does_not_matter(
    order: list[str], extra: list[tuple[str, str, str, datetime]]
) -> None:
    header = "user_id,item_id,event_type,timestamp\n"
    line = "ann,soup,view,2024-05-01T10:00:00Z\n"
    with TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "a.csv", header + line)
        write(
            folder / "b.csv",
            header.replace(",", ";") + "".join(";".join(map(str, row)) + "\n" for row in extra),
        )
        write(
            folder / "c.jsonl",
            '{"user_id": "ann", "item_id": "soup", "event_type": "view", '
            '"timestamp": 1714557600, "value": 2}\n',
        )
        duckdb.sql(
            "SELECT 'ann' AS user_id, 'soup' AS item_id, 'view' AS event_type, 3.0 AS value, "
            "TIMESTAMP '2024-05-01 10:00:00' AS timestamp"
        ).write_parquet(str(folder / "d.parquet"))
        items = [write(folder / "items.csv", ITEMS_CSV)]
        files = [str(folder / name) for name in order]
        ingest(shop_settings(folder, items, files), now=NOW)
        shuffled = rows(folder, "events"), rows(folder, "quarantine")
        ingest(shop_settings(folder, items, sorted(files)), now=NOW, scope="all")
        assert (rows(folder, "events"), rows(folder, "quarantine")) == shuffled


def test_a_run_stopped_at_any_stage_leaves_the_last_tables(tmp_path: Path) -> None:
    ingest_texts(tmp_path)
    before, tables = rows(tmp_path, "events"), current_tables(tmp_path / "lake")
    write(tmp_path / "events.csv", EVENTS_CSV + "ben,milk,view,2024-05-03,\n")
    settings = shop_settings(
        tmp_path, [str(tmp_path / "items.csv")], [str(tmp_path / "events.csv")]
    )
    stages = list(STAGES)

    def stop(name: str) -> None:
        if name == stages[0]:
            raise KeyboardInterrupt

    while stages:
        with pytest.raises(KeyboardInterrupt):
            ingest(settings, now=NOW, progress=stop)
        assert current_tables(tmp_path / "lake") == tables
        assert rows(tmp_path, "events") == before
        assert [path.name for path in (tmp_path / "lake").glob("*tables-*")] == [tables.name]
        del stages[0]
    assert ingest(settings, now=NOW).events.kept == 4


def test_ctrl_c_in_the_middle_of_a_query_leaves_the_last_tables(tmp_path: Path) -> None:
    ingest_texts(tmp_path)
    before = rows(tmp_path, "events")
    duckdb.sql(
        "SELECT 'u' || range % 1000 AS user_id, 'soup' AS item_id, 'view' AS event_type, "
        "'2024-05-01T10:00:00.' || range % 1000000 AS timestamp FROM range(800000)"
    ).write_parquet(str(tmp_path / "many.parquet"))
    program = f"""
from pathlib import Path
from vitrina.lake.ingest import ingest
from vitrina.settings import *
ingest(Settings(paths=PathSettings(lake=Path({str(tmp_path / "lake")!r})),
    lake=LakeSettings(items=[{str(tmp_path / "items.csv")!r}],
                      events=[{str(tmp_path / "many.parquet")!r}])),
    progress=lambda stage: print(stage, flush=True))
"""
    source = Path(ingest_module.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    child = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert child.stdout is not None
    while child.stdout.readline().strip() != "check events":
        assert child.poll() is None
    time.sleep(0.1)
    child.send_signal(signal.SIGINT)
    _, error = child.communicate(timeout=30)
    assert "KeyboardInterrupt" in error
    assert child.returncode != 0
    assert rows(tmp_path, "events") == before
    assert not list((tmp_path / "lake").glob(".tables-*"))


def test_two_ingests_at_once_are_refused(tmp_path: Path) -> None:
    ingest_texts(tmp_path)
    settings = shop_settings(
        tmp_path, [str(tmp_path / "items.csv")], [str(tmp_path / "events.csv")]
    )

    def again(stage: str) -> None:
        with pytest.raises(DataError, match="Another ingest"):
            ingest(settings, now=NOW)

    ingest(settings, now=NOW, progress=again)


def test_the_report_of_a_run_lies_beside_its_tables(tmp_path: Path) -> None:
    report = ingest_texts(tmp_path)
    assert read_report(tmp_path / "lake") == report.to_json()
    assert (report.users, report.sessions) == (2, 2)
    assert report.first_event == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert list(report.seconds) == list(STAGES)


def test_unknown_columns_are_ignored_and_named(tmp_path: Path) -> None:
    report = ingest_texts(tmp_path, items="Item_ID ,colour\nsoup,red\nbread,brown\nmilk,white\n")
    assert report.items.ignored_columns == ["colour"]
    assert report.items.kept == 3


def test_the_demo_shop_is_ingested_whole(tmp_path: Path) -> None:
    demo = write_complete_journey(tmp_path, as_of=datetime(2017, 12, 1), smoke=True)
    report = ingest(
        Settings(
            paths=PathSettings(lake=tmp_path / "lake"),
            lake=LakeSettings(items=[str(demo.items)], events=[str(demo.events)]),
        )
    )
    assert report.items.kept == demo.products
    assert report.events.read == demo.purchases
    assert report.events.quarantined == {}
    assert report.users == 250


def test_tables_of_an_earlier_version_say_what_to_do_and_are_made_anew(tmp_path: Path) -> None:
    ingest_texts(tmp_path)
    (month,) = (current_tables(tmp_path / "lake") / "events").iterdir()
    pq.write_table(pq.read_table(month).drop_columns([START]), month)
    with pytest.raises(DataError, match="Run 'vitrina ingest' again"):
        rows(tmp_path, "events")
    ingest_texts(tmp_path, scope="all")
    assert len(rows(tmp_path, "events")) == 3
