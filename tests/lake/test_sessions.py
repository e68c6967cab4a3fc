"""Visits are cut at pauses of more than half an hour, and nowhere else."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from vitrina.lake.engine import ROW, DuckDBEngine
from vitrina.lake.readers.raw import FILE
from vitrina.lake.sessions import sessionise
from vitrina.lake.shoppers import session_id

GAP = timedelta(minutes=30)
START = datetime(2024, 5, 1)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["ann", "ben"]), st.integers(0, 400)), min_size=1, max_size=40
    )
)
def test_a_session_has_no_pause_over_half_an_hour_and_is_followed_by_one(
    events: list[tuple[str, int]],
) -> None:
    with DuckDBEngine() as engine:
        frame = engine.from_columns(
            {
                "user_id": [user for user, _ in events],
                "session_id": ["named"] + [None] * (len(events) - 1),
                "timestamp": [START + timedelta(minutes=minute) for _, minute in events],
                FILE: [0] * len(events),
                ROW: list(range(len(events))),
            }
        )
        cut = sessionise(engine, frame, GAP).with_columns(session_id=session_id())
        found = engine.collect(cut).to_pylist()

    assert len(found) == len(events)
    assert [row[ROW] for row in found if row["session_id"] == "named"] == [0]
    unnamed = [row for row in found if row["session_id"] != "named"]
    for user in ("ann", "ben"):
        own = sorted((r["timestamp"], r["session_id"]) for r in unnamed if r["user_id"] == user)
        for (before, last), (moment, session) in pairwise(own):
            assert (moment - before <= GAP) == (session == last)
    sessions = {(row["user_id"], row["session_id"]) for row in unnamed}
    assert len(sessions) == len({session for _, session in sessions})
