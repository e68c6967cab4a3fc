"""Rows into a Parquet file for each value of a column, with texts that have numbers already.

Parquet keeps each text once in a group of rows, and numbers in its place. To find these numbers is
most of what writing texts costs; whoever has sorted by them has them.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.compute as pc  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

BUFFERED_ROWS: Final = 2_000_000
"""Rows of all parts together that wait for others of their group: some 60 bytes each."""


def write_parts(
    batches: Iterable[pa.RecordBatch],
    column: str,
    paths: Mapping[int, Path],
    words: Mapping[str, pa.Array],
) -> None:
    """Write the rows of each value of `column`, and without it, in their order.

    batches: of one schema; moments without zone are UTC, and written as such. column: an integer,
    without nulls. paths: a file for each value that is wanted; those without rows are not made.
    words: of columns that are places in texts, the texts; they are written in place of these.
    """
    waiting: dict[int, list[pa.RecordBatch]] = {}
    rows: Counter[int] = Counter()
    with ExitStack() as stack:
        writers: dict[int, pq.ParquetWriter] = {}

        def write(value: int, group: list[pa.RecordBatch]) -> None:
            table = _as_written(pa.Table.from_batches(group).drop_columns(column), words)
            if value not in writers:
                writers[value] = stack.enter_context(_writer(paths[value], table.schema))
            writers[value].write_table(table)

        # One thread writes: groups of a part follow one another. The engine goes on meanwhile.
        with ThreadPoolExecutor(1) as pool:
            written: Future[None] | None = None
            for value, part in _parts(batches, column, paths):
                waiting.setdefault(value, []).append(part)
                rows[value] += len(part)
                if rows.total() > BUFFERED_ROWS:
                    ((fullest, _),) = rows.most_common(1)
                    if written is not None:
                        written.result()
                    written = pool.submit(write, fullest, waiting.pop(fullest))
                    del rows[fullest]
            if written is not None:
                written.result()
        # The last group of each part follows none: they are written beside each other.
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            for done in [pool.submit(write, value, group) for value, group in waiting.items()]:
                done.result()


def dictionary_of(places: pa.Array, texts: pa.Array) -> pa.DictionaryArray:
    """The texts at places (integers, maybe null) as a dictionary of those that occur, in order."""
    known = places.drop_null().to_numpy()
    first, end = (int(known.min()), int(known.max()) + 1) if len(known) else (0, 0)
    occurs = np.zeros(end - first, np.bool_)
    occurs[known - first] = True
    codes = pa.array((np.cumsum(occurs) - 1).astype(places.type.to_pandas_dtype()))
    return pa.DictionaryArray.from_arrays(
        codes.take(pc.subtract(places, first)), texts.take(first + np.flatnonzero(occurs))
    )


def _parts(
    batches: Iterable[pa.RecordBatch], column: str, wanted: Container[int]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The rows of each wanted value in each batch, copied: a slice would keep all of its batch."""
    for batch in batches:
        values = batch[column].to_numpy()
        order = np.argsort(values, kind="stable")
        found, firsts = np.unique(values[order], return_index=True)
        for value, rows in zip(found.tolist(), np.split(order, firsts[1:]), strict=True):
            if value in wanted:
                yield value, batch.take(pa.array(rows))


def _as_written(table: pa.Table, words: Mapping[str, pa.Array]) -> pa.Table:
    for place, name in enumerate(table.schema.names):
        values = table[place]
        if name in words:
            table = table.set_column(
                place, name, dictionary_of(values.combine_chunks(), words[name])
            )
        elif pa.types.is_timestamp(values.type):
            table = table.set_column(place, name, values.cast(pa.timestamp("us", "UTC")))
    return table


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    # Moments and numbers of rows hardly repeat; prices and texts do. Only by moments are groups
    # ever skipped: shoppers lie in no order of their names, and items in none at all.
    ordered = [
        field.name
        for field in schema
        if pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type)
    ]
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=[name for name in schema.names if name not in ordered],
        write_statistics=ordered,
        store_schema=False,
    )
