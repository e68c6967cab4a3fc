"""Leave-one-out: one event a shopper is asked for, and nothing of it or after it is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from towers.taste_shop import DAY_US, START_US, as_interactions
from vitrina.errors import DataError
from vitrina.evaluation.protocols import leave_one_out
from vitrina.lake.sequences import Interactions

USERS, ITEMS = 6, 8

event = st.tuples(st.integers(0, USERS - 1), st.integers(0, ITEMS - 1), st.integers(0, 30))


def shop(rows: list[tuple[int, int, int]]) -> Interactions:
    user, item, day = np.array(rows, np.int64).reshape(-1, 3).T
    kind = np.zeros(len(user), np.int64)
    return as_interactions(user, item, kind, START_US + day * DAY_US, users=USERS)


@given(rows=st.lists(event, max_size=40), hold=st.sampled_from([1, 2]))
def test_the_rest_of_a_sequence_asks_for_its_next_event(
    rows: list[tuple[int, int, int]], hold: int
) -> None:
    events = shop(rows)
    sequences = [events.row[events.user == user].tolist() for user in range(USERS)]
    past = [sequence[:-hold] for sequence in sequences]
    known = {item for sequence in past for item in sequence}
    expected = [
        (user, sequence[-hold])
        for user, sequence in enumerate(sequences)
        if len(sequence) > hold and sequence[-hold] in known
    ]
    if not expected:
        with pytest.raises(DataError, match="nobody to test on"):
            leave_one_out(events, ITEMS, hold=hold)
        return
    split = leave_one_out(events, ITEMS, hold=hold)
    assert [split.train.row[split.train.user == user].tolist() for user in range(USERS)] == past
    assert split.users.tolist() == [user for user, _ in expected]
    assert split.targets.shape == split.met.shape == (len(expected), ITEMS)
    assert split.targets.toarray().argmax(1).tolist() == [item for _, item in expected]
    assert split.targets.sum() == len(expected)
    for place, user in enumerate(split.users):
        assert set(split.met[place].indices) == set(past[user])
