"""Diginetica: semicolons, NA for nobody, a day and the milliseconds since the session began."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from lake.dataset_copy import events_of, ingest_copy, items_of, write_copy

FILES = {
    "train-item-views.csv": "sessionId;userId;itemId;timeframe;eventdate\n"
    "1;NA;81766;526309;2016-05-09\n"
    "1;NA;31331;1031018;2016-05-09\n"
    "2;27;32118;243569;2016-05-09\n",
    "train-purchases.csv": "sessionId;userId;timeframe;eventdate;ordernumber;itemId\n"
    "2;27;3427100;2016-05-09;16421;32118\n"
    "2;27;3427100;2016-05-09;16421;32118\n",
    "products.csv": "itemId;pricelog2;product.name.tokens\n"
    "81766;10;4875,776,56689\n"
    "31331;0;7434,14\n"
    "32118;6.64385618977472;4875\n",
    "product-categories.csv": "itemId;categoryId\n81766;1\n31331;308\n32118;50\n",
}


def test_two_files_make_the_catalog_and_two_the_events(tmp_path: Path) -> None:
    copy = write_copy(tmp_path / "dataset-train-diginetica", FILES)
    report = ingest_copy(tmp_path, "diginetica", copy)
    assert items_of(tmp_path) == {
        "81766": {
            "item_id": "81766",
            "description": "4875 776 56689",
            "category_path": "1",
            "price": 1024.0,
        },
        "31331": {"item_id": "31331", "description": "7434 14", "category_path": "308"},
        "32118": {
            "item_id": "32118",
            "description": "4875",
            "category_path": "50",
            "price": 100.0,
        },
    }
    events = events_of(tmp_path, "user_id", "session_id", "item_id", "event_type", "timestamp")
    assert events == [
        ("27", "2", "32118", "view", datetime(2016, 5, 9, 0, 4, 3, 569_000, tzinfo=UTC)),
        (None, "1", "81766", "view", datetime(2016, 5, 9, 0, 8, 46, 309_000, tzinfo=UTC)),
        (None, "1", "31331", "view", datetime(2016, 5, 9, 0, 17, 11, 18_000, tzinfo=UTC)),
        ("27", "2", "32118", "purchase", datetime(2016, 5, 9, 0, 57, 7, 100_000, tzinfo=UTC)),
    ]
    assert report.events.duplicates == 1
