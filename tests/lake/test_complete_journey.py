"""The demo's data set: the stated rules, seen in what is written."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

import duckdb
import pytest

from vitrina.lake.datasets.complete_journey import (
    CompleteJourney,
    readable,
    write_complete_journey,
)

AS_OF = datetime(2017, 12, 1)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> CompleteJourney:
    return write_complete_journey(tmp_path_factory.mktemp("demo"), as_of=AS_OF, smoke=True)


def test_only_goods_and_purchases_are_left(demo: CompleteJourney) -> None:
    found = duckdb.sql(
        f"SELECT count(*) FILTER (category_path ILIKE '%coupon%' OR category_path LIKE 'Fuel%'), "
        f"count(*) FILTER (category_path IS NULL) FROM '{demo.items}'"
    ).fetchall()
    assert found == [(0, 0)]
    assert duckdb.sql(f"FROM '{demo.events}' WHERE value <= 0").fetchall() == []
    unknown = duckdb.sql(
        f"FROM '{demo.events}' WHERE item_id NOT IN (SELECT item_id FROM '{demo.items}')"
    )
    assert len(unknown) == 0
    assert demo.dropped == {
        "products: department COUPON or FUEL": 55,
        "products: no category": 540,
        "products: coupon category": 121,
        "transactions: quantity or sales value not positive": 11275,
        "transactions: product unknown or not goods": 19625,
    }


def test_an_item_reads_like_a_shelf_label(demo: CompleteJourney) -> None:
    ((title, path, brand, attributes),) = duckdb.sql(
        f"SELECT title, category_path, brand, attributes FROM '{demo.items}' "
        "WHERE title LIKE 'Kids cereal, 14.5 oz (National)' ORDER BY item_id LIMIT 1"
    ).fetchall()
    assert title == "Kids cereal, 14.5 oz (National)"
    assert path == "Grocery > Cold cereal > Kids cereal"
    assert brand == f"National {json.loads(attributes)['manufacturer_id']}"


def test_a_price_knows_no_sale_of_the_future(demo: CompleteJourney, tmp_path: Path) -> None:
    early = write_complete_journey(tmp_path, as_of=datetime(2017, 2, 1), smoke=True)
    first_sales = f"SELECT item_id, min(timestamp) AS first FROM '{demo.events}' GROUP BY item_id"
    priced = duckdb.sql(
        f"SELECT count(*) FROM '{early.items}' JOIN ({first_sales}) USING (item_id) "
        "WHERE (price IS NOT NULL) <> (first < TIMESTAMP '2017-02-01')"
    ).fetchall()
    assert priced == [(0,)]


def test_the_smoke_slice_is_always_the_same_250_households(
    demo: CompleteJourney, tmp_path: Path
) -> None:
    again = write_complete_journey(tmp_path, as_of=AS_OF, smoke=True)
    both = [
        duckdb.sql(f"SELECT DISTINCT user_id FROM '{run.events}' ORDER BY 1").fetchall()
        for run in (demo, again)
    ]
    assert both[0] == both[1]
    assert len(both[0]) == 250


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("FRZN ICE", "Frozen ice"),
        ("SALD DRSNG/SNDWCH SPRD", "Salad dressing/sandwich spread"),
        ("BREAD:ITALIAN/FRENCH", "Bread: italian/french"),
        ("NON-CRBNTD DRNKING/MNERAL WATE", "Non-carbonated drinking/mineral water"),
        ("CHRISTMAS  SEASONAL", "Christmas seasonal"),
    ],
)
def test_shelf_labels_are_tidied(label: str, text: str) -> None:
    assert readable(label) == text
