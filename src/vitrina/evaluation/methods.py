"""What is compared: a method turns shoppers into ranked lists."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vitrina.bundle.bundle import Bundle
from vitrina.encoding import encode_history, recency_average, short_long_mix
from vitrina.evaluation.metrics import DEPTH, Rows
from vitrina.evaluation.protocols import GlobalTimeSplit
from vitrina.lake.sequences import Interactions
from vitrina.online.candidates import Shelf
from vitrina.online.recommender import Recommender, Request
from vitrina.online.stages import Stages
from vitrina.online.user_vector import UserVectorizer
from vitrina.schema import History
from vitrina.settings import ServeSettings
from vitrina.space import FloatMatrix, Vectors
from vitrina.state.base import HistoryStore
from vitrina.state.sqlite import SqliteState
from vitrina.towers.baselines import (
    Baseline,
    EaseScores,
    ImplicitALS,
    ItemKNN,
    OwnFrequency,
    RecentPopularity,
)

BATCH: Final = 256

BASELINES: Final[dict[str, Callable[[Interactions, int], Baseline]]] = {
    "recent popularity": RecentPopularity,
    "own most frequent": OwnFrequency,
    "item-kNN": ItemKNN,
    "iALS": ImplicitALS,
    "EASE": EaseScores,
}

AVERAGE, MIX, LEARNED = "recency average", "short/long mix", "learned retrieval"
PIPELINE: Final = "full pipeline"


@dataclass(frozen=True, slots=True)
class Lists:
    """A method's ranked lists, int64 [B, DEPTH], -1 after their end.

    everything: of all items. unmet: of items the shopper had not met before the cut. newcomer int64
    [DEPTH]: the list of anybody without an event before the cut, empty where the method has none.
    """

    method: str
    everything: Rows
    unmet: Rows
    newcomer: Rows


def all_methods(split: GlobalTimeSplit, bundle: Bundle) -> Iterator[Lists]:
    """Every method's lists, one after the other: baselines, rungs, the whole pipeline."""
    items = len(bundle.item_ids)
    for name, baseline in BASELINES.items():
        yield from_scores(name, baseline(split.data.interactions, items), split)
    with_history = histories_before_cut(split)
    vectorizer = UserVectorizer(bundle)

    def learned(history: History, vectors: FloatMatrix) -> FloatMatrix:
        found = vectorizer.vector(history, Stages())
        return bundle.centroid if found is None else found.values

    encoders: dict[str, Callable[[History, FloatMatrix], FloatMatrix]] = {
        AVERAGE: lambda _, vectors: recency_average(vectors),
        MIX: lambda _, vectors: short_long_mix(vectors),
        LEARNED: learned,
    }
    for name, encoder in encoders.items():
        yield from_vectors(name, encoder, split, bundle, with_history)
    yield from_pipeline(split, bundle, with_history)


def from_scores(name: str, baseline: Baseline, split: GlobalTimeSplit) -> Lists:
    """Full ranking by a baseline's scores; items it scores 0 or less are not recommended.

    For newcomers, all that know but who met what together know nothing.
    """
    everything, unmet = [], []
    for start in range(0, len(split.users), BATCH):
        scores = baseline.scores(split.users[start : start + BATCH]).copy()
        everything.append(_best(scores))
        scores[split.met[start : start + BATCH].nonzero()] = -np.inf
        unmet.append(_best(scores))
    newcomer = np.full(DEPTH, -1, np.int64)
    if isinstance(baseline, RecentPopularity):
        newcomer = everything[0][0]
    return Lists(name, np.concatenate(everything), np.concatenate(unmet), newcomer)


def from_vectors(
    name: str,
    encoder: Callable[[History, FloatMatrix], FloatMatrix],
    split: GlobalTimeSplit,
    bundle: Bundle,
    state: HistoryStore,
) -> Lists:
    """Retrieval alone: the nearest items of each shopper's vector, from the bundle's index."""
    code_of_type = {name: code for code, name in enumerate(bundle.manifest.event_types)}
    queries = np.empty((len(split.users), bundle.space.dim), np.float32)
    for place, key in enumerate(shopper_keys(split)):
        history = state.recent(key, bundle.manifest.max_history)
        encoded = encode_history(
            history, bundle.row_of_item, code_of_type, bundle.manifest.max_history
        )
        vectors = bundle.vectors.values[encoded.rows]
        queries[place] = encoder(history, vectors) if len(encoded) else bundle.centroid

    def nearest(query: FloatMatrix, k: int) -> Rows:
        found = Vectors(bundle.space, query[None])
        rows: Rows = bundle.index.search(found, min(k, len(bundle.item_ids)))[1][0]
        return rows

    everything, unmet = [], []
    for place, query in enumerate(queries):
        met = split.met[place].indices
        rows = nearest(query, DEPTH + len(met))
        everything.append(_padded(rows))
        unmet.append(_padded(rows[~np.isin(rows, met)]))
    newcomer = _padded(nearest(bundle.centroid, DEPTH))
    return Lists(name, np.stack(everything), np.stack(unmet), newcomer)


def from_pipeline(split: GlobalTimeSplit, bundle: Bundle, state: HistoryStore) -> Lists:
    """The answers of the recommender that serves: shelf `for_you`, and `discover` for the new."""
    settings = ServeSettings.model_validate({})
    recommender = Recommender(bundle, state, None, settings)

    def ask(key: str | None, shelf: Shelf) -> Rows:
        answer = recommender.recommend(Request(key=key, k=DEPTH, shelf=shelf))
        return _padded(answer.candidates.rows)

    keys = shopper_keys(split)
    everything = np.stack([ask(key, "for_you") for key in keys])
    unmet = np.stack([ask(key, "discover") for key in keys])
    return Lists(PIPELINE, everything, unmet, ask(None, "for_you"))


def histories_before_cut(split: GlobalTimeSplit) -> SqliteState:
    """A private history store holding exactly the events before the cut."""
    events, data = split.data.interactions, split.data
    user_ids, item_ids = np.array(events.user_ids), np.array(data.catalog.item_ids)
    types = np.array(data.event_types)
    state = SqliteState(None)
    state.load_histories(
        user_ids[events.user].tolist(),
        item_ids[events.row].tolist(),
        types[events.event_type].tolist(),
        events.timestamp_us.tolist(),
    )
    return state


def shopper_keys(split: GlobalTimeSplit) -> list[str]:
    """History keys of the shoppers judged, in their order."""
    return [split.data.interactions.user_ids[user] for user in split.users]


def _best(scores: NDArray[np.float32]) -> Rows:
    """The DEPTH best columns of each row of scores, best first; -1 where none is above 0."""
    depth = min(DEPTH, scores.shape[1])
    best = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
    found = np.take_along_axis(scores, best, 1)
    order = np.lexsort((best, -found), axis=1)
    best, found = np.take_along_axis(best, order, 1), np.take_along_axis(found, order, 1)
    rows = np.full((len(scores), DEPTH), -1, np.int64)
    rows[:, :depth] = np.where(found > 0, best, -1)
    return rows


def _padded(rows: Rows) -> Rows:
    """The first DEPTH rows, -1 behind their end."""
    padded = np.full(DEPTH, -1, np.int64)
    padded[: min(len(rows), DEPTH)] = rows[:DEPTH]
    return padded
