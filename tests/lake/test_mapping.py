"""The shop's own columns, units, zones and event types become ours, as `vitrina.toml` says."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import narwhals as nw
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.lake_shop import EVENTS_CSV, ITEMS_CSV, NOW, rows, write
from vitrina.errors import DataError
from vitrina.lake.contract import Table
from vitrina.lake.engine import DuckDBEngine
from vitrina.lake.ingest import ingest
from vitrina.lake.mapping import INCOMING, describe, map_columns
from vitrina.lake.report import IngestReport
from vitrina.lake.zones import to_utc
from vitrina.schema import ITEM_COLUMNS
from vitrina.settings import LakeSettings, PathSettings, Settings
from vitrina.settings_sources import ColumnMap, Source


def mapped(columns: dict[str, Any], values: dict[str, Any], wanted: str, **source: Any) -> Any:
    """One row of a file whose columns are `values`: what our column `wanted` becomes of it."""
    with DuckDBEngine() as engine:
        raw = engine.from_columns({name: [value] for name, value in values.items()})
        raw = raw.with_columns(_file=nw.lit(0), _row=nw.lit(1))
        read = Source.model_validate({"files": "a.csv", "columns": columns, **source})
        table: Table = "items" if wanted.removeprefix(INCOMING) in ITEM_COLUMNS else "events"
        return engine.collect(map_columns(raw, table, read).select(wanted))[wanted][0].as_py()


@pytest.mark.parametrize(
    ("column", "theirs", "moment"),
    [
        ({"column": "at"}, "2024-05-01T10:00:00Z", datetime(2024, 5, 1, 10)),
        ({"column": "at"}, "2019-10-01 00:00:00 UTC", datetime(2019, 10, 1)),
        ({"column": "at"}, "1714557600", datetime(2024, 5, 1, 10)),
        ({"column": "at"}, 1714557600250, datetime(2024, 5, 1, 10, 0, 0, 250_000)),
        ({"column": "at"}, "1714557600250123", datetime(2024, 5, 1, 10, 0, 0, 250_123)),
        ({"column": "at", "unit": "s"}, "91714557600", datetime(4876, 4, 26, 2)),
        ({"column": "at", "unit": "ms"}, "1714557600250", datetime(2024, 5, 1, 10, 0, 0, 250_000)),
        ({"column": "at", "unit": "us"}, 1714557600250123, datetime(2024, 5, 1, 10, 0, 0, 250_123)),
        ({"column": "at", "unit": "ms"}, 1714557600250.0, datetime(2024, 5, 1, 10, 0, 0, 250_000)),
        ({"column": "at", "unit": "iso"}, "1714557600", None),
        ({"column": "at", "unit": "dmy"}, "1.5.2024", datetime(2024, 5, 1)),
        ({"column": "at", "unit": "dmy"}, "31/12/2023 7:05", datetime(2023, 12, 31, 7, 5)),
        ({"column": "at", "unit": "dmy"}, "31.2.2023", None),
        ({"column": "at", "unit": "mdy"}, "5/1/2024, 2:03:09 PM", datetime(2024, 5, 1, 14, 3, 9)),
        ({"column": "at", "unit": "mdy"}, "05-01-2024 12:00 am", datetime(2024, 5, 1)),
        ({"column": "at", "unit": "mdy"}, "5/1/2024 13:03 PM", None),
        ({"column": "at", "unit": "ymd"}, "20240501", datetime(2024, 5, 1)),
        ({"column": "at", "unit": "ymd"}, 20240501, datetime(2024, 5, 1)),
        ({"column": "at", "unit": "ymd"}, "2024/5/1 09:30", datetime(2024, 5, 1, 9, 30)),
        ({"column": "at", "unit": "ymd"}, "1.5.2024", None),
        ({"column": "at", "unit": "ms"}, "2024-05-01", None),
        ({"column": "at", "zone": "Europe/Berlin"}, "2024-05-01", datetime(2024, 4, 30, 22)),
        (
            {"column": "at", "zone": "Europe/Berlin"},
            datetime(2024, 5, 1),
            datetime(2024, 4, 30, 22),
        ),
        # What names its zone, or counts from 1970, is not of the zone.
        ({"column": "at", "zone": "Europe/Berlin"}, "2024-05-01Z", None),
        ({"column": "at", "zone": "Europe/Berlin"}, "2024-05-01T00:00Z", datetime(2024, 5, 1)),
        ({"column": "at", "zone": "Europe/Berlin"}, "1714557600", datetime(2024, 5, 1, 10)),
        # 02:30 was left out in March, and came twice in October: the first of the two.
        (
            {"column": "at", "zone": "Europe/Berlin"},
            "2024-03-31 02:30",
            datetime(2024, 3, 31, 1, 30),
        ),
        (
            {"column": "at", "zone": "Europe/Berlin"},
            "2024-10-27 02:30",
            datetime(2024, 10, 27, 0, 30),
        ),
    ],
)
def test_a_moment_is_read_as_the_source_says(
    column: dict[str, str], theirs: Any, moment: datetime | None
) -> None:
    assert mapped({"timestamp": column}, {"at": theirs}, "timestamp") == moment


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(
        ["Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]
    ),
    st.lists(st.datetimes(datetime(1970, 2, 1), datetime(2049, 11, 1)), min_size=1, max_size=50),
)
def test_local_time_is_what_pep_495_says_of_the_first_of_two_readings(
    zone: str, readings: list[datetime]
) -> None:
    info = ZoneInfo(zone)
    # Readings around a change of the clock are the ones that matter.
    for year in range(1990, 2030, 7):
        for minutes in (119, 120, 150, 179, 180):
            readings.append(datetime(year, 3, 31) + timedelta(minutes=minutes))
            readings.append(datetime(year, 10, 31) - timedelta(days=2, minutes=-minutes))
    expected = [
        reading.replace(tzinfo=info).astimezone(UTC).replace(tzinfo=None) for reading in readings
    ]
    with DuckDBEngine() as engine:
        frame = engine.from_columns({"t": readings}).select(t=to_utc(nw.col("t"), zone))
        assert engine.collect(frame)["t"].to_pylist() == expected


def test_a_duration_is_added_to_a_moment() -> None:
    add = {"column": "day", "add": {"column": "frame", "unit": "ms"}}
    moments = [
        mapped({"timestamp": add}, {"day": "2016-05-09", "frame": frame}, "timestamp")
        for frame in ("526309", None, "soon")
    ]
    assert moments == [datetime(2016, 5, 9, 0, 8, 46, 309_000), datetime(2016, 5, 9), None]


def test_a_day_and_a_time_of_day_make_a_moment() -> None:
    columns = {"timestamp": {"column": ["day", "time"], "zone": "Europe/Berlin"}}
    moment = mapped(columns, {"day": "2024-01-09", "time": "13:05:07"}, "timestamp")
    assert moment == datetime(2024, 1, 9, 12, 5, 7)


@pytest.mark.parametrize(
    ("column", "theirs", "price"),
    [
        ({"column": "p"}, "12.5", 12.5),
        ({"column": "p"}, "1,299.00", None),
        ({"column": "p", "unit": 0.01}, "1299", 12.99),
        ({"column": "p", "unit": 0.01}, 1299, 12.99),
        ({"column": "p", "unit": 1000}, "1.5", 1500.0),
        ({"column": "p", "decimal": "."}, "$1,299.00", 1299.0),
        ({"column": "p", "decimal": "."}, "CHF 1'299.50", 1299.5),
        ({"column": "p", "decimal": "."}, "Rs. 1,29,999", 129999.0),
        ({"column": "p", "decimal": "."}, "$.50", 0.5),
        ({"column": "p", "decimal": "."}, "1.299,00 €", None),
        ({"column": "p", "decimal": ","}, "1.299,00 €", 1299.0),
        ({"column": "p", "decimal": ","}, "1 299,5", 1299.5),
        ({"column": "p", "decimal": ","}, "-5,00 EUR", -5.0),
        ({"column": "p", "decimal": ","}, "1,2,3", None),
        ({"column": "p", "decimal": ","}, "12.34.5", None),
        ({"column": "p", "decimal": ","}, "free", None),
        ({"column": "p", "decimal": ",", "unit": 0.01}, 1299, 12.99),
    ],
)
def test_a_price_is_read_as_the_source_says(
    column: dict[str, Any], theirs: Any, price: float | None
) -> None:
    assert mapped({"price": column}, {"p": theirs}, "price") == price


@settings(max_examples=10, deadline=None)
@given(st.lists(st.integers(0, 10**9), min_size=1, max_size=20), st.sampled_from([".", ","]))
def test_a_price_written_for_people_is_the_number_it_stands_for(
    cents: list[int], decimal: str
) -> None:
    english = [f"€ {cent / 100:,.2f}" for cent in cents]
    marks = str.maketrans(".,", ",.") if decimal == "," else {}
    with DuckDBEngine() as engine:
        raw = engine.from_columns({"p": [price.translate(marks) for price in english]})
        raw = raw.with_columns(_file=nw.lit(0), _row=nw.lit(1))
        source = Source(files=["a"], columns={"price": ColumnMap(column="p", decimal=decimal)})  # type: ignore[arg-type]
        found = engine.collect(map_columns(raw, "items", source))["price"].to_pylist()
    assert found == [cent / 100 for cent in cents]


@pytest.mark.parametrize(
    ("column", "values", "path"),
    [
        ({"column": "c"}, {"c": " A>B  > C "}, "A > B > C"),
        ({"column": "c", "separator": "/"}, {"c": "/A/B//C/"}, "A > B > C"),
        ({"column": "c", "separator": "."}, {"c": "electronics.audio"}, "electronics > audio"),
        ({"column": "c", "separator": " | "}, {"c": "A | B|C"}, "A > B|C"),
        ({"column": ["a", "b", "c"]}, {"a": "A", "b": None, "c": "C"}, "A > C"),
        ({"column": ["a", "b"]}, {"a": "A", "b": 7.0}, "A > 7"),
        ({"column": ["a", "b"]}, {"a": "", "b": " "}, None),
        ({"column": ["a", "b"]}, {"b": "only"}, "only"),
        ({"value": "Books"}, {"c": "x"}, "Books"),
        ({"value": ""}, {"category_path": "x"}, None),
    ],
)
def test_category_levels_come_from_columns_and_separators(
    column: dict[str, Any], values: dict[str, Any], path: str | None
) -> None:
    assert mapped({"category_path": column}, values, "category_path") == path


@pytest.mark.parametrize(
    ("theirs", "available"),
    [
        *(("In Stock", True), ("outofstock", False), ("17", True), ("0", False), ("-2", False)),
        *((3, True), (0.0, False), (True, True), ("soon", None), (None, None)),
    ],
)
def test_availability_is_a_word_or_a_stock(theirs: Any, available: bool | None) -> None:
    assert mapped({"available": "stock"}, {"stock": theirs}, "available") is available


def test_texts_of_several_columns_are_joined_by_a_blank() -> None:
    columns, values = {"title": ["name", "size"]}, {"name": " Soup ", "size": 0.5}
    assert mapped(columns, values, "title") == "Soup 0.5"


def test_event_types_are_renamed_and_unknown_ones_stay() -> None:
    types = {"pageview": "view", "transaction": "purchase", "view": "click"}
    for theirs, ours in [*types.items(), ("telepathy", "telepathy"), (None, None)]:
        found = mapped({"event_type": "e"}, {"e": theirs}, "event_type", event_types=types)
        assert found == ours


def test_a_column_that_the_map_reads_is_not_matched_by_name_besides() -> None:
    columns, values = {"user_id": "item_id", "request_id": "sku"}, {"item_id": "1", "sku": "2"}
    assert mapped(columns, values, "user_id") == "1"
    assert mapped({"brand": "title"}, {"title": "Acme"}, "brand") == "Acme"
    assert mapped({"brand": "title"}, {"title": "Acme"}, "title") is None


def test_what_the_file_had_stays_beside_what_it_became() -> None:
    columns, values = {"price": {"column": "p", "decimal": ","}}, {"p": "gratis"}
    assert mapped(columns, values, "price") is None
    assert mapped(columns, values, INCOMING + "price") == "gratis"


def test_a_map_is_told_in_words() -> None:
    moment = {"column": "at", "unit": "ms", "zone": "Asia/Tokyo"}
    assert describe(ColumnMap.model_validate(moment)) == "at (ms, Asia/Tokyo)"
    assert describe(ColumnMap(column=["a", "b"])) == "a, b"
    assert describe(ColumnMap(value="view")) == "always view"
    assert describe(ColumnMap(column="c", unit=0.01)) == "c (× 0.01)"


def run(folder: Path, items: list[Any], events: list[Any]) -> IngestReport:
    lake = LakeSettings(items=items, events=events)
    return ingest(Settings(paths=PathSettings(lake=folder / "lake"), lake=lake), now=NOW)


SHOP_ITEMS = "SKU;Name;Abteilung;Gruppe;Preis;Bestand\nA-1;Suppe;Essen;Suppen;1.299,50 €;3\n"
SHOP_CLICKS = (
    "Kunde;SKU;Aktion;Wann\nk1;A-1;Ansicht;2024-05-01 12:00:00\nk1;A-1;Kauf;1.5.2024\n"
    "k2;A-1;Rückgabe;2024-05-01 12:00:00\n"
)
ITEM_MAP = {
    "item_id": "sku",
    "title": "Name",
    "category_path": ["Abteilung", "Gruppe"],
    "price": {"column": "Preis", "decimal": ","},
    "available": "Bestand",
}
EVENT_MAP = {
    "user_id": "Kunde",
    "item_id": "SKU",
    "event_type": "Aktion",
    "timestamp": {"column": "Wann", "zone": "Europe/Berlin"},
}
EVENT_TYPES = {"Ansicht": "view", "Kauf": "purchase"}


def test_a_shop_with_its_own_names_is_ingested(tmp_path: Path) -> None:
    items = write(tmp_path / "artikel.csv", SHOP_ITEMS)
    events = write(tmp_path / "klicks.csv", SHOP_CLICKS)
    report = run(
        tmp_path,
        [{"files": items, "columns": ITEM_MAP}],
        [{"files": events, "columns": EVENT_MAP, "event_types": EVENT_TYPES}],
    )
    (item,) = rows(tmp_path, "items")
    assert item["item_id"] == "A-1"
    assert (item["price"], item["available"]) == (1299.5, True)
    assert item["category_path"] == "Essen > Suppen"
    (event,) = rows(tmp_path, "events")
    assert event["timestamp"] == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert event["event_type"] == "view"

    (mapped,) = report.items.mapped
    assert mapped["files"] == [items]
    assert mapped["columns"] == {
        "item_id": "sku",
        "title": "Name",
        "category_path": "Abteilung, Gruppe",
        "price": "Preis (decimal mark ',')",
        "available": "Bestand",
    }
    moment, kind = rows(tmp_path, "quarantine")
    assert (moment["row"], moment["column"]) == (2, "timestamp")
    assert "columns of its source" in moment["reason"]
    assert "timestamp=1.5.2024" in moment["raw"]
    assert (kind["row"], kind["column"]) == (3, "event_type")
    assert "event_types of its source" in kind["reason"]


def test_one_file_can_be_both_items_and_events(tmp_path: Path) -> None:
    text = "event_time,event_type,product_id,category_code,price,user_id\n"
    text += "2019-10-01 00:00:00 UTC,view,44,electronics.audio,35.5,u1\n"
    text += "2019-10-01 00:00:02 UTC,purchase,44,electronics.audio,33.2,u1\n"
    file = write(tmp_path / "2019-Oct.csv", text)
    category = {"column": "category_code", "separator": "."}
    report = run(
        tmp_path,
        [{"files": file, "columns": {"item_id": "product_id", "category_path": category}}],
        [{"files": file, "columns": {"item_id": "product_id", "timestamp": "event_time"}}],
    )
    assert (report.items.kept, report.items.duplicates, report.events.kept) == (1, 1, 2)
    (item,) = rows(tmp_path, "items")
    assert (item["category_path"], item["price"]) == ("electronics > audio", 33.2)


def test_lists_and_dotted_names_of_json_lines_are_mapped(tmp_path: Path) -> None:
    line = {"asin": "B1", "category": ["Toys", "Games"], "features": ["red", "big"]}
    items = write(tmp_path / "meta.jsonl", json.dumps(line) + "\n")
    events = write(tmp_path / "e.csv", EVENTS_CSV.replace("soup", "B1"))
    columns = {"item_id": "asin", "category_path": "category", "description": "features"}
    run(tmp_path, [{"files": items, "columns": columns}], [events])
    (item,) = rows(tmp_path, "items")
    assert (item["category_path"], item["description"]) == ("Toys > Games", "red big")


def test_parquet_keeps_its_types_on_the_way(tmp_path: Path) -> None:
    path = tmp_path / "e.parquet"
    duckdb.sql(
        "SELECT 7 AS customer, 'soup' AS sku, DATE '2024-05-01' AS day, 250::DECIMAL(9,2) AS cents"
    ).write_parquet(str(path))
    columns = {
        "user_id": "customer",
        "item_id": "sku",
        "timestamp": "day",
        "event_type": {"value": "purchase"},
        "value": {"column": "cents", "unit": 0.01},
    }
    items = write(tmp_path / "items.csv", ITEMS_CSV)
    run(tmp_path, [items], [{"files": str(path), "columns": columns}])
    (event,) = rows(tmp_path, "events")
    assert (event["user_id"], event["value"], event["event_type"]) == ("7", 2.5, "purchase")
    assert event["timestamp"] == datetime(2024, 5, 1, tzinfo=UTC)


def test_a_mistyped_column_of_a_map_is_named(tmp_path: Path) -> None:
    items = write(tmp_path / "items.csv", ITEMS_CSV)
    events = write(tmp_path / "events.csv", EVENTS_CSV)
    with pytest.raises(DataError, match=r"has the column 'prise', which columns\.price in"):
        run(tmp_path, [{"files": items, "columns": {"price": "prise"}}], [events])
    with pytest.raises(DataError, match=r"items.csv has no column 'sku'"):
        run(tmp_path, [{"files": items, "columns": {"item_id": "sku"}}], [events])


def test_a_column_that_came_later_is_missing_in_the_earlier_files_only(tmp_path: Path) -> None:
    write(tmp_path / "items" / "1.csv", "item_id\nsoup\n")
    write(tmp_path / "items" / "2.csv", "item_id,cost\nbread,250\n")
    source = {
        "files": str(tmp_path / "items"),
        "columns": {"price": {"column": "cost", "unit": 0.01}},
    }
    run(tmp_path, [source], [write(tmp_path / "events.csv", EVENTS_CSV)])
    prices = {item["item_id"]: item["price"] for item in rows(tmp_path, "items")}
    assert prices == {"soup": None, "bread": 2.5}


def test_a_moment_that_is_no_shops_is_set_apart(tmp_path: Path) -> None:
    events = EVENTS_CSV + "ann,soup,view,1970-01-01T00:00:00Z,\nann,soup,view,1714557,\n"
    items = write(tmp_path / "items.csv", ITEMS_CSV)
    report = run(tmp_path, [items], [write(tmp_path / "events.csv", events)])
    assert report.events.kept == 3
    assert {bad["reason"] for bad in rows(tmp_path, "quarantine")} == {
        "before 1990; check its unit under columns of its source in [lake]"
    }
