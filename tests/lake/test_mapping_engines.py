"""What a map makes of awkward values is the same on DuckDB and on Spark."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import narwhals as nw
import pytest

from lake.lake_shop import EVENTS_CSV, ITEMS_CSV, NOW, rows, write
from vitrina.lake.engine import DuckDBEngine, Engine
from vitrina.lake.ingest import ingest
from vitrina.lake.mapping import map_columns
from vitrina.settings import LakeSettings, PathSettings, Settings
from vitrina.settings_sources import Source

TEXTS = [
    *("2024-05-01", "2024-05-01 10:30", "2024-05-01T10:30:00,123456789+02", "2024-02-30"),
    *("2019-10-01 00:00:00 UTC", "1999-12-31T23:59:59.999999+14:00", "2024-03-31 02:30:00"),
    *("2024-10-27 02:30:00", "1714557600", "1714557600.25", "1714557600250", "1714557600250123"),
    *("1.5.2024", "31/12/2023 7:05", "5/1/2024, 2:03:09 PM", "20240501", "2024/5/1 09:30"),
    *("5-1-2024 13:00 am", "12/1/2024 12:00 AM", "31.2.2024"),
    *("99999999999999999", "1000-01-01", "8999-12-30", "0", "0.5", "+1", "1e5", "1e400", "nan"),
    *(
        "$1,299.00",
        "1.299,00 €",
        "CHF 1'299.50",
        "Rs. 1,29,999",
        "-€5,00",
        "−3.50",
        "1\u00a0299,00",
    ),
    *("$.50", ".5", "5.", "1,2,3", "12,34", "12\u2028", "٣", "1\n", "\t1", " ", "", "x", "9" * 20),
    *("In Stock", "sold out", "17", "0.0", "-2", "YES", "A/B//C", " > A >B> ", "a\x1fb", "A\x0b>B"),
]
FLOATS = [
    0.0,
    1.5,
    -2.25,
    0.1,
    1e-7,
    1e9 + 0.123456,
    1714557600.25,
    1.71455760025e15,
    2.0**53,
    1e20,
]
FLOATS += [float("nan"), float("inf"), -1.0, 123456789.123456, 12.345]
MAPS: list[tuple[Any, dict[str, Any]]] = [
    ("events", {"timestamp": "v", "user_id": "w", "value": "w", "position": "w"}),
    ("events", {"timestamp": {"column": "v", "unit": "iso", "zone": "Europe/Berlin"}}),
    ("events", {"timestamp": {"column": "v", "unit": "s", "zone": "America/New_York"}}),
    ("events", {"timestamp": {"column": "v", "unit": "ms"}}),
    ("events", {"timestamp": {"column": "v", "unit": "us"}}),
    ("events", {"timestamp": {"column": "v", "unit": "dmy"}}),
    ("events", {"timestamp": {"column": "v", "unit": "mdy", "zone": "Europe/Berlin"}}),
    ("events", {"timestamp": {"column": "v", "unit": "ymd"}}),
    ("events", {"timestamp": {"column": "v", "zone": "Australia/Lord_Howe"}}),
    ("events", {"timestamp": {"column": "v", "add": {"column": "w", "unit": "ms"}}}),
    ("items", {"price": {"column": "v", "decimal": "."}, "available": "v", "title": ["v", "w"]}),
    ("items", {"price": {"column": "v", "decimal": ",", "unit": 0.01}, "category_path": "v"}),
    ("items", {"price": {"column": "w", "unit": 1000}, "category_path": ["v", "w"]}),
    ("items", {"category_path": {"column": "v", "separator": "/"}, "item_id": "v"}),
]


@pytest.fixture(scope="module")
def engines(spark: Engine) -> Iterator[tuple[Engine, Engine]]:
    with DuckDBEngine() as local:
        yield local, spark


@pytest.mark.parametrize("kind", ["texts", "floats", "integers"])
def test_every_value_means_the_same(engines: tuple[Engine, Engine], kind: str) -> None:
    chance = random.Random(1)
    noise = ["".join(chance.choices("0123456789-:T .,Z+€$'>/", k=12)) for _ in range(200)]
    values: list[Any] = {
        "texts": TEXTS + noise,
        "floats": FLOATS,
        "integers": [0, 1, -1, 1714557600, 1714557600250, 1714557600250123, 2**62],
    }[kind]
    numbers = [chance.choice([*FLOATS, 526309.0]) for _ in values]
    for table, columns in MAPS if kind == "texts" else MAPS[:1] + MAPS[3:5] + MAPS[-2:]:
        source = Source.model_validate({"files": "a", "columns": columns})
        found = []
        for engine in engines:
            raw = engine.from_columns({"v": values, "w": numbers, "_row": range(len(values))})
            raw = raw.with_columns(_file=nw.lit(0))
            mapped = map_columns(raw, table, source).select("_row", *columns).sort("_row")
            found.append(engine.collect(mapped).to_pylist())
        for place, (one, other) in enumerate(zip(*found, strict=True)):
            assert repr(one) == repr(other), (columns, values[place], numbers[place])


def test_names_with_dots_are_columns_like_others(
    tmp_path: Path, engines: tuple[Engine, Engine]
) -> None:
    """Spark takes a dot for a field of a struct."""
    items = write(tmp_path / "items.csv", ITEMS_CSV)
    events = write(tmp_path / "e.csv", EVENTS_CSV.replace("item_id", "properties.`item`.id"))
    columns = {"item_id": "properties.`item`.id"}
    parquet = tmp_path / "more.parquet"
    duckdb.sql(
        "SELECT 'eve' AS user_id, 'soup' AS \"properties.`item`.id\", 'view' AS event_type, "
        "TIMESTAMP '2024-05-03' AS timestamp, [1, 2] AS \"a.b\""
    ).write_parquet(str(parquet))
    tables = []
    for engine in ("duckdb", "spark"):
        lake = LakeSettings.model_validate(
            {
                "engine": engine,
                "memory_gb": 1,
                "items": [items],
                "events": [{"files": [events, str(parquet)], "columns": columns}],
            }
        )
        folder = tmp_path / engine
        ingest(Settings(paths=PathSettings(lake=folder / "lake"), lake=lake), now=NOW)
        tables.append(rows(folder, "events"))
    assert tables[0] == tables[1]
    assert len(tables[0]) == 4
