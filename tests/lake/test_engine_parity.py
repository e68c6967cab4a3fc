"""DuckDB and Spark make the same lake, row for row."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import pytest

from lake.awkward_shop import write_awkward_shop
from lake.lake_shop import NOW
from vitrina.lake.datasets.complete_journey import write_complete_journey
from vitrina.lake.diff import diff_lakes
from vitrina.lake.ingest import ingest
from vitrina.lake.report import IngestReport
from vitrina.lake.shards import SHARDS, shard_files
from vitrina.lake.tables import current_tables
from vitrina.settings import LakeSettings, PathSettings, Settings


def ingest_on(engine: str, folder: Path, items: str, events: str) -> tuple[Path, IngestReport]:
    lake = folder / f"lake-{engine}"
    settings = Settings.model_validate(
        {
            "paths": PathSettings(lake=lake),
            "lake": LakeSettings(engine=engine, items=[items], events=[events], memory_gb=1),
        }
    )
    return lake, ingest(settings, now=NOW)


def assert_both_make_the_same_lake(folder: Path, items: str, events: str) -> IngestReport:
    """Tables, report and quality figures; returns the report."""
    duckdb, report = ingest_on("duckdb", folder, items, events)
    spark, other = ingest_on("spark", folder, items, events)
    assert [table for table in diff_lakes(duckdb, spark) if not table.identical] == []
    reports = [made.to_json() | {"seconds": None} for made in (report, other)]
    assert reports[0] == reports[1]
    figures = [
        json.loads((current_tables(at) / "quality.json").read_text()) for at in (duckdb, spark)
    ]
    assert figures[0] == figures[1]
    shards = [shard_files(current_tables(at) / SHARDS) for at in (duckdb, spark)]
    contents = [{shard.name: shard.read_bytes() for shard in each} for each in shards]
    assert contents[0] == contents[1]
    return report


@pytest.mark.usefixtures("spark")
def test_a_real_shop_is_the_same_on_both_engines(tmp_path: Path) -> None:
    demo = write_complete_journey(tmp_path, as_of=datetime(2017, 12, 1), smoke=True)
    report = assert_both_make_the_same_lake(tmp_path, str(demo.items), str(demo.events))
    assert report.users == 250


@pytest.mark.usefixtures("spark")
def test_an_awkward_shop_is_the_same_on_both_engines(tmp_path: Path) -> None:
    report = assert_both_make_the_same_lake(tmp_path, *write_awkward_shop(tmp_path))
    assert report.events.kept > 100_000
    assert report.events.duplicates > 400
    assert len(report.events.quarantined) >= 11
    assert len(report.items.repaired) >= 5
