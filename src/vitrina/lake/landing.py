"""The online event log in the lake: every acknowledged event, once, while the server writes on.

    <lake>/log/<log id>/00000000000000000001-00000000000000004711.parquet

Events are copied to *landing* files, each named by the first and last offset in it, durable before
it has its name, and never changed. What is landed already is read off these names, so that a run
that is killed at any moment is simply run again: at worst it leaves a file without a name. The
folder is a source of events like any other (`log_sources`), and the ledger of a set says which of
its files the tables hold; the last offset among them is the set's watermark.

What shoppers were shown (`IMPRESSION`) lies beside the events, in files of its own that no ingest
reads: `_impressions-<first offset>-<last offset>.parquet`.

Landing files are kept, for a full run reads them again; only an erasure changes them (`erasures`).
Events whose person has not agreed to training stay in the log until it is trimmed.
"""

from __future__ import annotations

import fcntl
import operator
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import compress
from pathlib import Path
from typing import Final

import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from vitrina.errors import DataError
from vitrina.lake.engine.files import aside_of, make_durable, move_into_place, remove
from vitrina.lake.erasures import land_erasures
from vitrina.lake.last_set import last_set
from vitrina.schema import EVENT_COLUMNS, IMPRESSION, TRAINING
from vitrina.settings_sources import Source
from vitrina.state.base import EventLog, LogRows

LOG: Final = "log"
EVENTS_A_FILE: Final = 200_000

_NAME: Final = re.compile(r"(\d{20})-(\d{20})\.parquet")
_SHOWN: Final = re.compile(r"_impressions-(\d{20})-(\d{20})\.parquet")
_TYPES: Final = {"timestamp": pa.timestamp("us", "UTC"), "value": pa.float64()}
_SCHEMA: Final = pa.schema(
    [
        (name, pa.int64() if name == "position" else _TYPES.get(name, pa.string()))
        for name in EVENT_COLUMNS
    ]
)


def log_sources(lake: Path) -> list[Source]:
    """The landed events as a source of events; none if nothing has been landed."""
    folder = lake / LOG
    landed = any(_NAME.fullmatch(path.name) for path in folder.glob("*/*"))
    return [Source(files=[str(folder)])] if landed else []


def land(log: EventLog, lake: Path) -> int:
    """Copy what the log has got since the last landing; returns how many events that is.

    Erasures of the log are landed first. When this returns they are durable in the lake. Raises
    DataError when another process is landing, or when the log has lost events that were landed: it
    was replaced by an older copy.
    """
    folder = lake / LOG / log.log_id()
    with _alone(lake / LOG):
        folder.mkdir(exist_ok=True)
        make_durable(folder.parent)
        for unfinished in folder.glob(".*"):
            remove(unfinished)
        after = _last_offset(folder)
        _require_same_log(log, folder, after)
        land_erasures(log, folder)
        # What was shown after the last event that was landed has been landed, too.
        shown_until = _last_offset(folder, _SHOWN)
        landed = 0
        while rows := log.read(after, EVENTS_A_FILE):
            after = rows.offsets[-1]
            agreed = _picked(rows, [TRAINING in given for given in rows.columns["purposes"]])
            is_shown = [kind == IMPRESSION for kind in agreed.columns["event_type"]]
            new = [offset > shown_until for offset in agreed.offsets]
            if shown := _picked(agreed, list(map(operator.and_, is_shown, new))):
                _write(shown, folder / f"_impressions-{_span(shown)}.parquet")
            if done := _picked(agreed, list(map(operator.not_, is_shown))):
                _write(done, folder / f"{_span(done)}.parquet")
                landed += len(done)
    return landed


def land_only_erasures(log: EventLog, lake: Path) -> None:
    """Bring the log's erasures into the lake, and no event. Raises DataError as `land` does."""
    if not log.erasures():
        return
    folder = lake / LOG / log.log_id()
    with _alone(lake / LOG):
        folder.mkdir(exist_ok=True)
        land_erasures(log, folder)


def landed_until(log: EventLog, lake: Path) -> int:
    """The offset up to which the log's events have been landed; 0 if none has."""
    return _last_offset(lake / LOG / log.log_id())


def watermark(log: EventLog, lake: Path) -> int:
    """The offset up to which the current tables hold the log's events; 0 if they hold none."""
    last = last_set(lake)
    prefix = f"{lake / LOG / log.log_id()}/"
    offsets = [
        int(name[2])
        for record in (last.ledger.events if last else ())
        if record.digest and record.address.startswith(prefix)
        if (name := _NAME.fullmatch(record.address.removeprefix(prefix)))
    ]
    return max(offsets, default=0)


def _picked(rows: LogRows, mask: Sequence[bool]) -> LogRows:
    """The rows of a log for which the mask is True."""
    columns = {name: list(compress(column, mask)) for name, column in rows.columns.items()}
    return LogRows(list(compress(rows.offsets, mask)), columns)


def _span(rows: LogRows) -> str:
    """The first and the last offset, as a file is named by them."""
    return f"{rows.offsets[0]:020}-{rows.offsets[-1]:020}"


def _write(rows: LogRows, path: Path) -> None:
    """Write rows of the log durably under `path`, as events are in the lake."""
    values = {**rows.columns, "timestamp": rows.columns["timestamp_us"]}
    arrays = [pa.array(values[field.name], field.type) for field in _SCHEMA]
    aside = aside_of(path)
    try:
        pq.write_table(pa.Table.from_arrays(arrays, schema=_SCHEMA), aside, compression="zstd")
        move_into_place(aside, path)
    finally:
        remove(aside)


def _last_offset(folder: Path, pattern: re.Pattern[str] = _NAME) -> int:
    names = [pattern.fullmatch(path.name) for path in folder.glob("*")]
    return max((int(name[2]) for name in names if name), default=0)


def _require_same_log(log: EventLog, folder: Path, until: int) -> None:
    """Raise DataError unless the log has the last landed event where it was (`trim` keeps it).

    An erasure may have taken it; then the log has at least been as long once.
    """
    if until == 0:
        return
    if log.event_id_at(until) is None and log.erasures() and log.newest_offset() >= until:
        return
    (path,) = folder.glob(f"*-{until:020}.parquet")
    landed = pq.read_table(path, columns=["event_id"])["event_id"][-1].as_py()
    if log.event_id_at(until) != landed:
        raise DataError(
            f"The event log does not go on where {folder} ends (offset {until}): it was replaced "
            f"by an older copy. Rename that folder, to {folder.name}-before for example; its "
            "events stay in the lake, and the log is then read from its beginning. Events that "
            "are in both count once."
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of the landing folder. Raises DataError when somebody else does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                f"Another process is landing events in {folder}. Wait for it to end."
            ) from error
        yield
