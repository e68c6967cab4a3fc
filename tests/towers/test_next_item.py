"""Whole sequences as training examples: every event once, each after its past, in even batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from towers.taste_shop import DAY_US, START_US, TYPE_WEIGHTS, TYPES, as_interactions, taste_shop
from vitrina.errors import TrainingError
from vitrina.lake.sequences import Interactions
from vitrina.towers.next_item import SequenceBatch, SequenceSampler, windows
from vitrina.towers.objectives import tower_inputs
from vitrina.towers.user_tower import SummaryEncoder, UserTower

USERS, ITEMS = 5, 7

event = st.tuples(
    st.integers(0, USERS - 1),
    st.integers(0, ITEMS - 1),
    st.integers(0, len(TYPES) - 1),
    st.integers(0, 12).map(lambda day: START_US + day * DAY_US),
)


def interactions(rows: list[tuple[int, int, int, int]]) -> Interactions:
    columns = np.array(rows, np.int64).reshape(-1, 4).T
    return as_interactions(*columns, users=USERS)


def sampler(
    events: Interactions,
    max_history: int = 4,
    batch_events: int = 16,
    history_dropout: float = 0.0,
    seed: int = 0,
) -> SequenceSampler:
    return SequenceSampler(
        events,
        TYPE_WEIGHTS,
        max_history=max_history,
        batch_events=batch_events,
        history_dropout=history_dropout,
        seed=seed,
    )


def epoch(source: SequenceSampler, number: int = 0) -> list[SequenceBatch]:
    count = source.batches_per_epoch
    return [source.batch(number * count + place) for place in range(count)]


@given(
    lengths=st.lists(st.integers(0, 30), min_size=1, max_size=8),
    longest=st.integers(2, 9),
    seed=st.integers(0, 99),
)
def test_windows_hold_each_pair_of_neighbours_once(
    lengths: list[int], longest: int, seed: int
) -> None:
    start = np.concatenate([[0], np.cumsum(lengths)])
    begin, length = windows(start, longest, np.random.default_rng(seed))
    assert (length <= longest + 1).all()
    pairs = [place for b, n in zip(begin, length, strict=True) for place in range(b + 1, b + n)]
    firsts = set(start[:-1])
    assert sorted(pairs) == [place for place in range(sum(lengths)) if place not in firsts]


@settings(max_examples=60)
@given(rows=st.lists(event, min_size=2, max_size=60), number=st.integers(0, 3))
def test_each_event_is_a_target_of_its_past(
    rows: list[tuple[int, int, int, int]], number: int
) -> None:
    """Of sequences that fit into one window: each event with something before it, once."""
    events = interactions(rows)
    firsts = {user: events.timestamp_us[events.user == user].min() for user in set(events.user)}
    first = np.array([firsts[user] for user in events.user])
    asked = (events.timestamp_us > first) & (TYPE_WEIGHTS[events.event_type] > 0)
    if not asked.any():
        with pytest.raises(TrainingError, match="no next one to learn"):
            sampler(events)
        return
    expected = [
        (int(events.user[place]), int(events.timestamp_us[place]), int(events.row[place]))
        for place in np.flatnonzero(asked)
    ]
    found = []
    for batch in epoch(sampler(events, max_history=60), number):
        length = batch.histories.rows.shape[1]
        for state, target in zip(batch.states, batch.targets, strict=True):
            sequence, place = divmod(int(state), length)
            assert batch.histories.mask[sequence, place]
            history = batch.histories.rows[sequence, : place + 1].tolist()
            fits = [
                entry
                for entry in expected
                if entry[2] == target
                and events.row[
                    (events.user == entry[0]) & (events.timestamp_us < entry[1])
                ].tolist()
                == history
            ]
            assert fits, "a target of what is before it, and of all of that"
            found.append(target)
    assert sorted(found) == sorted(row for _, _, row in expected)


def test_batches_are_even_and_each_a_function_of_seed_and_number() -> None:
    events = taste_shop(users=60, events=40).interactions
    source = sampler(events, max_history=10, batch_events=200)
    batches = epoch(source, 1)
    assert all(abs(len(batch.targets) - 200) <= 20 for batch in batches)
    padding = 1 - np.mean([batch.histories.mask.mean() for batch in batches])
    assert padding < 0.1
    again = sampler(events, max_history=10, batch_events=200).batch(source.batches_per_epoch + 2)
    assert again.targets.tolist() == batches[2].targets.tolist()
    other = sampler(events, max_history=10, batch_events=200, seed=1).batch(2)
    assert other.targets.tolist() != source.batch(2).targets.tolist()


def test_hidden_events_are_neither_past_nor_target() -> None:
    events = taste_shop(users=60, items=3000, events=12).interactions
    whole = epoch(sampler(events, max_history=30, batch_events=100))
    thin = epoch(sampler(events, max_history=30, batch_events=100, history_dropout=0.25))
    for some, every in zip(thin, whole, strict=True):
        sequences = {
            tuple(rows[mask]): None
            for rows, mask in zip(every.histories.rows, every.histories.mask, strict=True)
        }
        for rows, mask in zip(some.histories.rows, some.histories.mask, strict=True):
            assert any(_is_subsequence(rows[mask], sequence) for sequence in sequences)
        assert set(some.targets) <= set(every.targets)
    kept = sum(len(some.targets) for some in thin) / sum(len(every.targets) for every in whole)
    assert 0.65 < kept < 0.85


def _is_subsequence(part: NDArray[np.int64], whole: tuple[int, ...]) -> bool:
    rest = iter(whole)
    return all(row in rest for row in part)


@pytest.mark.parametrize("encoder", ["transformer", "mlp"])
@torch.no_grad()
def test_a_state_is_the_vector_that_would_have_been_served_then(encoder: str) -> None:
    """The tower after each event of a sequence, against the tower on what had come till then."""
    torch.manual_seed(0)
    dim = 16
    tower = (
        UserTower(dim, len(TYPES), blocks=2, sequential=True)
        if encoder == "transformer"
        else SummaryEncoder(dim)
    )
    tower.eval()
    vectors = torch.nn.functional.normalize(torch.randn(60, dim), dim=1)
    batch = sampler(taste_shop(users=6, events=12, days=200).interactions, max_history=30).batch(0)
    history = vectors[torch.from_numpy(batch.histories.rows)]
    types, days, mask = tower_inputs(batch.histories)
    states = tower.states(history, types, days, mask)
    for end in range(1, history.shape[1] + 1):
        then = slice(None), slice(end)
        served = tower(history[then], types[then], days[then] - days[:, end - 1 : end], mask[then])
        reached = mask[:, end - 1]
        torch.testing.assert_close(
            states[reached, end - 1], served[reached], atol=1e-5, rtol=0, msg=f"after {end} events"
        )
