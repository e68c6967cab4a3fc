"""The events table as one Parquet file a month (UTC): what a new day of events rewrites.

    events/2024-05.parquet   all events of May 2024, shopper by shopper on the whole

Months and not days: at 20 M events a year, 365 files take twice as long to scan as 12 and are a
burden to engines that plan a task a file. Rewriting the month of a new day of events costs a
twelfth of a full write. An engine may make a folder of several files of a month.

No column holds the month: the timestamps' minima and maxima in the files let engines skip them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

import narwhals as nw

from vitrina.lake.engine import Engine, Frame
from vitrina.lake.shoppers import START, distinct

SUFFIX = ".parquet"
MONTH = "_month"
"""int32: months since the year 0."""


def months_of(engine: Engine, events: Frame) -> list[str]:
    """The months ("2024-05") that hold events, in order."""
    numbers = distinct(events.select(_month()), MONTH)
    return [f"{n // 12:04}-{n % 12 + 1:02}" for n in sorted(engine.collect(numbers)[0].to_pylist())]


def in_month(month: str) -> nw.Expr:
    """Whether an event's timestamp (UTC, without zone) lies in the month."""
    first = datetime.strptime(month, "%Y-%m")
    year, before = divmod(first.year * 12 + first.month, 12)
    moment = nw.col("timestamp")
    return (moment >= nw.lit(first)) & (moment < nw.lit(datetime(year, before + 1, 1)))


def write_months(
    engine: Engine,
    events: Frame,
    folder: Path,
    months: Collection[str],
    words: Mapping[str, Frame] = MappingProxyType({}),
) -> None:
    """Write the events of each of `months` to its file in `folder`.

    events: the events table, with moments in UTC without zone. words: of its columns that have
    numbers in place of texts, what they stand for (`Engine.write_parts`).
    """
    firsts = [datetime.strptime(month, "%Y-%m") for month in sorted(months)]
    paths = {
        first.year * 12 + first.month - 1: folder / f"{first:%Y-%m}{SUFFIX}" for first in firsts
    }
    engine.write_parts(events.with_columns(_month()), MONTH, paths, words)


def _month() -> nw.Expr:
    moment = nw.col("timestamp").dt
    return (moment.year().cast(nw.Int32) * 12 + moment.month() - 1).cast(nw.Int32).alias(MONTH)


def with_zone(events: Frame) -> Frame:
    """Moments in UTC as the tables have them."""
    return _moments_as(events, nw.Datetime("us", "UTC"))


def without_zone(events: Frame) -> Frame:
    """Moments in UTC as the pipeline has them."""
    return _moments_as(events, nw.Datetime("us"))


def _moments_as(events: Frame, dtype: nw.Datetime) -> Frame:
    moments = [name for name in ("timestamp", START) if name in events.collect_schema()]
    return events.with_columns(nw.col(name).cast(dtype) for name in moments)


def scan_months(engine: Engine, folder: Path, months: Collection[str]) -> Frame:
    """The events of those of `months` that are in `folder`, lazily; maybe none."""
    there = [path for month in sorted(months) if (path := folder / f"{month}{SUFFIX}").exists()]
    if not there:
        return engine.scan_parquet(parquet_files(folder)).head(0)
    return engine.scan_parquet([file for path in there for file in parquet_files(path)])


def parquet_files(table: Path) -> list[Path]:
    """The files of a table or partition: itself, or those in the folder it is, in order."""
    return sorted(_files(table)) if table.is_dir() else [table]


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob(f"*{SUFFIX}"):
        if path.is_file() and not path.name.startswith((".", "_")):
            yield path
