"""REES46: the facts about a product are in its events."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lake.dataset_copy import events_of, ingest_copy, items_of, write_copy
from lake.lake_shop import rows

HEADER = (
    "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session\n"
)
OCTOBER = (
    HEADER + "2019-10-01 00:00:00 UTC,view,44600062,2103807459595387724,,shiseido,35.79,541312140,"
    "72d76fde-8bb3-4e00-8c23-a032dfed738c\n"
    "2019-10-01 00:00:00 UTC,view,3900821,2053013552326770905,"
    "appliances.environment.water_heater,aqua,33.20,554748717,"
    "9333dfbd-b87a-4708-9857-6336556b0fcc\n"
    "2019-10-01 00:00:05 UTC,cart,3900821,2053013552326770905,"
    "appliances.environment.water_heater,aqua,33.20,554748717,"
    "9333dfbd-b87a-4708-9857-6336556b0fcc\n"
)
NOVEMBER = (
    HEADER + "2019-11-01 00:00:01 UTC,purchase,3900821,2053013552326770905,"
    "appliances.environment.water_heater,aqua,31.00,554748717,"
    "9333dfbd-b87a-4708-9857-6336556b0fcd\n"
    "2019-11-02 00:00:01 UTC,remove_from_cart,5802432,1487580009286598681,,,0.32,562076640,"
    "09fafd6c-6c99-46b1-834f-33527f4de241\n"
)


@pytest.mark.parametrize("name", ["rees46-multi", "rees46-cosmetics"])
def test_the_months_become_one_shop(tmp_path: Path, name: str) -> None:
    copy = write_copy(tmp_path / "copy", {"2019-Oct.csv.gz": OCTOBER, "2019-Nov.csv": NOVEMBER})
    report = ingest_copy(tmp_path, name, copy)
    assert items_of(tmp_path) == {
        "44600062": {
            "item_id": "44600062",
            "title": "shiseido",
            "category_path": "2103807459595387724",
            "price": 35.79,
            "brand": "shiseido",
        },
        "3900821": {
            "item_id": "3900821",
            "title": "aqua water heater",
            "category_path": "appliances > environment > water heater",
            "price": 31.0,  # the last one
            "brand": "aqua",
        },
        "5802432": {"item_id": "5802432", "category_path": "1487580009286598681", "price": 0.32},
    }
    events = events_of(tmp_path, "user_id", "event_type", "value", "timestamp")
    assert [event[1] for event in sorted(events, key=lambda event: event[3])] == [
        "view",
        "view",
        "add_to_cart",
        "purchase",
        "remove_from_cart",
    ]
    assert ("554748717", "purchase", 31.0, datetime(2019, 11, 1, 0, 0, 1, tzinfo=UTC)) in events
    assert report.events.quarantined == {}


def test_a_price_has_its_history(tmp_path: Path) -> None:
    copy = write_copy(tmp_path / "copy", {"2019-Oct.csv": OCTOBER, "2019-Nov.csv": NOVEMBER})
    ingest_copy(tmp_path, "rees46-multi", copy)
    history = [
        (row["since"], row["price"])
        for row in rows(tmp_path, "snapshots")
        if row["item_id"] == "3900821"
    ]
    assert history == [
        (datetime(2019, 10, 1, tzinfo=UTC), 33.2),
        (datetime(2019, 11, 1, 0, 0, 1, tzinfo=UTC), 31.0),
    ]


def test_the_electronics_shop_is_one_file(tmp_path: Path) -> None:
    copy = write_copy(tmp_path / "copy", {"events.csv": OCTOBER})
    report = ingest_copy(tmp_path, "rees46-electronics", copy)
    assert (report.items.kept, report.events.kept, report.users) == (2, 3, 2)
    assert ("9333dfbd-b87a-4708-9857-6336556b0fcc",) in events_of(tmp_path, "session_id")
