"""Shoppers' sequences: made of the events, kept as shards, read as arrays.

A sequence is all that one shopper did, in the order of moment, item id and event type. A look
(`schema.LOOKS`) at the item that the shopper's event just before was a look at, within the same
session, is left out: reloading a page is no new interest. Nothing else is, and purchases least of
all. Sequences are whole: what `max_history` cuts is the newest part before a moment, and training
asks at many moments.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import narwhals as nw
import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from numpy.typing import NDArray

from vitrina.errors import DataError
from vitrina.lake.codes import ITEM, KEY, KIND, SHOPPER, Codes, Names, numbered, with_bucket
from vitrina.lake.engine import DuckDBEngine, Engine, Frame
from vitrina.lake.quality.bots import known_bots
from vitrina.lake.shards import BUCKETS, SHARDS, read_shards, shard_files, write_shards
from vitrina.lake.shoppers import START, distinct, shopper_key
from vitrina.lake.split import to_datetime
from vitrina.lake.tables import current_tables, keep_path, scan_table
from vitrina.lake.timeline import Timeline

US_PER_DAY = 86_400_000_000

_ORDER: Final = ("shopper", "moment", "item", "kind")


def write_timeline(engine: Engine, timeline: Timeline, folder: Path) -> None:
    """Write the sequences of all shoppers of a timeline as shards into `folder`."""
    rows = _rows(_with_named(engine, timeline.events))
    if "session_id" in timeline.events.collect_schema():
        rows = rows.sort(*_ORDER)  # they were joined
    else:
        rows = engine.in_order(rows, _ORDER)
    _write(engine, rows, timeline.codes, folder)


def write_sequences(
    engine: Engine,
    events: Frame,
    items: Frame,
    folder: Path,
    buckets: Collection[str] = BUCKETS,
) -> None:
    """Write the sequences of the shoppers of `events` in `buckets` as shards into `folder`.

    events: user_id, session_id, item_id, event_type, timestamp and START, as the events table is
    stored. items: the catalog, which has every item of the events.
    """
    moments = {name: nw.col(name).cast(nw.Datetime("us")) for name in ("timestamp", START)}
    keyed = events.select("session_id", "item_id", "event_type", **moments, **{KEY: shopper_key()})
    event_types = engine.collect(distinct(keyed, "event_type"))["event_type"].to_pylist()
    codes = Codes.of(engine, keyed, Names.of(engine, items, event_types), buckets)
    rows = _rows(_with_named(engine, codes.encode(codes.names.encode(keyed))))
    _write(engine, rows.sort(*_ORDER), codes, folder)


def update_sequences(
    engine: Engine, events: Frame, items: Frame, changed: Frame, last: Path, folder: Path
) -> None:
    """Write the shards in which events were added or removed; take over the others.

    events, items: as in `write_sequences`. changed: user_id and session_id of what was added and
    removed. last: the shards of the set without these changes.
    """
    folder.mkdir()
    buckets = buckets_of(engine, changed)
    for shard in shard_files(last):
        if shard.stem not in buckets:
            keep_path(shard, folder / shard.name)
    write_sequences(engine, events, items, folder, sorted(buckets))


def buckets_of(engine: Engine, events: Frame) -> set[str]:
    """The buckets of the events' shoppers: those whose shards these events have a part in."""
    keys = with_bucket(engine, distinct(events.select(shopper_key().alias(KEY)), KEY))
    return set(engine.collect(distinct(keys, "_bucket"))["_bucket"].to_pylist())


def _rows(events: Frame) -> Frame:
    """Events with SHOPPER, ITEM, KIND, START and named, as `shards.write_shards` takes them."""
    return events.select(
        "named", start=START, shopper=SHOPPER, moment="timestamp", item=ITEM, kind=KIND
    )


def _write(engine: Engine, rows: Frame, codes: Codes, folder: Path) -> None:
    """rows: of `_rows`, in _ORDER."""
    write_shards(
        folder,
        engine.batches(rows),
        engine.collect(codes.shoppers.select("bucket", KEY).sort("bucket", KEY)),
        codes.names.item_ids,
        codes.names.event_types,
    )


def _with_named(engine: Engine, events: Frame) -> Frame:
    """Add named int32: a session's place among the shopper's that have a name, from 1; else 0."""
    if "session_id" not in events.collect_schema():
        return events.with_columns(named=nw.lit(0, nw.Int32))
    sessions = distinct(events.filter(~nw.col("session_id").is_null()), SHOPPER, "session_id")
    sessions = numbered(sessions, "named", per=[SHOPPER], order=["session_id"])
    sessions = engine.persist(sessions)
    events = events.join(sessions, on=[SHOPPER, "session_id"], how="left")
    return events.with_columns((nw.col("named") + 1).fill_null(0).cast(nw.Int32).alias("named"))


@dataclass(frozen=True, slots=True)
class Interactions:
    """Events of whole sequences, sorted by user, moment, item row and type; n events of u shoppers.

    user int32 [n]: position in user_ids. row int32 [n]: item row. event_type int16 [n]: code.
    timestamp_us int64 [n]. session int32 [n]: dense code, in the order of the shoppers and of
    their sessions' first moments. user_ids [u]: history keys (user_id, or `anonymous_key` of the
    session), sorted.
    """

    user: NDArray[np.int32]
    row: NDArray[np.int32]
    event_type: NDArray[np.int16]
    timestamp_us: NDArray[np.int64]
    session: NDArray[np.int32]
    user_ids: list[str]

    def __len__(self) -> int:
        return len(self.user)

    def where(self, kept: NDArray[np.bool_]) -> Interactions:
        """The events where `kept` [n] is true; shoppers and sessions keep their numbers."""
        return Interactions(
            user=self.user[kept],
            row=self.row[kept],
            event_type=self.event_type[kept],
            timestamp_us=self.timestamp_us[kept],
            session=self.session[kept],
            user_ids=self.user_ids,
        )


def load_interactions(
    lake: Path,
    *,
    before_us: int | None,
    item_ids: Sequence[str],
    event_types: Sequence[str],
) -> Interactions:
    """The shoppers' sequences strictly before `before_us` (None: whole).

    Item rows and type codes are positions in `item_ids` and `event_types`, both sorted; events of
    other items and types are left out, and so are shoppers without any other. So are bots, if they
    were known for what they are before `before_us`. Raises DataError when nothing was ingested
    yet.
    """
    shards = _current_shards(lake)
    keys = pa.chunked_array([shard["user"].dictionary for shard in shards], pa.string())
    usable = np.invert(pc.is_in(keys, _bots(lake, before_us)).to_numpy())
    rows = _positions([shard["item"].dictionary for shard in shards], item_ids)
    codes = _positions([shard["event_type"].dictionary for shard in shards], event_types)
    parts, first = [], 0
    for shard, row, code in zip(shards, rows, codes, strict=True):
        end = first + len(shard["user"].dictionary)
        parts.append(_Part.of(shard, usable[first:end], row, code, before_us))
        first = end
    return _merged(parts, keys)


@dataclass(frozen=True, slots=True)
class _Part:
    """The wanted events of one shard of u shoppers: columns as mapped, and which rows of them.

    counts, sessions int64 [u]: each shopper's wanted events, and sessions up to the last of them.
    row, code: what the shard's item and type codes stand for.
    """

    shard: pa.RecordBatch
    wanted: NDArray[np.bool_]
    counts: NDArray[np.int64]
    sessions: NDArray[np.int64]
    row: NDArray[np.int32]
    code: NDArray[np.int32]

    @classmethod
    def of(
        cls,
        shard: pa.RecordBatch,
        usable: NDArray[np.bool_],
        row: NDArray[np.int32],
        code: NDArray[np.int32],
        before_us: int | None,
    ) -> _Part:
        user = _codes_of(shard, "user")
        wanted = usable[user]
        wanted &= (row >= 0)[_codes_of(shard, "item")]
        wanted &= (code >= 0)[_codes_of(shard, "event_type")]
        if before_us is not None:
            wanted &= _int64(shard, "moment") < before_us
        counts = np.bincount(user[wanted], minlength=len(usable))
        sessions = np.zeros(len(usable), np.int64)
        present = np.flatnonzero(counts)
        if len(present):
            session = shard["session"].to_numpy()[wanted]
            first = (np.cumsum(counts) - counts)[present]
            sessions[present] = np.maximum.reduceat(session, first) + 1
        return cls(shard, wanted, counts, sessions, row, code)


def _merged(parts: Sequence[_Part], keys: pa.ChunkedArray) -> Interactions:
    """The parts' shoppers in the order of their keys. keys: of all shoppers, part after part."""
    counts = np.concatenate([np.zeros(0, np.int64), *(part.counts for part in parts)])
    sessions = np.concatenate([np.zeros(0, np.int64), *(part.sessions for part in parts)])
    known = np.flatnonzero(counts)
    user_ids = keys.take(known)
    order = pc.sort_indices(user_ids).to_numpy()
    users, user_ids = known[order], user_ids.take(order)
    begin, first_session = np.zeros_like(counts), np.zeros_like(counts)
    begin[users] = np.cumsum(counts[users]) - counts[users]
    first_session[users] = np.cumsum(sessions[users]) - sessions[users]
    n = int(counts.sum())
    row, event_type = np.empty(n, np.int32), np.empty(n, np.int16)
    timestamp_us, session = np.empty(n, np.int64), np.empty(n, np.int32)
    first = 0
    for part in parts:
        shard, wanted = part.shard, part.wanted
        own = slice(first, first := first + len(part.counts))
        user = _codes_of(shard, "user")[wanted]
        place = np.arange(len(user))
        place += (begin[own] - (np.cumsum(part.counts) - part.counts))[user]
        row[place] = part.row[_codes_of(shard, "item")[wanted]]
        event_type[place] = part.code[_codes_of(shard, "event_type")[wanted]]
        timestamp_us[place] = _int64(shard, "moment")[wanted]
        session[place] = first_session[own][user] + shard["session"].to_numpy()[wanted]
    return Interactions(
        user=np.repeat(np.arange(len(users), dtype=np.int32), counts[users]),
        row=row,
        event_type=event_type,
        timestamp_us=timestamp_us,
        session=session,
        user_ids=user_ids.to_pylist(),
    )


def _current_shards(lake: Path) -> list[pa.RecordBatch]:
    folder = current_tables(lake) / SHARDS
    if not folder.is_dir():
        raise DataError(
            f"{folder.parent} holds no sequences: an older version made it. Run 'vitrina ingest'."
        )
    return read_shards(folder)


def _bots(lake: Path, before_us: int | None) -> pa.Array:
    before = None if before_us is None else to_datetime(before_us)
    with DuckDBEngine() as engine:
        keys = engine.collect(known_bots(scan_table(engine, lake, "bots"), before=before))["key"]
    return keys.combine_chunks().cast(pa.string())


def _positions(dictionaries: Sequence[pa.Array], names: Sequence[str]) -> list[NDArray[np.int32]]:
    """For each dictionary, the position of each of its texts in `names`, −1 where it is not."""
    texts = pa.chunked_array(dictionaries, pa.string())
    places = pc.index_in(texts, pa.array(names, pa.string())).fill_null(-1).to_numpy()
    return np.split(places, np.cumsum([len(values) for values in dictionaries])[:-1])


def _codes_of(shard: pa.RecordBatch, column: str) -> NDArray[np.integer]:
    codes: NDArray[np.integer] = shard[column].indices.to_numpy()
    return codes


def _int64(shard: pa.RecordBatch, column: str) -> NDArray[np.int64]:
    values: NDArray[np.int64] = shard[column].view(pa.int64()).to_numpy()
    return values


def popularity(
    interactions: Interactions, n_items: int, until_us: int, half_life_days: float
) -> NDArray[np.float32]:
    """Recency-weighted count of each item's events before `until_us`: float32 [n_items].

    An event of age a days weighs 2^(-a / half_life_days).
    """
    seen = interactions.timestamp_us < until_us
    age_days = (until_us - interactions.timestamp_us[seen]) / US_PER_DAY
    weights = np.exp2(-age_days / half_life_days)
    counts = np.bincount(interactions.row[seen], weights, minlength=n_items)
    return counts.astype(np.float32)
