"""The ladder: each rung is reachable, and a broken one is passed over and named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrina.bundle.bundle import Bundle
from vitrina.encoding import recency_average, short_long_mix
from vitrina.online.stages import Stages
from vitrina.online.user_vector import UserVectorizer
from vitrina.schema import History

NO_ITEMS = History()
ONE = History(["item-0003"], ["view"], [1])
TWO = History(["item-0003", "item-0004"], ["view", "purchase"], [1, 2])


@pytest.fixture(scope="module")
def vectorizer(bundle: Bundle) -> UserVectorizer:
    return UserVectorizer(bundle)


@pytest.fixture
def broken_encoder(bundle: Bundle, tmp_path: Path) -> Bundle:
    path = tmp_path / "user_tower.onnx"
    path.write_bytes(b"not a model")
    return replace(bundle, encoder_path=path)


@pytest.mark.parametrize(
    ("history", "rung"),
    [
        (TWO, "learned"),
        (ONE, "learned"),
        (NO_ITEMS, "centroid"),
        (History(["gone-1", "gone-2"], ["view"] * 2, [1, 2]), "centroid"),
        (History(["item-0003", "gone"], ["view"] * 2, [1, 2]), "learned"),
        (History(["item-0003", "item-0004"], ["view", "unheard-of"], [1, 2]), "learned"),
    ],
)
def test_the_history_decides_the_rung(
    vectorizer: UserVectorizer, history: History, rung: str
) -> None:
    stages = Stages()
    vector = vectorizer.vector(history, stages)
    assert vector is not None
    assert vector.rung == rung
    assert stages.degraded == []  # a short history is no fault


def test_a_broken_encoder_falls_to_the_mix_and_says_so(broken_encoder: Bundle) -> None:
    stages = Stages()
    vector = UserVectorizer(broken_encoder).vector(TWO, stages)
    assert vector is not None
    assert vector.rung == "mix"
    assert len(stages.degraded) == 1
    assert "'learned'" in stages.degraded[0]
    assert "user_tower.onnx" in stages.degraded[0]


def test_rungs_that_yield_nonsense_are_passed_over_and_named(broken_encoder: Bundle) -> None:
    spoiled = broken_encoder.vectors.values.copy()
    spoiled[broken_encoder.row_of_item["item-0003"]] = 0  # the mean of zeros has no direction
    flat = replace(broken_encoder, vectors=replace(broken_encoder.vectors, values=spoiled))
    stages = Stages()
    vector = UserVectorizer(flat).vector(ONE, stages)
    assert vector is not None
    assert vector.rung == "centroid"
    assert "'learned'" in stages.degraded[0]
    assert "norm 0, not 1" in stages.degraded[1]


def test_without_a_centroid_there_is_no_vector(bundle: Bundle) -> None:
    lost = replace(bundle, centroid=np.full(bundle.space.dim, np.nan, np.float32))
    stages = Stages()
    vector = UserVectorizer(lost).vector(NO_ITEMS, stages)
    assert vector is None
    assert "'centroid'" in stages.degraded[0]


def test_untrained_rungs_are_the_ones_that_training_compares_with(
    bundle: Bundle, broken_encoder: Bundle
) -> None:
    rows = [bundle.row_of_item[item] for item in TWO.item_ids]
    untrained = UserVectorizer(broken_encoder)
    average = untrained.vector(ONE, Stages())
    mix = untrained.vector(TWO, Stages())
    assert average is not None
    assert mix is not None
    np.testing.assert_array_equal(average.values, recency_average(bundle.vectors.values[rows[:1]]))
    np.testing.assert_array_equal(mix.values, short_long_mix(bundle.vectors.values[rows]))


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["item-0001", "item-0002", "item-0050", "gone"]),
            st.sampled_from(["view", "purchase", "unheard-of"]),
            st.integers(0, 10**15),
        ),
        max_size=40,
    )
)
def test_any_history_gives_a_unit_vector_of_the_bundles_space(
    bundle: Bundle, vectorizer: UserVectorizer, rows: list[tuple[str, str, int]]
) -> None:
    rows.sort(key=lambda row: row[2])
    items, types, moments = zip(*rows, strict=True) if rows else ((), (), ())
    stages = Stages()
    vector = vectorizer.vector(History(items, types, moments), stages)
    assert vector is not None
    assert stages.degraded == []
    assert vector.space == bundle.space
    assert vector.user_embedding_version == bundle.user_embedding_version
    assert np.linalg.norm(vector.values) == pytest.approx(1, abs=1e-3)
