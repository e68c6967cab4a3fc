"""Candidates of several sources, brought together."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from vitrina.rank.candidates import ANN, POPULAR, REPURCHASE, Candidates, from_source, merge

rows = st.lists(st.integers(0, 9), unique=True, max_size=8)


def source(rows: list[int], label: int) -> Candidates:
    scores = (np.arange(len(rows)) + 100 * label).astype(np.float32)
    return from_source(np.array(rows, np.int64), scores, label)


@given(rows, rows, rows)
def test_an_item_stands_once_with_its_first_source(
    bought: list[int], near: list[int], popular: list[int]
) -> None:
    parts = (source(bought, REPURCHASE), source(near, ANN), source(popular, POPULAR))
    merged = merge(*parts)
    expected: dict[int, tuple[float, int]] = {}
    for part in parts:
        for row, score, label in zip(part.rows, part.scores, part.sources, strict=True):
            expected.setdefault(int(row), (float(score), int(label)))
    entries = zip(merged.scores.tolist(), merged.sources.tolist(), strict=True)
    assert merged.rows.tolist() == list(expected)
    assert list(entries) == list(expected.values())
    assert (merged.rows.dtype, merged.scores.dtype) == (np.int64, np.float32)
    assert merged.sources.dtype == np.int8
    assert len(merged) == len(set(bought) | set(near) | set(popular))


@given(rows, st.data())
def test_keeping_some_keeps_their_scores_and_sources(rows: list[int], data: st.DataObject) -> None:
    mask = np.array(
        data.draw(st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))), np.bool_
    )
    everything = source(rows, ANN)
    kept = everything.keep(mask)
    assert kept.rows.tolist() == [row for row, keep in zip(rows, mask, strict=True) if keep]
    assert kept.scores.tolist() == everything.scores[mask].tolist()
    assert set(kept.sources.tolist()) <= {ANN}
