"""What training reads: arrays strictly before a moment, the split, the catalog."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np
import pytest

from lake.lake_shop import ingest_texts, shop_settings
from vitrina.errors import DataError
from vitrina.lake.catalog import load_catalog
from vitrina.lake.datasets.complete_journey import write_complete_journey
from vitrina.lake.ingest import ingest
from vitrina.lake.sequences import load_interactions, popularity
from vitrina.lake.split import choose_split, to_us
from vitrina.settings import EvaluateSettings

TYPES = ["purchase", "view"]
EVENTS = """user_id,session_id,item_id,event_type,timestamp
ben,s9,milk,purchase,2024-05-03T10:00:00Z
ann,s1,soup,view,2024-05-01T10:00:00Z
ann,s1,soup,purchase,2024-05-01T10:00:00Z
ann,s1,bread,view,2024-05-01T10:00:00Z
,v1,milk,view,2024-05-02T10:00:00Z
ann,s2,soup,click,2024-05-02T10:00:00Z
ann,s2,bread,view,2024-05-20T10:00:00Z
"""


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    ingest_texts(tmp_path, events=EVENTS)
    return tmp_path / "lake"


def test_events_become_arrays_sorted_by_user_moment_and_item(lake: Path) -> None:
    items = load_catalog(lake).item_ids
    assert items == ["bread", "milk", "soup"]
    found = load_interactions(lake, before_us=None, item_ids=items, event_types=TYPES)

    assert found.user_ids == ["ann", "ben", "session:v1"]
    assert found.user.tolist() == [0, 0, 0, 0, 1, 2]
    assert found.row.tolist() == [0, 2, 2, 0, 1, 1]
    assert found.event_type.tolist() == [1, 0, 1, 1, 0, 1]
    assert found.session.tolist() == [0, 0, 0, 1, 2, 3]
    assert found.timestamp_us[0] == to_us(datetime(2024, 5, 1, 10))
    dtypes = [found.user.dtype, found.row.dtype, found.event_type.dtype, found.session.dtype]
    assert dtypes == [np.int32, np.int32, np.int16, np.int32]


def test_nothing_at_or_after_the_moment_of_prediction_is_read(lake: Path) -> None:
    moment = to_us(datetime(2024, 5, 2, 10))
    found = load_interactions(lake, before_us=moment, item_ids=["soup", "milk"], event_types=TYPES)
    assert found.timestamp_us.max() < moment
    assert found.user_ids == ["ann"]  # the others came later, or with other items
    nothing = load_interactions(lake, before_us=0, item_ids=["soup"], event_types=TYPES)
    assert len(nothing) == 0
    assert nothing.user_ids == []


def test_popularity_halves_with_every_half_life_and_ignores_the_future(lake: Path) -> None:
    found = load_interactions(
        lake, before_us=None, item_ids=["bread", "milk", "soup"], event_types=TYPES
    )
    until = to_us(datetime(2024, 5, 3, 10))
    weights = popularity(found, 4, until, half_life_days=1)
    assert weights.dtype == np.float32
    assert weights.tolist() == pytest.approx([0.25, 0.5, 0.5, 0.0])


def test_the_split_cuts_everyone_at_one_moment(lake: Path) -> None:
    split = choose_split(lake, EvaluateSettings(test_days=14))
    found = load_interactions(
        lake, before_us=split.until_us, item_ids=["bread", "milk", "soup"], event_types=TYPES
    )
    train, test = split.is_train(found.timestamp_us), split.is_test(found.timestamp_us)
    assert (train ^ test).all()
    assert found.timestamp_us[train].max() < split.cut_us <= found.timestamp_us[test].min()
    assert test.sum() == 1  # the last event belongs to the test
    assert split.until_us - split.cut_us == timedelta(days=14) // timedelta(microseconds=1)


def test_a_cut_is_utc_and_must_leave_events_on_both_sides(lake: Path) -> None:
    split = choose_split(lake, EvaluateSettings(cut=datetime(2024, 5, 2), test_days=7))
    assert split.cut_us == to_us(datetime(2024, 5, 2))
    with pytest.raises(DataError, match="no events to train on"):
        choose_split(lake, EvaluateSettings(cut=datetime(2024, 5, 1, 10)))
    with pytest.raises(DataError, match="no events to test on"):
        choose_split(lake, EvaluateSettings(cut=datetime(2024, 6, 1)))


def test_the_catalog_has_a_value_or_its_absence_for_every_item(tmp_path: Path) -> None:
    items = (
        "item_id,title,category_path,price,available,attributes\n"
        'soup,Soup,Grocery>Soup > Tomato,1.5,no,"{""salt"": 1}"\n'
        "bread,,,,,\nmilk,Milk,Dairy,,yes,\n"
    )
    ingest_texts(tmp_path, items=items)
    catalog = load_catalog(tmp_path / "lake")
    assert catalog.item_ids == ["bread", "milk", "soup"]
    assert catalog.category_path == [[], ["Dairy"], ["Grocery", "Soup", "Tomato"]]
    assert catalog.title == ["", "Milk", "Soup"]
    assert catalog.available.tolist() == [True, True, False]
    assert np.isnan(catalog.price).tolist() == [True, True, False]
    assert catalog.attributes == [{}, {}, {"salt": 1}]


def test_prices_and_availability_are_those_of_the_moment(tmp_path: Path) -> None:
    items = (
        "item_id,price,available,observed_at\n"
        "soup,1.5,yes,2024-05-01T00:00:00Z\nsoup,9.5,no,2024-05-10T00:00:00Z\n"
        "bread,2.0,yes,\nmilk,0.9,yes,2024-05-10T00:00:00Z\n"
    )
    ingest_texts(tmp_path, items=items)
    lake, tenth = tmp_path / "lake", to_us(datetime(2024, 5, 10))
    newest = load_catalog(lake)
    assert newest.price.tolist() == pytest.approx([2.0, 0.9, 9.5])
    assert newest.available.tolist() == [True, True, False]
    before = load_catalog(lake, as_of_us=tenth)  # what happens at the moment is not known before
    assert before.price.tolist() == pytest.approx([2.0, np.nan, 1.5], nan_ok=True)
    assert before.available.tolist() == [True, False, True]
    after = load_catalog(lake, as_of_us=tenth + 1)
    assert after.price.tolist() == pytest.approx([2.0, 0.9, 9.5])


def test_what_is_learnt_of_purchases_is_every_one_of_them_in_order(tmp_path: Path) -> None:
    demo = write_complete_journey(tmp_path, as_of=datetime(2017, 12, 1), smoke=True)
    ingest(shop_settings(tmp_path, [str(demo.items)], [str(demo.events)]))
    items = load_catalog(tmp_path / "lake").item_ids
    before = datetime(2017, 6, 1)
    found = load_interactions(
        tmp_path / "lake", before_us=to_us(before), item_ids=items, event_types=TYPES
    )
    expected = duckdb.sql(
        "SELECT user_id, item_id, epoch_us(timestamp), min(session_id) "  # one event, said twice
        f"FROM '{demo.events}' WHERE timestamp < '{before}+00' GROUP BY ALL"
    ).fetchall()
    expected.sort(key=lambda row: (row[0], row[2], row[1]))
    users, item_ids, moments, baskets = zip(*expected, strict=True)
    assert [found.user_ids[user] for user in found.user] == list(users)
    assert [items[row] for row in found.row] == list(item_ids)
    assert found.timestamp_us.tolist() == list(moments)
    assert set(found.event_type) == {TYPES.index("purchase")}
    # Sessions are the baskets, under numbers.
    assert len(set(zip(found.session.tolist(), baskets, strict=True))) == len(set(baskets))
    assert set(found.session) == set(range(len(set(baskets))))


def test_an_empty_lake_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="vitrina ingest"):
        load_catalog(tmp_path)
