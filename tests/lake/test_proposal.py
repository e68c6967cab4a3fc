"""What `vitrina init --from` makes of exports that it has never seen."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lake.lake_shop import write
from vitrina.errors import DataError
from vitrina.lake.engine import DuckDBEngine
from vitrina.lake.propose.names import event_type_of, name_score, words_of
from vitrina.lake.propose.proposal import Draft, propose, weights


def proposed(folder: Path, files: dict[str, str]) -> list[Draft]:
    addresses = [write(folder / name, text) for name, text in files.items()]
    with DuckDBEngine() as engine:
        return propose(engine, addresses)


def maps(draft: Draft) -> dict[str, Any]:
    """The columns of a draft in their shortest form."""
    return {
        name: guess.map["column"] if list(guess.map) == ["column"] else dict(guess.map)
        for name, guess in draft.guesses.items()
    }


def test_a_shop_in_german_is_understood(tmp_path: Path) -> None:
    items, events = proposed(
        tmp_path,
        {
            "artikel.csv": "Artikelnr;Bezeichnung;Abteilung;Gruppe;Preis;Bestand\n"
            "A-1;Tomatensuppe;Essen;Suppen;1.299,50 €;3\nA-2;Erbsensuppe;Essen;Suppen;9,50 €;0\n",
            "klicks.csv": "Kunde;Artikelnr;Aktion;Wann\nk1;A-1;Ansicht;2024-05-01 12:00:00\n"
            "k2;A-2;Kauf;2024-05-02 12:00:00\nk2;A-1;Rückgabe;2024-05-02 13:00:00\n",
        },
    )
    assert maps(items) == {
        "item_id": "Artikelnr",
        "title": "Bezeichnung",
        "category_path": ["Abteilung", "Gruppe"],
        "price": {"column": "Preis", "decimal": ","},
        "currency": {"value": "EUR"},
        "available": "Bestand",
    }
    assert maps(events) == {
        "user_id": "Kunde",
        "item_id": "Artikelnr",
        "event_type": "Aktion",
        "timestamp": "Wann",
    }
    assert events.event_types == {"Ansicht": "view", "Kauf": "purchase"}
    assert events.unknown_types == ["Rückgabe"]
    assert weights([items, events])["Rückgabe"] == 0.0
    assert "no time zone" in events.guesses["timestamp"].note


def test_a_shopify_export_is_understood(tmp_path: Path) -> None:
    items, orders = proposed(
        tmp_path,
        {
            "products_export.csv": "Handle,Title,Body (HTML),Vendor,Type,Variant SKU,"
            "Variant Inventory Qty,Variant Price,Image Src\n"
            "tee,Tee,<p>Soft</p>,Acme,Shirts,T-1,4,19.99,https://cdn/t.jpg\n"
            "mug,Mug,<p>Hard</p>,Acme,Kitchen,M-1,0,9.99,https://cdn/m.jpg\n",
            "orders_export.csv": "Name,Email,Created at,Lineitem name,Lineitem sku,"
            "Lineitem price\n#1,a@x.org,2024-05-01 10:00:00 -0400,Tee,T-1,19.99\n"
            "#2,b@x.org,2024-05-02 10:00:00 -0400,Mug,M-1,9.99\n",
        },
    )
    found = maps(items)
    assert found["item_id"] == "Variant SKU"
    assert (found["title"], found["description"], found["brand"]) == (
        "Title",
        "Body (HTML)",
        "Vendor",
    )
    assert (found["price"], found["available"]) == ("Variant Price", "Variant Inventory Qty")
    assert maps(orders) == {
        "user_id": "Email",
        "item_id": "Lineitem sku",
        "event_type": {"value": "purchase"},
        "timestamp": "Created at",
        "value": "Lineitem price",
    }
    assert orders.guesses["timestamp"].note == ""


def test_items_are_made_of_events_where_there_is_no_catalog(tmp_path: Path) -> None:
    lines = "event_time,event_type,product_id,category_code,brand,price,user_id,user_session\n"
    lines += "2019-10-01 00:00:00 UTC,view,44,appliances.kitchen.kettle,bosch,35.79,u1,s1\n"
    lines += "2019-10-01 00:00:09 UTC,cart,45,appliances.kitchen.oven,bosch,335.5,u2,s2\n"
    items, events = proposed(tmp_path, {"2019-Oct.csv": lines})
    assert maps(items) == {
        "item_id": "product_id",
        "category_path": {"column": "category_code", "separator": "."},
        "price": "price",
        "brand": "brand",
    }
    assert maps(events)["session_id"] == "user_session"
    assert events.event_types == {"cart": "add_to_cart"}


def test_sessions_of_json_lines_are_taken_apart(tmp_path: Path) -> None:
    line = '{"session":%d,"events":[{"aid":7,"ts":1661724000278,"type":"clicks"},'
    line += '{"aid":8,"ts":1661724000378,"type":"orders"}]}\n'
    _, events = proposed(tmp_path, {"train.jsonl": line % 1 + line % 2})
    assert events.sample.unnest == "events"
    assert maps(events) == {
        "session_id": "session",
        "item_id": "aid",
        "event_type": "type",
        "timestamp": {"column": "ts", "unit": "ms"},
    }
    assert events.event_types == {"clicks": "click", "orders": "purchase"}


def test_a_file_without_a_header_gets_names_and_doubts(tmp_path: Path) -> None:
    lines = "".join(f"{n // 2},2014-04-07T10:5{n}:09.277Z,2145{n % 3},0\n" for n in range(8))
    _, events = proposed(tmp_path, {"yoochoose-clicks.dat": lines})
    assert events.sample.header == ["column_1", "column_2", "column_3", "column_4"]
    assert maps(events)["timestamp"] == "column_2"
    assert maps(events)["event_type"] == {"value": "click"}
    assert {name for name, _ in events.unsure()} == {"user_id", "item_id"}


def test_a_compressed_file_that_is_not_utf8_is_read(tmp_path: Path) -> None:
    lines = "Kunden-Nr;Artikelnr;Käufe am\n7;Bär;2024-05-01\n8;Öl;2024-05-02\n"
    path = tmp_path / "verkäufe.csv.gz"
    path.write_bytes(gzip.compress(lines.encode("latin-1")))
    with DuckDBEngine() as engine:
        _, events = propose(engine, [str(path)])
    assert events.sample.encoding == "cp1252"
    assert maps(events)["timestamp"] == "Käufe am"
    assert events.examples("item_id") == ["Bär", "Öl"]


def test_ids_are_found_by_what_both_files_have(tmp_path: Path) -> None:
    goods = "xref,blurb,tag price\n" + "".join(
        f"g{n},A thing of number {n},{n}.5\n" for n in range(30)
    )
    log = "who,thing,moment of it\n" + "".join(
        f"p{n % 7},g{n % 30},{1714557600 + n * 60}\n" for n in range(200)
    )
    items, events = proposed(tmp_path, {"goods.csv": goods, "log.csv": log})
    assert maps(items)["item_id"] == "xref"
    assert items.guesses["title"].confidence == "unsure"
    assert maps(events)["item_id"] == "thing"
    assert maps(events)["user_id"] == "who"
    assert maps(events)["timestamp"] == {"column": "moment of it", "unit": "s"}
    assert [name for name, _ in events.unsure()] == ["event_type"]


def test_a_day_is_completed_by_a_time_of_day(tmp_path: Path) -> None:
    lines = "customer_id,sku,order date,order time\n1,a,2024-05-01,10:05\n2,b,2024-05-02,23:59:59\n"
    _, events = proposed(tmp_path, {"sales.csv": lines})
    assert maps(events)["timestamp"] == ["order date", "order time"]
    lines = "sessionId;itemId;timeframe;eventdate\n1;8176;526309;2016-05-09\n"
    lines += "2;3133;1031018;2016-05-09\n"
    _, events = proposed(tmp_path, {"views.csv": lines})
    assert maps(events)["timestamp"] == {
        "column": "eventdate",
        "add": {"column": "timeframe", "unit": "ms"},
    }


@pytest.mark.parametrize(
    ("days", "unit"),
    [
        (("13.05.2024", "1.6.2024 10:05"), "dmy"),
        (("5/13/2024 1:05 PM", "6/1/2024 10:05 AM"), "mdy"),
        (("20240513", "20240601"), "ymd"),
        (("2024/05/13", "2024/06/01"), "ymd"),
    ],
)
def test_days_as_people_write_them_are_read(
    tmp_path: Path, days: tuple[str, str], unit: str
) -> None:
    lines = f"customer_id,sku,order_date\n1,a,{days[0]}\n2,b,{days[1]}\n"
    _, events = proposed(tmp_path, {"sales.csv": lines})
    assert maps(events)["timestamp"] == {"column": "order_date", "unit": unit}


def test_files_of_the_same_columns_are_one_source(tmp_path: Path) -> None:
    lines = "user_id,item_id,event_type,timestamp\nann,soup,view,2024-05-01T10:00:00Z\n"
    _, events = proposed(tmp_path, {"may.csv": lines, "june.csv": lines})
    assert [Path(address).name for address in events.addresses] == ["may.csv", "june.csv"]


def test_parquet_keeps_what_its_types_say(tmp_path: Path) -> None:
    path = tmp_path / "events.parquet"
    duckdb.sql(
        "SELECT range AS customer, range % 3 AS product_id, "
        "TIMESTAMPTZ '2024-05-01 10:00:00+02' AS bought_at, ['a', 'b'] AS tags FROM range(9)"
    ).write_parquet(str(path))
    with DuckDBEngine() as engine:
        _, events = propose(engine, [str(path)])
    assert maps(events)["timestamp"] == "bought_at"
    assert events.guesses["timestamp"].note == ""


def test_files_without_events_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"No file of a\.csv looks like events"):
        proposed(tmp_path, {"a.csv": "sku,title\n1,Soup\n2,Bread\n"})


@pytest.mark.parametrize(
    ("table", "ours", "theirs"),
    [
        ("items", "item_id", "ASIN"),
        ("items", "title", "productDisplayName"),
        ("items", "category_path", "google_product_category"),
        ("items", "image_url", "imageURLHighRes"),
        ("items", "available", "In stock?"),
        ("events", "user_id", "user_pseudo_id"),
        ("events", "user_id", "domain_userid"),
        ("events", "user_id", "reviewerID"),
        ("events", "item_id", "properties.product_id"),
        ("events", "item_id", "StockCode"),
        ("events", "timestamp", "unixReviewTime"),
        ("events", "timestamp", "InvoiceDate"),
        ("events", "session_id", "domain_sessionid"),
        ("events", "event_id", "messageId"),
    ],
)
def test_names_of_common_exports_are_known(table: Any, ours: str, theirs: str) -> None:
    assert name_score(table, ours, theirs) >= 0.75


def test_names_are_words() -> None:
    assert words_of("Variant SKU") == words_of("variantSku") == words_of("variant-sku")
    assert words_of(" Verfügbar ") == "verfuegbar"


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("Product Viewed", "view"),
        ("view_item", "view"),
        ("addtocart", "add_to_cart"),
        ("Order Completed", "purchase"),
        ("generate_lead", "contact_seller"),
        ("telepathy", None),
    ],
)
def test_words_for_events_are_known(theirs: str, ours: str | None) -> None:
    assert event_type_of(theirs) == ours
