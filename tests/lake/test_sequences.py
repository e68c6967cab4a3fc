"""What training reads: arrays strictly before a moment, the split, the catalog."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from lake.lake_shop import ingest_texts
from vitrina.errors import DataError
from vitrina.lake.catalog import load_catalog
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


def test_an_empty_lake_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="vitrina ingest"):
        load_catalog(tmp_path)
