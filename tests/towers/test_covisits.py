"""Items of the same visits: counted as a reader would by hand."""

from __future__ import annotations

from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrina.lake.sequences import Interactions
from vitrina.towers.covisits import covisited

VISITS = st.lists(st.lists(st.integers(0, 7), max_size=5), max_size=12)


def of_visits(visits: list[list[int]]) -> Interactions:
    session = [number for number, visit in enumerate(visits) for _ in visit]
    row = [item for visit in visits for item in visit]
    return Interactions(
        user=np.array(session, np.int32),
        row=np.array(row, np.int32),
        event_type=np.zeros(len(row), np.int16),
        timestamp_us=np.arange(len(row), dtype=np.int64),
        session=np.array(session, np.int32),
        user_ids=[f"u{number}" for number in range(len(visits))],
    )


@given(VISITS)
def test_lists_are_ordered_by_the_cosine_of_visits(visits: list[list[int]]) -> None:
    lists = covisited(of_visits(visits), items=8, neighbours=3)
    alone = Counter(item for visit in visits for item in set(visit))
    together = Counter(pair for visit in visits for pair in permutations(set(visit), 2))
    cosine = {
        (item, other): count / np.sqrt(alone[item] * alone[other])
        for (item, other), count in together.items()
    }
    assert lists.shape == (8, 3)
    for item in range(8):
        best = sorted((c for (i, _), c in cosine.items() if i == item), reverse=True)[:3]
        named = [int(row) for row in lists[item] if row >= 0]
        assert [cosine[item, other] for other in named] == pytest.approx(best, abs=1e-5)
        assert len(set(named)) == len(named)


def test_what_is_met_everywhere_is_near_nothing_in_particular() -> None:
    visits = [[0, 1, 2], [0, 1, 2], [0, 3], [0, 4], [0, 5], [0, 6]]
    assert covisited(of_visits(visits), items=8, neighbours=1)[1].tolist() == [2]
