"""Items held out of training: nothing of them is known, and all else competes with them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from towers.taste_shop import DAY_US, START_US, as_interactions
from vitrina.errors import DataError
from vitrina.evaluation.cold_start import FOLDS, ColdItems, by_length, cold_items
from vitrina.lake.sequences import Interactions

USERS, ITEMS = 5, 15

event = st.tuples(
    st.integers(0, USERS - 1),
    st.integers(0, ITEMS - 1),
    st.integers(0, 1),
    st.integers(0, 9).map(lambda day: START_US + day * DAY_US),
)


def split_of(events: Interactions, fold: int) -> ColdItems | None:
    try:
        return cold_items(events, ITEMS, fold=fold)
    except DataError:
        return None


@given(st.lists(event, max_size=50), st.integers(0, FOLDS - 1))
def test_each_first_turn_to_a_held_out_item_is_asked_of_what_was_before_it(
    rows: list[tuple[int, int, int, int]], fold: int
) -> None:
    events = as_interactions(*np.array(rows, np.int64).reshape(-1, 4).T, users=USERS)
    split = split_of(events, fold)
    if split is None:
        held = np.isin(events.row, np.flatnonzero(cold_fold(fold)))
        assert not held.any() or held.all()
        return
    assert not split.held[split.train.row].any()
    assert len(split.train) == (~split.held[events.row]).sum()
    assert not split.held[split.histories.row].any()
    expected = []
    for user in range(USERS):
        mine = events.user == user
        for item in np.unique(events.row[mine]):
            if split.held[item]:
                moment = events.timestamp_us[mine & (events.row == item)].min()
                before = mine & (events.timestamp_us < moment) & ~split.held[events.row]
                expected.append((int(item), events.row[before].tolist()))
    found = [
        (int(item), split.histories.row[split.histories.user == number].tolist())
        for number, item in enumerate(split.targets.indices)
    ]
    assert sorted(found) == sorted(expected)
    assert (np.diff(split.targets.indptr) == 1).all()
    assert [set(row.indices) for row in split.met] == [set(history) for _, history in found]


def cold_fold(fold: int) -> np.ndarray:
    everything = as_interactions(np.zeros(ITEMS), np.arange(ITEMS), np.zeros(ITEMS), np.arange(15))
    return cold_items(everything, ITEMS, fold=fold).held


def test_each_item_is_in_one_fold_and_a_fold_is_a_fifth() -> None:
    folds = np.stack([cold_fold(fold) for fold in range(FOLDS)])
    assert (folds.sum(0) == 1).all()
    assert (folds.sum(1) == ITEMS / FOLDS).all()
    assert (folds[0] == cold_fold(0)).all()


def test_where_nothing_is_held_out_or_all_is_there_is_no_test() -> None:
    held = np.flatnonzero(cold_fold(0))
    other = np.flatnonzero(~cold_fold(0))
    for rows in (held, other):
        n = len(rows)
        events = as_interactions(np.zeros(n), rows, np.zeros(n), np.arange(n), users=USERS)
        with pytest.raises(DataError, match="of fold 0, which are held out"):
            cold_items(events, ITEMS)


@given(st.lists(st.integers(0, 200), min_size=1))
def test_every_shopper_is_in_the_group_of_their_history(lengths: list[int]) -> None:
    groups = by_length(np.array(lengths))
    assert list(groups) == ["0", "1", "2", "3–5", "6+"]
    expected = [
        0 if n == 0 else 1 if n == 1 else 2 if n == 2 else 3 if n <= 5 else 4 for n in lengths
    ]
    assert np.stack(list(groups.values())).argmax(0).tolist() == expected
    assert (np.stack(list(groups.values())).sum(0) == 1).all()
