"""The S3-Rec text form, on the very file behind the published tables."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lake.dataset_copy import events_of, ingest_copy, items_of, write_copy
from vitrina.errors import DataError
from vitrina.lake.split import choose_split, to_datetime
from vitrina.settings import load_settings

BEAUTY = Path(__file__).parents[3].parent / "shared/data/amazon-s3rec/Beauty.txt.gz"


@pytest.mark.skipif(not BEAUTY.exists(), reason="needs ../shared/data")
def test_beauty_is_what_the_papers_say_it_is(tmp_path: Path) -> None:
    report = ingest_copy(tmp_path, "s3rec", BEAUTY)
    assert (report.users, report.items.kept, report.events.kept) == (22_363, 12_101, 198_502)
    assert report.events.duplicates == 0
    assert sum(report.events.quarantined.values()) == 0
    assert json.loads(items_of(tmp_path)["4"]["attributes"]) == {"attribute_ids": [1, 2, 3]}


def test_each_user_keeps_their_order_and_ends_on_the_last_day(tmp_path: Path) -> None:
    copy = write_copy(tmp_path / "copy", {"Toys.txt": "1 7 3 9\n2 9 7\n"})
    ingest_copy(tmp_path, "s3rec", copy)
    events = events_of(tmp_path, "user_id", "item_id", "timestamp")
    assert [item for user, item, _ in events if user == "1"] == ["7", "3", "9"]
    assert {item for _, item, moment in events if moment == datetime(2014, 7, 23, tzinfo=UTC)} == {
        "9",
        "7",
    }


def test_the_settings_hold_out_the_last_item_of_each_user(tmp_path: Path) -> None:
    copy = write_copy(tmp_path / "copy", {"Toys.txt": "1 7 3 9\n2 9 7\n"})
    ingest_copy(tmp_path, "s3rec", copy)
    settings = load_settings(tmp_path / "vitrina.toml", {})
    split = choose_split(settings.paths.lake, settings.evaluate)
    held_out = {
        (user, item)
        for user, item, moment in events_of(tmp_path, "user_id", "item_id", "timestamp")
        if moment >= to_datetime(split.cut_us)
    }
    assert held_out == {("1", "9"), ("2", "7")}


def test_two_sets_in_one_folder_are_not_mixed(tmp_path: Path) -> None:
    copy = write_copy(tmp_path / "copy", {"Toys.txt": "1 7 3\n", "Beauty.txt": "1 2 3\n"})
    with pytest.raises(DataError, match="ids overlap"):
        ingest_copy(tmp_path, "s3rec", copy)
    report = ingest_copy(tmp_path, "s3rec", copy / "Toys.txt")
    assert report.events.kept == 2
