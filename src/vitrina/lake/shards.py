"""Shoppers' sequences as Arrow files that training memory-maps.

    sequences/00.arrow … ff.arrow    one file a bucket of shoppers that has any

A shopper's bucket is the first two hexadecimal digits of the MD5 of the history key in UTF-8, so
that every engine, and any later run, puts the same shopper into the same file. A file holds the
whole sequences of its shoppers, sorted by key, moment, item id and event type, in one record
batch, uncompressed:

    user        dictionary<int32, string>   history key
    item        dictionary<int32, string>   item_id
    event_type  dictionary<int16, string>
    moment      timestamp[us, UTC]
    pause       duration[us]                since the shopper's event before it; 0 for the first
    session     int32                       the shopper's sessions, counted from 0

Dictionaries are sorted and hold what the file uses, no more: a file is a function of its
shoppers' events alone, so that neither a new item nor another shopper's event changes it.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
from numpy.typing import NDArray

from vitrina.errors import DataError
from vitrina.lake.engine.parts import dictionary_of
from vitrina.schema import LOOKS

SHARDS: Final = "sequences"
SUFFIX: Final = ".arrow"
BUCKET_DIGITS: Final = 2
BUCKETS: Final = tuple(f"{number:02x}" for number in range(16**BUCKET_DIGITS))

SCHEMA: Final = pa.schema(
    [
        ("user", pa.dictionary(pa.int32(), pa.string())),
        ("item", pa.dictionary(pa.int32(), pa.string())),
        ("event_type", pa.dictionary(pa.int16(), pa.string())),
        ("moment", pa.timestamp("us", "UTC")),
        ("pause", pa.duration("us")),
        ("session", pa.int32()),
    ]
)


def bucket_of(key: str) -> str:
    """The bucket of a history key, an entry of BUCKETS."""
    return hashlib.md5(key.encode(), usedforsecurity=False).hexdigest()[:BUCKET_DIGITS]


def write_shards(
    folder: Path,
    events: Iterable[pa.RecordBatch],
    users: pa.Table,
    item_ids: pa.Array,
    event_types: pa.Array,
) -> None:
    """Write one file in `folder` for each bucket of `events`, without repeated looks.

    events: shopper int32, item int32, kind int16, moment timestamp[us], and of the session named
    int32 and start timestamp[us], sorted by shopper, moment, item, kind. named: a number among the
    shopper's sessions with a name, in the order of these, from 1; 0 for one that the lake cut, and
    then `start` tells them apart. users: bucket and key, sorted by both. shopper, item and kind
    are places in users, item_ids and event_types, which are sorted.
    """
    folder.mkdir(parents=True, exist_ok=True)
    buckets = users["bucket"].to_numpy()
    keys = users[1].combine_chunks()
    looks = pc.is_in(event_types, pa.array(sorted(LOOKS), pa.string())).to_numpy(False)

    def write(bucket: int, table: pa.Table) -> None:
        first, end = np.searchsorted(buckets, [bucket, bucket + 1])
        columns = _without_repeated_looks(_with_sessions(_arrays(table, first)), looks)
        batch = _record_batch(columns, keys.slice(first, end - first), item_ids, event_types)
        with (folder / f"{BUCKETS[bucket]}{SUFFIX}").open("wb") as file:
            with pa.ipc.new_file(file, SCHEMA) as writer:
                writer.write_batch(batch)
            file.flush()
            os.fsync(file.fileno())

    # NumPy and Arrow work beside each other; the engine goes on meanwhile with the next buckets.
    workers = len(os.sched_getaffinity(0))
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[None]] = deque()
        for bucket, table in _by_bucket(events, buckets):
            waiting.append(pool.submit(write, bucket, table))
            if len(waiting) > workers:
                waiting.popleft().result()
        for written in waiting:
            written.result()


def read_shards(folder: Path) -> list[pa.RecordBatch]:
    """The shards in `folder`, memory-mapped: nothing is read before it is looked at.

    Raises DataError for a file that is no shard.
    """
    return [_map(path) for path in shard_files(folder)]


def shard_files(folder: Path) -> list[Path]:
    """The files of the shards in `folder`, by bucket; a file's stem is its bucket."""
    return sorted(folder.glob(f"*{SUFFIX}"))


def _map(path: Path) -> pa.RecordBatch:
    try:
        with pa.memory_map(str(path)) as file:
            batch = pa.ipc.open_file(file).get_batch(0)
    except (pa.ArrowException, OSError) as error:
        raise DataError(
            f"{path} is no readable shard of sequences: {error}. Run 'vitrina ingest' again."
        ) from error
    if not batch.schema.equals(SCHEMA):
        raise DataError(
            f"{path} has the columns {', '.join(map(str, batch.schema))}; this version of Vitrina "
            f"reads {', '.join(map(str, SCHEMA))}. Run 'vitrina ingest' again."
        )
    return batch


def _by_bucket(
    events: Iterable[pa.RecordBatch], bucket_of_shopper: NDArray[np.int64]
) -> Iterator[tuple[int, pa.Table]]:
    """Each bucket's rows, gathered from consecutive batches."""
    rows: list[pa.RecordBatch] = []
    current = -1
    for batch in events:
        buckets = bucket_of_shopper[batch.column("shopper").to_numpy()]
        cuts = np.flatnonzero(np.diff(buckets)) + 1
        for first, end in zip([0, *cuts], [*cuts, len(buckets)], strict=True):
            if first == end:
                continue
            if rows and buckets[first] != current:
                yield current, pa.Table.from_batches(rows)
                rows = []
            current = int(buckets[first])
            rows.append(batch.slice(first, end - first))
    if rows:
        yield current, pa.Table.from_batches(rows)


def _arrays(bucket: pa.Table, first: int) -> dict[str, NDArray[Any]]:
    """The columns of one bucket, whose shoppers' numbers begin with `first`.

    user: int32, from 0; moment and start: int64, in microseconds.
    """
    columns = {name: bucket[name].to_numpy() for name in ("item", "kind", "named")}
    moments = {name: bucket[name].cast(pa.int64()).to_numpy() for name in ("moment", "start")}
    user = bucket["shopper"].to_numpy() - np.int32(first)
    return {"user": user, **columns, **moments}


def _with_sessions(columns: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The columns, with the session of each event (int32) in place of named and start.

    Each user's sessions count from 0 in the order of their first moments; of several with the same
    one, those with a name come first, in the order of names.
    """
    user, named, moment = columns["user"], columns["named"], columns["moment"]
    start = np.where(named > 0, 0, columns["start"])
    # Sessions come in runs, on the whole ten times fewer than events: only runs are sorted.
    begins = _differs(user, named, start)
    run = np.flatnonzero(begins)
    runs = np.lexsort((start[run], named[run], user[run]))
    run = run[runs]
    anew = _differs(user[run], named[run], start[run])
    session = np.flatnonzero(anew)
    # Of equal runs lexsort leaves the first one first.
    event = run[session]
    unnamed_last = np.where(named[event] > 0, named[event], np.iinfo(np.int32).max)
    sessions = np.lexsort((unnamed_last, moment[event], user[event]))
    place = np.arange(len(sessions))
    place -= np.maximum.accumulate(np.where(_differs(user[event[sessions]]), place, 0))
    number = np.empty(len(sessions), np.int32)
    number[sessions] = place
    of_run = np.empty(len(runs), np.int32)
    of_run[runs] = number[np.cumsum(anew) - 1]
    kept = {name: columns[name] for name in ("user", "moment", "item", "kind")}
    return {**kept, "session": of_run[np.cumsum(begins) - 1]}


def _differs(*columns: NDArray[Any]) -> NDArray[np.bool_]:
    """Whether each row differs from the one before in any column; the first one does."""
    differs = np.ones(len(columns[0]), np.bool_)
    differs[1:] = np.logical_or.reduce([values[1:] != values[:-1] for values in columns])
    return differs


def _without_repeated_looks(
    columns: Mapping[str, NDArray[Any]], looks: NDArray[np.bool_]
) -> dict[str, NDArray[Any]]:
    """Leave out each look at the item of the event just before it, if that is a look, too.

    looks: whether each kind is one. Both have to be of one shopper and one session.
    """
    look = looks[columns["kind"]]
    repeated = look[1:] & look[:-1]
    for name in ("item", "session", "user"):
        repeated &= columns[name][1:] == columns[name][:-1]
    kept = np.flatnonzero(np.concatenate([[True], ~repeated]))
    return {name: values[kept] for name, values in columns.items()}


def _record_batch(
    columns: Mapping[str, NDArray[Any]], keys: pa.Array, item_ids: pa.Array, event_types: pa.Array
) -> pa.RecordBatch:
    user, moment = columns["user"], columns["moment"]
    pause = np.diff(moment, prepend=moment[:1])
    pause[np.flatnonzero(np.diff(user)) + 1] = 0
    # From arrays of their own, for what follows a slice in memory would pad it in the file.
    return pa.RecordBatch.from_arrays(
        [
            pa.DictionaryArray.from_arrays(user, pa.concat_arrays([keys])),
            dictionary_of(pa.array(columns["item"]), item_ids),
            dictionary_of(pa.array(columns["kind"]), event_types),
            pa.array(moment, pa.timestamp("us", "UTC")),
            pa.array(pause, pa.duration("us")),
            pa.array(columns["session"]),
        ],
        schema=SCHEMA,
    )
