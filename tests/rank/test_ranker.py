"""The ranker: one scale for all sources, stand-ins at the end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vitrina.rank.candidates import ANN, CO_VISITED, POPULAR, REPURCHASE, SOURCES, Candidates
from vitrina.rank.ranker import DiscoveryModel, Ranker

ITEMS = 40
RANKER = Ranker({"discovery": {"bias": -8.0, "score": 5.0, "penalty": 0.02}})


@st.composite
def mixed(draw: st.DrawFn) -> tuple[Candidates, np.ndarray]:
    """Candidates of all sources, those of the precomputed lists in their order."""
    popularity = np.array(
        draw(st.lists(st.floats(0, 1e4, width=32), min_size=ITEMS, max_size=ITEMS)), np.float32
    )
    rows = np.array(draw(st.lists(st.integers(0, ITEMS - 1), unique=True)), np.int64)
    sources = np.array([draw(st.integers(0, len(SOURCES) - 1)) for _ in rows], np.int8)
    scores = np.array(
        [draw(st.floats(-1, 1) if s == ANN else st.floats(-12, 4)) for s in sources], np.float32
    )
    for source in range(CO_VISITED, POPULAR + 1):
        listed = sources == source
        standing_in = np.sort(rows[listed])
        rows[listed] = standing_in[np.argsort(-popularity[standing_in], kind="stable")]
        scores[listed] = popularity[rows[listed]]
    return Candidates(rows, scores, sources), popularity


@given(mixed(), st.sampled_from(["for_you", "discover", "buy_again"]))
def test_stand_ins_come_last_list_after_list_each_in_its_order(
    world: tuple[Candidates, np.ndarray], shelf: str
) -> None:
    candidates, popularity = world
    scores = RANKER.rank(candidates, shelf, popularity)
    assert scores.shape == candidates.rows.shape
    assert np.isfinite(scores).all()
    standing_in = candidates.sources >= CO_VISITED
    if standing_in.any() and not standing_in.all():
        assert scores[standing_in].max() < scores[~standing_in].min()
    order = np.argsort(-scores, kind="stable")
    last = candidates.rows[order][standing_in[order]]
    expected = np.argsort(candidates.sources[standing_in], kind="stable")
    assert last.tolist() == candidates.rows[standing_in][expected].tolist()


@given(mixed())
def test_every_source_is_brought_to_log_odds(world: tuple[Candidates, np.ndarray]) -> None:
    candidates, popularity = world
    scores = RANKER.rank(candidates, "for_you", popularity)
    bought, near = candidates.sources == REPURCHASE, candidates.sources == ANN
    assert scores[bought].tolist() == candidates.scores[bought].tolist()
    assert scores[near] == pytest.approx(-8 + 5 * candidates.scores[near], abs=1e-5)


def test_discovery_trades_a_little_likelihood_for_the_long_tail() -> None:
    popularity = np.array([1000.0, 0.0], np.float32)
    near = Candidates(np.array([0, 1]), np.array([0.5, 0.49], np.float32), np.full(2, ANN, np.int8))
    for_you = RANKER.rank(near, "for_you", popularity)
    discover = RANKER.rank(near, "discover", popularity)
    assert for_you[0] > for_you[1]
    assert discover[1] > discover[0]
    assert discover[0] == pytest.approx(-8 + 5 * (0.5 - 0.02 * np.log(1001)), abs=1e-5)
    assert discover[1] == for_you[1]


def test_a_bundle_without_parameters_still_ranks_by_nearness() -> None:
    near = Candidates(np.arange(3), np.array([0.1, 0.9, 0.4], np.float32), np.full(3, ANN, np.int8))
    scores = Ranker({}).rank(near, "for_you", np.zeros(3, np.float32))
    assert np.argsort(-scores).tolist() == [1, 2, 0]


def test_a_model_survives_its_json() -> None:
    model = DiscoveryModel(bias=-7.0, score=4.5)
    assert DiscoveryModel.from_json(model.to_json()) == model
    assert DiscoveryModel.from_json({"unknown": 1.0}) == DiscoveryModel()
