"""What shops really send: each fault is named with its place, and the rest is kept."""

from __future__ import annotations

import json
from pathlib import Path

import duckdb
import pytest

from lake.lake_shop import EVENTS_CSV, ITEMS_CSV, NOW, ingest_texts, rows, shop_settings, write
from vitrina.errors import DataError
from vitrina.lake.ingest import ingest
from vitrina.lake.readers.raw import RAW_CHARS

UNUSABLE_EVENTS = [
    (",soup,view,2024-05-03,", "user_id", "session_id too"),
    ("ann,,view,2024-05-03,", "item_id", "missing"),
    ("ann,soup,view,,", "timestamp", "missing"),
    ("ann,soup,view,yesterday,", "timestamp", "not a timestamp"),
    ("ann,soup,view,2024-02-30,", "timestamp", "not a timestamp"),
    ("ann,soup,view,2024-06-03,", "timestamp", "future"),
    ("ann,soup,,2024-05-03,", "event_type", "missing"),
    ("ann,soup,telepathy,2024-05-03,", "event_type", "unknown"),
    ("ann,caviar,view,2024-05-03,", "item_id", "catalog"),
    ("ann,soup,view", "timestamp", "fewer fields"),
    ("ann,soup,view,2024-05-03,1,2", None, "more fields"),
]


def test_an_unusable_event_is_set_apart_with_its_place(tmp_path: Path) -> None:
    lines = "\n".join(line for line, _, _ in UNUSABLE_EVENTS)
    report = ingest_texts(tmp_path, events=f"{EVENTS_CSV}{lines}\nann,milk,view,2024-05-04,\n")

    assert (report.events.read, report.events.kept) == (4 + len(UNUSABLE_EVENTS), 4)
    found = rows(tmp_path, "quarantine")
    assert {(bad["table"], bad["file"]) for bad in found} == {
        ("events", str(tmp_path / "events.csv"))
    }
    assert not any(bad["row_kept"] for bad in found)
    assert [bad["row"] for bad in found] == list(range(4, 4 + len(UNUSABLE_EVENTS)))
    for bad, (line, column, reason) in zip(found, UNUSABLE_EVENTS, strict=True):
        assert bad["column"] == column, line
        assert reason in bad["reason"], line
    first = {name: found[0][name] for name in ("table", "file", "row", "column", "reason")}
    assert report.examples[0] == first


def test_an_event_a_few_hours_ahead_is_a_clock_not_the_future(tmp_path: Path) -> None:
    report = ingest_texts(tmp_path, events=EVENTS_CSV + "ann,milk,view,2024-06-01T20:00:00Z,\n")
    assert report.events.kept == 4


def test_an_item_without_a_usable_price_is_kept_without_price(tmp_path: Path) -> None:
    prices = ["nan", "-1", "inf", "cheap", "1e400"]
    lines = "".join(f"jam-{price},Jam,Grocery,{price},\n" for price in prices)
    report = ingest_texts(tmp_path, items=ITEMS_CSV + lines)

    jams = [item for item in rows(tmp_path, "items") if item["item_id"].startswith("jam")]
    assert [jam["price"] for jam in jams] == [None] * 5
    assert report.items.quarantined == {}
    assert list(report.items.repaired.values()) == [5]
    notes = [
        (note["row"], note["column"], note["row_kept"]) for note in rows(tmp_path, "quarantine")
    ]
    assert notes == [(row, "price", True) for row in range(4, 9)]


def test_a_nan_price_in_parquet_is_no_price(tmp_path: Path) -> None:
    path = tmp_path / "items.parquet"
    duckdb.sql("SELECT 'soup' AS item_id, 'nan'::DOUBLE AS price").write_parquet(str(path))
    settings = shop_settings(tmp_path, [str(path)], [write(tmp_path / "e.csv", EVENTS_CSV)])
    report = ingest(settings, now=NOW)
    assert rows(tmp_path, "items")[0]["price"] is None
    assert sum(report.items.repaired.values()) == 1


def test_attributes_that_are_no_json_object_are_taken_out(tmp_path: Path) -> None:
    items = 'item_id,attributes\nsoup,"{""salt"": 1}"\nbread,[1]\nmilk,{broken\n'
    ingest_texts(tmp_path, items=items)
    found = {item["item_id"]: item["attributes"] for item in rows(tmp_path, "items")}
    assert found == {"soup": '{"salt": 1}', "bread": None, "milk": None}


def test_a_ten_megabyte_title_is_cut(tmp_path: Path) -> None:
    report = ingest_texts(tmp_path, items=ITEMS_CSV + f"jam,{'x' * 10_000_000},,,\n")

    (jam,) = [item for item in rows(tmp_path, "items") if item["item_id"] == "jam"]
    assert len(jam["title"]) == 1000
    assert report.items.kept == 4
    (note,) = rows(tmp_path, "quarantine")
    assert note["column"] == "title"
    assert len(note["raw"]) == RAW_CHARS


def test_a_ten_megabyte_title_in_json_lines_is_cut(tmp_path: Path) -> None:
    line = json.dumps({"item_id": "soup", "title": "x" * 10_000_000})
    items = write(tmp_path / "items.jsonl", line + '\n{"item_id": "bread"}\n')
    settings = shop_settings(tmp_path, [items], [write(tmp_path / "e.csv", EVENTS_CSV)])
    assert ingest(settings, now=NOW).items.kept == 2
    assert {len(item["title"] or "") for item in rows(tmp_path, "items")} == {0, 1000}


def test_bytes_that_are_not_utf8_cost_their_row_only(tmp_path: Path) -> None:
    items = ITEMS_CSV.encode() + b"jam,J\xe4m,,,\nrice,Rice,,,\n"
    report = ingest_texts(tmp_path, items=items)

    assert report.items.kept == 4
    (bad,) = rows(tmp_path, "quarantine")
    assert (bad["row"], bad["column"]) == (4, "title")
    assert "UTF-8" in bad["reason"]


def test_malformed_json_lines_cost_their_row_only(tmp_path: Path) -> None:
    lines = [
        b'{"item_id": "soup", "category_path": ["Grocery", "Soup"], "attributes": {"salt": 1}}',
        b"{broken",
        b'["item_id", "bread"]',
        b'{"item_id": "br\xffead"}',
        b"",
        b'{"title": "no id"}',
        b'{"item_id": 7, "price": 1.5, "available": true}',
    ]
    items = write(tmp_path / "items.jsonl", b"\n".join(lines))
    events = write(tmp_path / "events.csv", EVENTS_CSV)
    report = ingest(shop_settings(tmp_path, [items], [events]), now=NOW)

    assert (report.items.read, report.items.kept) == (6, 2)
    bad = {row["row"] for row in rows(tmp_path, "quarantine")}
    assert bad == {2, 3, 4, 6}
    seven, soup = rows(tmp_path, "items")
    assert (seven["item_id"], seven["price"], seven["available"]) == ("7", 1.5, True)
    assert soup["category_path"] == "Grocery > Soup"
    assert json.loads(soup["attributes"]) == {"salt": 1}


def test_exports_of_spreadsheets_are_read(tmp_path: Path) -> None:
    semicolons = "\ufeff" + ITEMS_CSV.replace(",", ";").replace("\n", "\r\n")
    mixed_ends = semicolons + 'jam;"Jam; sweet";;;\n'
    items = write(tmp_path / "items [1].csv", mixed_ends)
    events = write(tmp_path / "events.csv", EVENTS_CSV)
    assert ingest(shop_settings(tmp_path, [items], [events]), now=NOW).items.kept == 4
    assert "Jam; sweet" in {item["title"] for item in rows(tmp_path, "items")}


def test_moments_no_calendar_needs_are_set_apart(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    duckdb.sql(
        "SELECT 'ann' AS user_id, 'soup' AS item_id, 'view' AS event_type, unnest(["
        "TIMESTAMP '2024-05-01', TIMESTAMP '-infinity', TIMESTAMP 'infinity', "
        "TIMESTAMP '0001-01-01']) AS timestamp"
    ).write_parquet(str(path))
    items = write(tmp_path / "items.csv", ITEMS_CSV)
    report = ingest(shop_settings(tmp_path, [items], [str(path)]), now=NOW)
    assert (report.events.kept, sum(report.events.quarantined.values())) == (1, 3)


def test_a_quote_that_is_never_closed_is_set_apart(tmp_path: Path) -> None:
    report = ingest_texts(tmp_path, items=ITEMS_CSV + '"rice","Rice",,,\njam,"Jam,,,\n')
    assert report.items.kept == 4
    assert sum(report.items.quarantined.values()) == 1


def test_rows_are_numbered_as_in_the_file_behind_unreadable_rows(tmp_path: Path) -> None:
    lines = ["a,b,c"] * 3 + [f"ann,soup,view,2024-05-{day:02},{'x' * (day % 2)}" for day in (1, 2)]
    header = "user_id,item_id,event_type,timestamp,value\n"
    ingest_texts(tmp_path, events=header + "\n".join(lines) + "\na\nann,x,view,2024-05-03,\n")
    places = {(row["row"], row["column"]) for row in rows(tmp_path, "quarantine")}
    assert {(4, "value"), (7, "item_id")} <= places
    assert {row for row, _ in places} == {1, 2, 3, 4, 6, 7}


def test_the_last_of_duplicate_items_is_kept_and_the_others_counted(tmp_path: Path) -> None:
    report = ingest_texts(tmp_path, items=ITEMS_CSV + "soup,Better soup,,,\n")
    assert (report.items.duplicates, report.items.kept) == (1, 3)
    assert "Better soup" in {item["title"] for item in rows(tmp_path, "items")}


def test_an_event_sent_twice_counts_once(tmp_path: Path) -> None:
    events = (
        "event_id,user_id,session_id,item_id,event_type,timestamp\n"
        "e1,ann,,soup,view,2024-05-01T10:00:00Z\n"
        "e1,ann,,bread,view,2024-05-01T10:01:00Z\n"  # the same id
        "e2,ann,,soup,view,2024-05-01T12:00:00+02:00\n"  # the same shopper, item, type, moment
        ",ann,,milk,view,1714557600\n"
        ",ann,,milk,view,1714557600000\n"  # the same, without ids
        ",,ann,milk,view,1714557600\n"  # a session named like a user is another shopper
    )
    report = ingest_texts(tmp_path, events=events)
    assert (report.events.read, report.events.kept, report.events.duplicates) == (6, 3, 3)
    assert len({event["event_id"] for event in rows(tmp_path, "events")}) == 3


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.csv", b"", "is empty"),
        ("wide.csv", b"user_id,item_id,event_type\nann,soup,view\n", "'timestamp'"),
        ("who.csv", b"item_id,event_type,timestamp\nsoup,view,2024-05-01\n", "'session_id'"),
        ("twice.csv", b"item_id,item_id,event_type,timestamp,user_id\n", "twice"),
        ("utf16.csv", "item_id,event_type\n".encode("utf-16-le"), "encoding"),
        ("keys.jsonl", b'{"item": "soup"}\n', "'item_id'"),
        ("torn.parquet", b"PAR1 but no more", "Parquet"),
    ],
)
def test_an_unusable_file_is_named_and_the_others_are_read(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    bad = write(tmp_path / "events" / name, content)
    items = [write(tmp_path / "items.csv", ITEMS_CSV)]
    with pytest.raises(DataError, match=name) as raised:
        ingest(shop_settings(tmp_path, items, [bad]), now=NOW)
    assert message in str(raised.value)

    write(tmp_path / "events" / "good.csv", EVENTS_CSV)
    report = ingest(shop_settings(tmp_path, items, [str(tmp_path / "events")]), now=NOW)
    assert report.events.kept == 3
    (unusable,) = report.events.unusable_files
    assert unusable["file"] == bad
    assert message in unusable["reason"]


def test_a_parquet_file_damaged_in_the_middle_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "events" / "big.parquet"
    path.parent.mkdir()
    duckdb.sql(
        "SELECT 'ann' || range AS user_id, 'soup' AS item_id, 'view' AS event_type, "
        "TIMESTAMP '2024-05-01' + to_seconds(range) AS timestamp FROM range(50000)"
    ).write_parquet(str(path))
    content = bytearray(path.read_bytes())
    content[100:20_000] = bytes(19_900)
    path.write_bytes(content)
    write(tmp_path / "events" / "good.csv", EVENTS_CSV)
    items = [write(tmp_path / "items.csv", ITEMS_CSV)]
    report = ingest(shop_settings(tmp_path, items, [str(path.parent)]), now=NOW)
    assert report.events.kept == 3
    assert "big.parquet" in report.events.unusable_files[0]["reason"]


def test_an_address_without_files_is_an_error(tmp_path: Path) -> None:
    items = [write(tmp_path / "items.csv", ITEMS_CSV)]
    with pytest.raises(DataError, match=r"nothing-\*.*matches no file"):
        ingest(shop_settings(tmp_path, items, [str(tmp_path / "nothing-*.csv")]), now=NOW)
    with pytest.raises(DataError, match="No events to read"):
        ingest(shop_settings(tmp_path, items, []), now=NOW)


def test_a_shop_without_usable_events_is_refused_with_the_commonest_reason(tmp_path: Path) -> None:
    events = (
        "user_id,item_id,event_type,timestamp\nann,soup,buy,2024-05-01\nann,soup,x,2024-05-01\n"
    )
    with pytest.raises(DataError, match=r"no events to learn from.*\(2\): event_type: unknown"):
        ingest_texts(tmp_path, events=events)
    with pytest.raises(DataError, match="no items to learn from"):
        ingest_texts(tmp_path, items="item_id,title\n")
