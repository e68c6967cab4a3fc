"""The events table as one Parquet file a month (UTC): what a new day of events rewrites.

    events/2024-05.parquet   all events of May 2024, sorted by timestamp and shopper

Months and not days: at 20 M events a year, writing 12 files takes as long as one sorted file and
a quarter of its memory, for each is sorted by itself, while 365 take twice as long to scan and
are a burden to engines that plan a task a file. Rewriting the month of a new day of events costs
a twelfth of a full write. An engine may make a folder of several files of a month.

No column holds the month: the timestamps' minima and maxima in the files let engines skip them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from datetime import datetime
from pathlib import Path

import narwhals as nw

from vitrina.lake.engine import Engine, Frame
from vitrina.lake.shoppers import distinct

SUFFIX = ".parquet"
ORDER = ("timestamp", "_file", "_row")
"""No two events are alike in all of these."""


def months_of(engine: Engine, events: Frame) -> list[str]:
    """The months ("2024-05") that hold events, in order."""
    moment = nw.col("timestamp").dt
    numbers = distinct(events.select(month=moment.year() * 12 + moment.month() - 1), "month")
    return [f"{n // 12:04}-{n % 12 + 1:02}" for n in sorted(engine.collect(numbers)[0].to_pylist())]


def in_month(month: str) -> nw.Expr:
    """Whether an event's timestamp (UTC, without zone) lies in the month."""
    first = datetime.strptime(month, "%Y-%m")
    year, before = divmod(first.year * 12 + first.month, 12)
    moment = nw.col("timestamp")
    return (moment >= nw.lit(first)) & (moment < nw.lit(datetime(year, before + 1, 1)))


def write_months(engine: Engine, events: Frame, folder: Path, months: Collection[str]) -> None:
    """Write the events of each of `months` to its file in `folder`.

    events: the events table, with moments in UTC without zone.
    """
    for month in sorted(months):
        rows = events.filter(in_month(month)).sort(*ORDER)
        engine.write_parquet(with_zone(rows), folder / f"{month}{SUFFIX}")


def with_zone(events: Frame) -> Frame:
    """Moments in UTC as the tables have them."""
    return events.with_columns(nw.col("timestamp").cast(nw.Datetime("us", "UTC")))


def without_zone(events: Frame) -> Frame:
    """Moments in UTC as the pipeline has them."""
    return events.with_columns(nw.col("timestamp").cast(nw.Datetime("us")))


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
