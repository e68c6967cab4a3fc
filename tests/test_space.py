"""A vector never travels without its space."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from vitrina.errors import SpaceMismatch
from vitrina.space import (
    EmbeddingSpace,
    FloatMatrix,
    UserVector,
    Vectors,
    fingerprint,
    normalise,
    require_same_space,
)

SPACE = EmbeddingSpace("items_v20260101T000000-aaaa", 4, "a" * 64)
WEIGHTS = "b" * 64

ids_and_vectors = st.integers(1, 6).flatmap(
    lambda n: st.tuples(
        st.lists(st.text("xyz", min_size=1, max_size=3), min_size=n, max_size=n, unique=True),
        hnp.arrays(np.float32, (n, 4), elements=st.floats(-1, 1, width=32)),
    )
)


@pytest.mark.parametrize(
    "other",
    [
        replace(SPACE, version="items_v20260202T000000-bbbb"),
        replace(SPACE, dim=8),
        replace(SPACE, fingerprint="c" * 64),
    ],
)
def test_two_spaces_may_not_meet_and_both_are_named(other: EmbeddingSpace) -> None:
    with pytest.raises(SpaceMismatch) as refusal:
        require_same_space(SPACE, other, "index", "user vector")
    message = str(refusal.value)
    assert f"index lives in {SPACE.version}" in message
    assert f"user vector in {other.version}" in message
    assert other.fingerprint[:12] in message
    assert f"dim {other.dim}" in message


def test_a_space_read_back_from_disk_is_the_same_space() -> None:
    require_same_space(SPACE, EmbeddingSpace(SPACE.version, 4, "a" * 64), "index", "items")


@pytest.mark.parametrize("shape", [(3, 5), (4,), (1, 3, 4)])
def test_vectors_of_another_length_cannot_enter_a_space(shape: tuple[int, ...]) -> None:
    with pytest.raises(SpaceMismatch, match=r"items_v.*4 numbers each"):
        Vectors(SPACE, np.zeros(shape, np.float32))


def test_a_user_vector_becomes_a_query_of_its_own_space() -> None:
    vector = UserVector(np.ones(4, np.float32) / 2, SPACE, "user_v1", "learned")
    query = vector.as_query()
    assert query.space is SPACE
    assert query.values.tolist() == [[0.5] * 4]
    assert len(query) == 1


@given(ids_and_vectors, st.data())
def test_the_fingerprint_changes_with_any_id_any_number_and_the_weights(
    items: tuple[list[str], FloatMatrix], data: st.DataObject
) -> None:
    ids, values = items
    print_ = fingerprint(ids, values, WEIGHTS)
    assert print_ == fingerprint(iter(ids), values.astype(np.float64), WEIGHTS)
    assert print_ != fingerprint(ids, values, "c" * 64)
    place = data.draw(st.integers(0, len(ids) - 1))
    renamed = [*ids[:place], ids[place] + "!", *ids[place + 1 :]]
    assert print_ != fingerprint(renamed, values, WEIGHTS)
    moved = values.copy()
    moved[place, data.draw(st.integers(0, 3))] += np.float32(1)
    assert print_ != fingerprint(ids, moved, WEIGHTS)


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(-100, 100, width=32)))
def test_normalised_rows_have_length_one_and_a_zero_row_stays_zero(values: FloatMatrix) -> None:
    values[1] = 0
    lengths = np.linalg.norm(values, axis=1)
    found = normalise(values)
    assert found.dtype == np.float32
    assert np.linalg.norm(found, axis=1)[lengths > 1e-6] == pytest.approx(1, abs=1e-5)
    assert not found[1].any()
