"""What an item cost, and whether it was to be had, at the moment of an event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from lake.lake_shop import EVENTS_CSV, ITEMS_CSV, NOW, rows, shop_settings, write
from vitrina.lake.catalog import ALWAYS_THERE, load_catalog
from vitrina.lake.duplicates import PLACE
from vitrina.lake.engine import DuckDBEngine
from vitrina.lake.ingest import ingest
from vitrina.lake.snapshots import ALWAYS, as_of, catalog_history, with_state

FOREVER = ALWAYS.replace(tzinfo=UTC)
HOUR = timedelta(hours=1)


def history_of(folder: Path, item_id: str) -> list[tuple[datetime, float | None, bool]]:
    found = [row for row in rows(folder, "snapshots") if row["item_id"] == item_id]
    return sorted((row["since"], row["price"], row["available"]) for row in found)


def ingest_items(folder: Path, items: str, now: datetime) -> None:
    shop = shop_settings(
        folder, [write(folder / "items.csv", items)], [write(folder / "events.csv", EVENTS_CSV)]
    )
    ingest(shop, now=now)


def test_a_price_has_always_been_until_an_ingest_sees_another(tmp_path: Path) -> None:
    ingest_items(tmp_path, ITEMS_CSV, NOW)
    assert history_of(tmp_path, "soup") == [(FOREVER, 1.5, True)]
    ingest_items(tmp_path, ITEMS_CSV, NOW + HOUR)
    ingest_items(tmp_path, ITEMS_CSV.replace("1.50", "1.75") + "jam,Jam,,3,\n", NOW + 2 * HOUR)
    assert history_of(tmp_path, "soup") == [(FOREVER, 1.5, True), (NOW + 2 * HOUR, 1.75, True)]
    assert history_of(tmp_path, "bread") == [(FOREVER, 2.25, True)]
    assert history_of(tmp_path, "jam") == [(FOREVER, 3.0, True)]


def test_an_item_that_comes_later_is_new_since_then(tmp_path: Path) -> None:
    """Unless its source says since when; what was there at first may be of any age."""
    dated = "item_id,title,created_at\nsoup,Soup,\nbread,Bread,2024-02-03\n"
    later = dated + "jam,Jam,\nhoney,Honey,2024-04-01\n"
    without_jam = dated + "honey,Honey,2024-04-01\n"
    for hours, items in enumerate((dated, later, without_jam, later)):
        ingest_items(tmp_path, items, NOW + hours * HOUR)
    assert {row["item_id"]: row["created_at"] for row in rows(tmp_path, "items")} == {
        "soup": None,
        "bread": datetime(2024, 2, 3, tzinfo=UTC),
        "jam": NOW + HOUR,
        "honey": datetime(2024, 4, 1, tzinfo=UTC),
    }
    assert sorted(load_catalog(tmp_path / "lake").created_us)[0] == ALWAYS_THERE


def test_an_item_that_leaves_the_catalog_is_not_to_be_had_until_it_is_back(tmp_path: Path) -> None:
    ingest_items(tmp_path, ITEMS_CSV, NOW)
    for after in (1, 2):
        ingest_items(tmp_path, ITEMS_CSV.replace("milk,", "oats,"), NOW + after * HOUR)
    ingest_items(tmp_path, ITEMS_CSV, NOW + 3 * HOUR)
    assert history_of(tmp_path, "milk") == [
        (FOREVER, 0.99, True),
        (NOW + HOUR, 0.99, False),
        (NOW + 3 * HOUR, 0.99, True),
    ]


def test_a_source_may_say_since_when_its_rows_hold(tmp_path: Path) -> None:
    items = (
        "item_id,title,price,available,observed_at\n"
        "soup,Soup,2.0,no,2024-05-03\n"  # the newest comes first in the file
        "soup,Soup,1.0,yes,2024-05-01\n"
        "soup,Soup,1.0,yes,2024-05-02\n"  # nothing has changed
        "bread,Bread,3.0,,\n"
        "milk,Milk,1.0,,2034-01-01\n"  # not yet
    )
    ingest_items(tmp_path, items, NOW)
    day = datetime(2024, 5, 1, tzinfo=UTC)
    assert history_of(tmp_path, "soup") == [
        (day, 1.0, True),
        (day + timedelta(days=2), 2.0, False),
    ]
    assert history_of(tmp_path, "milk") == [(FOREVER, 1.0, True)]
    (soup,) = (row for row in rows(tmp_path, "items") if row["item_id"] == "soup")
    assert (soup["price"], soup["available"]) == (2.0, False)
    (note,) = rows(tmp_path, "quarantine")
    assert (note["row"], note["column"], note["row_kept"]) == (5, "observed_at", True)

    with DuckDBEngine() as engine:

        def known(moment: datetime) -> dict[str, float]:
            found = engine.collect(as_of(engine, tmp_path / "lake", moment)).to_pylist()
            return {row["item_id"]: row["price"] for row in found}

        assert known(day - HOUR) == {"bread": 3.0, "milk": 1.0}
        assert known(day + HOUR) == {"soup": 1.0, "bread": 3.0, "milk": 1.0}
        assert known(day + timedelta(days=2)) == {"soup": 2.0, "bread": 3.0, "milk": 1.0}


MOMENT = st.integers(0, 6).map(lambda day: datetime(2024, 5, 1 + day, tzinfo=UTC))
STATE = st.tuples(st.sampled_from([None, 1.0, 2.0]), st.booleans())


@settings(max_examples=40, deadline=None)
@given(
    history=st.dictionaries(st.tuples(st.sampled_from("abc"), MOMENT), STATE, min_size=1),
    asked=st.lists(st.tuples(st.sampled_from("abcd"), MOMENT), min_size=1, max_size=12),
)
def test_each_event_meets_the_last_snapshot_before_it(
    history: dict[tuple[str, datetime], tuple[float | None, bool]],
    asked: list[tuple[str, datetime]],
) -> None:
    def expected(item: str, moment: datetime) -> tuple[float | None, bool | None]:
        since = max((at for of, at in history if of == item and at <= moment), default=None)
        return (None, None) if since is None else history[item, since]

    with DuckDBEngine() as engine:
        events = engine.from_columns(
            {
                "event_id": [str(number) for number in range(len(asked))],
                "item_id": [item for item, _ in asked],
                "timestamp": [moment for _, moment in asked],
            }
        )
        snapshots = engine.from_columns(
            {
                "item_id": [item for item, _ in history],
                "since": [since for _, since in history],
                "price": [0.0 if price is None else price for price, _ in history.values()],
                "available": [available for _, available in history.values()],
            }
        )
        found: list[dict[str, Any]] = engine.collect(with_state(events, snapshots)).to_pylist()
    assert len(found) == len(asked)
    for row in found:
        price, available = expected(*asked[int(row["event_id"])])
        if available is not None and price is None:
            price = 0.0
        assert (row["price"], row["available"]) == (price, available)


@settings(max_examples=20, deadline=None)
@given(prices=st.lists(st.sampled_from([None, 1.0, 2.0]), min_size=1, max_size=5))
def test_the_history_has_a_row_for_each_change_and_no_other(prices: list[float | None]) -> None:
    nothing = pa.array([None], pa.timestamp("us"))
    with DuckDBEngine() as engine:
        history = None
        for number, price in enumerate(prices):
            items = engine.from_columns(
                {
                    "item_id": ["soup"],
                    "price": pa.array([price], pa.float64()),
                    "available": [True],
                    "observed_at": nothing,
                    PLACE: [number],
                }
            )
            clock = (NOW + number * HOUR).replace(tzinfo=None)
            history = engine.persist(catalog_history(engine, items, items, history, clock))
        assert history is not None
        found = engine.collect(history.sort("since"))["price"].to_pylist()
    assert found == prices[:1] + [now for before, now in pairwise(prices) if now != before]
