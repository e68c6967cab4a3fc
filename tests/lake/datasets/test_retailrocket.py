"""RetailRocket: the catalog is a log of hashed properties and a tree of categories."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from lake.dataset_copy import events_of, ingest_copy, items_of, write_copy
from lake.lake_shop import rows

FILES = {
    "events.csv": "timestamp,visitorid,event,itemid,transactionid\n"
    "1433221332117,257597,view,355908,\n"
    "1433224214164,992329,addtocart,248676,\n"
    "1433224244282,599528,transaction,356475,4000\n"
    "1433221999827,111016,view,318965,\n",
    "item_properties_part1.csv": "timestamp,itemid,property,value\n"
    "1435460400000,355908,categoryid,1338\n"
    "1441508400000,355908,888,1116713 960601 n277.200\n"
    "1439089200000,355908,790,n15360.000\n"
    "1431831600000,248676,available,1\n"
    "1431831600000,248676,categoryid,209\n",
    "item_properties_part2.csv": "timestamp,itemid,property,value\n"
    "1442113200000,248676,available,0\n"
    "1435460400000,248676,available,1\n"
    "1442113200000,355908,categoryid,1016\n"
    "1433041200000,356475,available,1\n"
    "1433041200000,356475,categoryid,99999\n",
    "category_tree.csv": "categoryid,parentid\n1016,213\n209,1691\n213,231\n231,\n1691,\n",
}


def test_the_catalog_is_what_was_known_last(tmp_path: Path) -> None:
    ingest_copy(tmp_path, "retailrocket", write_copy(tmp_path / "copy", FILES))
    assert items_of(tmp_path) == {
        "355908": {"item_id": "355908", "category_path": "231 > 213 > 1016"},
        "248676": {"item_id": "248676", "category_path": "1691 > 209", "available": False},
        "356475": {"item_id": "356475", "category_path": "99999", "available": True},
        "318965": {"item_id": "318965"},  # seen in events only
    }


def test_availability_has_its_history(tmp_path: Path) -> None:
    ingest_copy(tmp_path, "retailrocket", write_copy(tmp_path / "copy", FILES))
    history = [
        (row["since"], row["available"])
        for row in rows(tmp_path, "snapshots")
        if row["item_id"] == "248676"
    ]
    assert history == [
        (datetime(2015, 5, 17, 3, tzinfo=UTC), True),
        (datetime(2015, 9, 13, 3, tzinfo=UTC), False),
    ]


def test_events_have_milliseconds_and_our_names(tmp_path: Path) -> None:
    report = ingest_copy(tmp_path, "retailrocket", write_copy(tmp_path / "copy", FILES))
    events = events_of(tmp_path, "user_id", "item_id", "event_type", "timestamp")
    assert events[0] == (
        "257597",
        "355908",
        "view",
        datetime(2015, 6, 2, 5, 2, 12, 117_000, tzinfo=UTC),
    )
    assert [event[2] for event in events] == ["view", "view", "add_to_cart", "purchase"]
    assert report.events.kept == 4
