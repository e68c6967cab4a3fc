"""OTTO: a JSON object a user, events nested in it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from lake.dataset_copy import events_of, ingest_copy, items_of, write_copy

TRAIN = (
    '{"session":0,"events":[{"aid":1517085,"ts":1659304800025,"type":"clicks"},'
    '{"aid":1649869,"ts":1659369893840,"type":"carts"},'
    '{"aid":305831,"ts":1659370027105,"type":"orders"},'
    '{"aid":461689,"ts":1659370027105,"type":"orders"}]}\n'
    '{"session":1,"events":[{"aid":424964,"ts":1659304800025,"type":"carts"}]}\n'
)
TEST = '{"session":12899779,"events":[{"aid":59625,"ts":1661724000278,"type":"clicks"}]}\n'


def test_nested_events_come_out_one_by_one(tmp_path: Path) -> None:
    copy = write_copy(
        tmp_path / "copy", {"otto-recsys-train.jsonl": TRAIN, "otto-recsys-test.jsonl": TEST}
    )
    report = ingest_copy(tmp_path, "otto", copy)
    assert set(items_of(tmp_path)) == {"1517085", "1649869", "305831", "461689", "424964", "59625"}
    events = events_of(tmp_path, "user_id", "item_id", "event_type", "timestamp")
    first = datetime(2022, 7, 31, 22, 0, 0, 25_000, tzinfo=UTC)
    assert set(events[:2]) == {
        ("0", "1517085", "click", first),
        ("1", "424964", "add_to_cart", first),
    }
    assert [event[:3] for event in events[2:]] == [
        ("0", "1649869", "add_to_cart"),
        ("0", "305831", "purchase"),
        ("0", "461689", "purchase"),
        ("12899779", "59625", "click"),
    ]
    assert report.users == 3


def test_the_test_week_may_be_absent(tmp_path: Path) -> None:
    report = ingest_copy(tmp_path, "otto", write_copy(tmp_path / "copy", {"train.jsonl": TRAIN}))
    assert report.events.kept == 5
