"""Histories as numbers: the code that training, evaluation and the request path share."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vitrina.encoding import (
    MAX_AGE_DAYS,
    EncodedHistory,
    age_days,
    encode_history,
    history_summary,
    pad,
    recency_average,
    recency_weights,
    short_long_mix,
)
from vitrina.schema import History
from vitrina.space import FloatMatrix, normalise

ROW_OF_ITEM = {"soup": 0, "bread": 1, "milk": 2}
CODE_OF_TYPE = {"purchase": 0, "view": 1}
DAY_US = 86_400_000_000

item_ids = st.sampled_from([*ROW_OF_ITEM, "gone", "unheard-of"])
event_types = st.sampled_from([*CODE_OF_TYPE, "wave"])
pauses = st.integers(0, 400 * DAY_US)
vectors = hnp.arrays(
    np.float32, st.tuples(st.integers(1, 12), st.just(4)), elements=st.floats(-1, 1, width=32)
)


@st.composite
def histories(draw: st.DrawFn) -> History:
    events = draw(st.lists(st.tuples(item_ids, event_types, pauses), max_size=20))
    moments = np.cumsum([pause for _, _, pause in events]).tolist()
    return History([e[0] for e in events], [e[1] for e in events], moments)


@given(histories(), st.integers(1, 10))
def test_a_history_keeps_its_newest_usable_events(history: History, max_history: int) -> None:
    events = zip(history.item_ids, history.event_types, history.timestamps_us, strict=True)
    usable = [(i, e, t) for i, e, t in events if i in ROW_OF_ITEM and e in CODE_OF_TYPE]
    expected = usable[-max_history:]
    found = encode_history(history, ROW_OF_ITEM, CODE_OF_TYPE, max_history)
    assert found.rows.tolist() == [ROW_OF_ITEM[item] for item, _, _ in expected]
    assert found.event_types.tolist() == [CODE_OF_TYPE[kind] for _, kind, _ in expected]
    ages = [min((expected[-1][2] - moment) / DAY_US, 365.0) for _, _, moment in expected]
    assert found.days == pytest.approx(ages, rel=1e-6)
    assert (found.rows.dtype, found.event_types.dtype) == (np.int64, np.int64)
    assert found.days.dtype == np.float32


def test_age_is_counted_from_the_newest_event_that_is_usable() -> None:
    history = History(["soup", "milk", "gone"], ["view"] * 3, [0, DAY_US, 9 * DAY_US])
    found = encode_history(history, ROW_OF_ITEM, CODE_OF_TYPE, 100)
    assert found.days.tolist() == [1.0, 0.0]


def test_ages_keep_their_seconds_and_end_at_a_year() -> None:
    now = 1_800_000_000_000_000
    moments = np.array([now - 3000 * DAY_US, now - 5_000_000, now])
    found = age_days(moments[-1:], moments)
    assert found == pytest.approx([MAX_AGE_DAYS, 5 / 86_400, 0], rel=1e-6)
    assert found.dtype == np.float32


@given(st.lists(histories(), max_size=6))
def test_padding_can_be_undone(some: list[History]) -> None:
    encoded = [encode_history(history, ROW_OF_ITEM, CODE_OF_TYPE, 8) for history in some]
    batch = pad(encoded)
    longest = max(map(len, encoded), default=0)
    assert batch.rows.shape == batch.mask.shape == (len(some), max(longest, 1))
    for place, history in enumerate(encoded):
        real = batch.mask[place]
        assert real.tolist() == [True] * len(history) + [False] * (len(real) - len(history))
        back = EncodedHistory(
            batch.rows[place, real], batch.event_types[place, real], batch.days[place, real]
        )
        assert back.rows.tolist() == history.rows.tolist()
        assert back.event_types.tolist() == history.event_types.tolist()
        assert back.days.tolist() == history.days.tolist()
        assert not batch.rows[place, ~real].any()
        assert not batch.days[place, ~real].any()


@given(st.integers(1, 300), st.sampled_from([0.01, 0.05, 0.15]))
def test_recency_weights_follow_their_formula(length: int, decay: float) -> None:
    expected = [math.exp(decay * (i - (length - 1))) for i in range(length)]
    weights = recency_weights(length, decay)
    assert weights == pytest.approx(expected, rel=1e-5)
    assert weights[-1] == 1.0


def brute_average(values: FloatMatrix, decay: float) -> FloatMatrix:
    length = len(values)
    total = sum(math.exp(decay * (i - (length - 1))) * values[i] for i in range(length))
    return normalise(np.asarray(total))


@given(vectors)
def test_the_untrained_encoders_are_what_they_say(values: FloatMatrix) -> None:
    values = normalise(values + np.float32(2.0))  # sums that are far from 0
    assert recency_average(values) == pytest.approx(brute_average(values, 0.05), abs=1e-5)
    mix = 0.6 * brute_average(values, 0.15) + 0.4 * brute_average(values, 0.01)
    assert short_long_mix(values) == pytest.approx(normalise(mix), abs=1e-5)
    for vector in (recency_average(values), short_long_mix(values)):
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)


def test_the_mix_follows_a_change_of_taste_faster_than_the_average() -> None:
    old, new = np.eye(2, dtype=np.float32)
    values = np.stack([old] * 30 + [new] * 8)
    assert short_long_mix(values) @ new > recency_average(values) @ new > 0


@given(vectors)
def test_the_summary_is_mean_mean_of_the_last_five_and_last(values: FloatMatrix) -> None:
    expected = np.concatenate(
        [
            np.sum(values, 0) / len(values),
            np.sum(values[-5:], 0) / min(len(values), 5),
            values[len(values) - 1],
        ]
    )
    assert history_summary(values) == pytest.approx(expected, abs=1e-6)
    assert history_summary(values).dtype == np.float32
