"""YooChoose: two files without a header, sessions without users."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from lake.dataset_copy import events_of, ingest_copy, items_of, write_copy

FILES = {
    "yoochoose-clicks.dat": "1,2014-04-07T10:51:09.277Z,214536502,0\n"
    "1,2014-04-07T10:54:09.868Z,214536500,S\n"
    "2,2014-04-07T13:56:37.614Z,214662742,5\n"
    "2,2014-04-07T13:57:19.373Z,214662742,5\n"
    "3,2014-04-07T13:58:37.446Z,214662742,2089090712\n",
    "yoochoose-buys.dat": "2,2014-04-07T14:01:28.848Z,214662742,6073,1\n"
    "2,2014-04-07T14:01:28.858Z,214537888,0,2\n",
    "yoochoose-test.dat": "5,2014-04-07T17:13:46.713Z,214530776,0\n",
}


def test_sessions_are_visitors_and_contexts_make_the_catalog(tmp_path: Path) -> None:
    report = ingest_copy(tmp_path, "yoochoose", write_copy(tmp_path / "copy", FILES))
    assert items_of(tmp_path) == {
        "214536502": {"item_id": "214536502"},
        "214536500": {"item_id": "214536500"},
        "214662742": {
            "item_id": "214662742",
            "category_path": "5",
            "brand": "2089090712",
            "price": 6073.0,
        },
        "214537888": {"item_id": "214537888"},  # bought, never clicked, at no price
    }
    events = events_of(tmp_path, "session_id", "item_id", "event_type", "value", "timestamp")
    assert events[0] == (
        "1",
        "214536502",
        "click",
        None,
        datetime(2014, 4, 7, 10, 51, 9, 277_000, tzinfo=UTC),
    )
    assert [event[:4] for event in events[5:]] == [
        ("2", "214662742", "purchase", 6073.0),
        ("2", "214537888", "purchase", 0.0),
    ]
    assert (report.events.kept, report.users, report.sessions) == (7, 0, 3)
