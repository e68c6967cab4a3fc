"""From a shopper's history to the user tower's inputs. NumPy only.

The one piece of code that training, offline evaluation and the request path share: whatever is
done to a history before a model sees it is done here and nowhere else, so that train/serve skew
has no place to live. Also here, for the same reason: the untrained encoders of the ladder
(recency average, short/long mix) and the summary that the small MLP encoder reads.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vitrina.schema import History
from vitrina.space import FloatMatrix, normalise

AVERAGE_DECAY = 0.05
MIX_SHORT_SHARE = 0.6
MIX_SHORT_DECAY = 0.15
MIX_LONG_DECAY = 0.01
MIN_MIXED = 2
"""Under this many usable events there is no short run beside a long one."""

SECONDS_PER_DAY = 86_400.0
MAX_AGE_DAYS = 365.0


@dataclass(frozen=True, slots=True)
class EncodedHistory:
    """One history as numbers, oldest first, items the catalog lacks already dropped.

    rows int64 [L]: item rows in the bundle; event_types int64 [L]: codes;
    days float32 [L]: age of each event in days before the newest one (the newest is 0).
    """

    rows: NDArray[np.int64]
    event_types: NDArray[np.int64]
    days: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """Several histories, padded on the right to one length.

    rows, event_types int64 [B, L]; days float32 [B, L]; mask bool [B, L], True where real.
    """

    rows: NDArray[np.int64]
    event_types: NDArray[np.int64]
    days: NDArray[np.float32]
    mask: NDArray[np.bool_]


def encode_history(
    history: History,
    row_of_item: Mapping[str, int],
    code_of_type: Mapping[str, int],
    max_history: int,
) -> EncodedHistory:
    """The newest `max_history` usable events of a history.

    An event is usable when its item is in the catalog and its type is known to the bundle.
    """
    usable = [
        (row, code, moment)
        for item_id, event_type, moment in zip(
            history.item_ids, history.event_types, history.timestamps_us, strict=True
        )
        if (row := row_of_item.get(item_id)) is not None
        and (code := code_of_type.get(event_type)) is not None
    ][-max_history:]
    if not usable:
        empty = np.zeros(0, np.int64)
        return EncodedHistory(empty, empty, np.zeros(0, np.float32))
    rows, codes, moments = (np.array(column, np.int64) for column in zip(*usable, strict=True))
    return EncodedHistory(rows, codes, age_days(moments[-1:], moments))


def age_days(
    newest_us: NDArray[np.int64], moments_us: NDArray[np.int64], at_most: float = MAX_AGE_DAYS
) -> NDArray[np.float32]:
    """Age in days of each moment [..., L] before the newest [..., 1], both in microseconds.

    At most MAX_AGE_DAYS: a shopper who is back after years is one who is back after a year.
    Training on whole sequences looks back from each of their events, so it sets no limit here; the
    user tower does.
    """
    days = (newest_us - moments_us) / (1e6 * SECONDS_PER_DAY)
    ages: NDArray[np.float32] = np.clip(days, 0.0, at_most).astype(np.float32)
    return ages


def pad(histories: Sequence[EncodedHistory]) -> EncodedBatch:
    """Stack histories into one batch, padded on the right with row 0, type 0, day 0."""
    length = max((len(history) for history in histories), default=0)
    shape = (len(histories), max(length, 1))
    rows, codes = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    days, mask = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
    for position, history in enumerate(histories):
        n = len(history)
        rows[position, :n], codes[position, :n] = history.rows, history.event_types
        days[position, :n], mask[position, :n] = history.days, True
    return EncodedBatch(rows, codes, days, mask)


def recency_weights(length: int, decay: float) -> NDArray[np.float32]:
    """w_i = exp(decay · (i − (L−1))) for i = 0 … L−1: 1 for the newest event, less before it."""
    ages = np.arange(length, dtype=np.float32) - (length - 1)
    weights: NDArray[np.float32] = np.exp(np.float32(decay) * ages)
    return weights


def recency_average(vectors: FloatMatrix, decay: float = AVERAGE_DECAY) -> FloatMatrix:
    """Recency-weighted average of item vectors [L, dim], oldest first → unit vector [dim]."""
    return normalise(recency_weights(len(vectors), decay) @ vectors)


def short_long_mix(vectors: FloatMatrix) -> FloatMatrix:
    """Blend of a fast and a slow recency average of [L, dim] → unit vector [dim]."""
    short = recency_average(vectors, MIX_SHORT_DECAY)
    long = recency_average(vectors, MIX_LONG_DECAY)
    return normalise(MIX_SHORT_SHARE * short + (1 - MIX_SHORT_SHARE) * long)


def history_summary(vectors: FloatMatrix) -> FloatMatrix:
    """[mean, mean of the last 5, last] of item vectors [L, dim] → [3 · dim], the MLP's input."""
    return np.concatenate([vectors.mean(0), vectors[-5:].mean(0), vectors[-1]]).astype(np.float32)
