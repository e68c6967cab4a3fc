"""Where the lake's tables lie, and how a new set takes the place of the last.

    <lake>/current.json                  {"tables": "tables-20261121T101500123456"}
    <lake>/tables-20261121T101500123456/
        items.parquet           the catalog: the newest state of each item
        snapshots.parquet       its history (`snapshots`)
        events/                 a file a month (`partitions`)
        duplicates.parquet      rows that told of an event again (`incremental`)
        quarantine.parquet      rows that cannot be used, values taken out (`quarantine`)
        waiting.parquet         events set apart that only want for their item (`waiting`)
        bots.parquet            shoppers left out of training (`quality.bots`)
        ingest.json             the report of the run
        sources.json            what the run has read (`ledger`)

The tables of one run belong together, so they are written into one new folder, and the pointer
is replaced when all of them are complete. Whatever stops a run before that, the pointer still
names the earlier set. The set before the current one is kept for readers that have it open.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

from vitrina.errors import DataError, EngineError
from vitrina.lake.engine import Engine, Frame
from vitrina.lake.engine.files import FULL, make_durable
from vitrina.lake.partitions import parquet_files
from vitrina.lake.shoppers import START, event_id, session_id
from vitrina.schema import EVENT_COLUMNS

TableName = Literal["items", "snapshots", "events", "quarantine", "bots"]
StoredName = TableName | Literal["duplicates", "waiting"]
"""The tables, and what else a set keeps for the next ingest."""

POINTER: Final = "current.json"
REPORT: Final = "ingest.json"
PREFIX: Final = "tables-"
STAMP: Final = "%Y%m%dT%H%M%S%f"
KEPT_SETS: Final = 2


def scan_table(engine: Engine, lake: Path, name: TableName) -> Frame:
    """A table of the current set, lazily: the one way to read the lake.

    Raises DataError when nothing was ingested yet.
    """
    return scan_set(engine, current_tables(lake), name)


def scan_set(engine: Engine, folder: Path, name: TableName) -> Frame:
    """A table of the set in `folder`. Raises DataError, naming the file, if it is not readable."""
    frame = scan_stored(engine, folder, name)
    if name != "events":
        return frame
    return frame.with_columns(session_id=session_id()).select(*EVENT_COLUMNS)


def scan_stored(engine: Engine, folder: Path, name: StoredName) -> Frame:
    """A table of a set as it lies there, with what the next ingest needs of it.

    Of events, event_id is as in the table; session_id is null for a session that the lake cut, and
    START says when that begins. Raises DataError when the set lacks the table, or these.
    """
    place = table_at(folder, name)
    if place.exists():
        frame = engine.scan_parquet(parquet_files(place))
        if name != "events":
            return frame
        if START in frame.collect_schema():
            return frame.with_columns(event_id=event_id())
    raise DataError(
        f"{folder} has no {place.name} of this version of Vitrina: another one made it. Run "
        "'vitrina ingest' again."
    )


def set_at(folder: Path) -> Path:
    """The set of tables that a folder is, or that is current in the lake that it is.

    Raises DataError when it is neither.
    """
    is_set = not (folder / POINTER).exists() and table_at(folder, "items").exists()
    return folder if is_set else current_tables(folder)


def table_at(folder: Path, name: StoredName) -> Path:
    """Where a set of tables keeps a table: a Parquet file, or a folder of one a month."""
    return folder / (name if name == "events" else f"{name}.parquet")


def read_report(lake: Path) -> dict[str, Any]:
    """The report of the run that made the current tables (`IngestReport.to_json`)."""
    report: dict[str, Any] = json.loads((current_tables(lake) / REPORT).read_text("utf-8"))
    return report


def has_tables(lake: Path) -> bool:
    """Whether an ingest has ever been completed here."""
    return (lake / POINTER).exists()


def current_tables(lake: Path) -> Path:
    """The folder of the current tables. Raises DataError when there is none."""
    if not has_tables(lake):
        raise DataError(f"The lake at {lake} holds no tables yet. Run 'vitrina ingest' first.")
    try:
        folder: Path = lake / json.loads((lake / POINTER).read_text("utf-8"))["tables"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{lake / POINTER} does not name a set of tables. Run 'vitrina ingest' again."
        ) from error
    if not folder.is_dir():
        raise DataError(f"{lake / POINTER} names {folder}, which is gone. Run 'vitrina ingest'.")
    return folder


def tables_made_at(folder: Path) -> datetime:
    """When the run that made a set of tables began; what it has read is at least as new."""
    return datetime.strptime(folder.name, f"{PREFIX}{STAMP}").replace(tzinfo=UTC)


@contextmanager
def new_tables(lake: Path) -> Iterator[Path]:
    """A folder to write a new set of tables into; it becomes current if the block succeeds.

    Raises DataError when another process is writing tables of this lake, EngineError when the
    disk is full.
    """
    lake.mkdir(parents=True, exist_ok=True)
    with (lake / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DataError(
                f"Another ingest is writing to {lake}. Wait for it to end, then try again."
            ) from error
        _remove_unfinished(lake)
        name = f"{PREFIX}{datetime.now(UTC):{STAMP}}"
        unfinished = lake / f".{name}"
        unfinished.mkdir()
        try:
            yield unfinished
            for place, _, _ in os.walk(unfinished):
                make_durable(Path(place))
            unfinished.rename(lake / name)
            write_json(lake / POINTER, {"tables": name})
        except BaseException as error:
            shutil.rmtree(unfinished, ignore_errors=True)
            if isinstance(error, OSError) and error.errno in FULL:
                raise EngineError(
                    f"The disk is full: the new tables do not fit into {lake}. Make room there; "
                    "the last tables are as they were."
                ) from error
            raise
        _remove_others(lake, name, KEPT_SETS)


def keep_current_only(lake: Path) -> None:
    """Remove the sets before the current one, although somebody may be reading them."""
    _remove_others(lake, current_tables(lake).name, kept=1)


def keep(last: Path, folder: Path, *names: StoredName) -> None:
    """Take whole tables of the last set over into a new one."""
    for name in names:
        keep_path(table_at(last, name), table_at(folder, name))


def keep_path(old: Path, new: Path) -> None:
    """Take a file or folder of the last set over into a new one, as hard links.

    Sets are never changed once they are complete, so that they can share what is the same.
    Where the file system has no hard links, the files are copied.
    """
    for file in [old] if old.is_file() else sorted(old.rglob("*")):
        copy = new / file.relative_to(old) if file != old else new
        if file.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            try:
                copy.hardlink_to(file)
            except OSError:
                shutil.copy2(file, copy)


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write a JSON file: complete under its name, or unchanged."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with aside.open("w", encoding="utf-8") as file:
            json.dump(value, file, indent=1, ensure_ascii=False)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        make_durable(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def _remove_unfinished(lake: Path) -> None:
    """What a killed run left behind; the lock says that nobody is writing it."""
    for folder in lake.glob(f".{PREFIX}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _remove_others(lake: Path, current: str, kept: int) -> None:
    others = sorted(path.name for path in lake.glob(f"{PREFIX}*") if path.name != current)
    for name in others[: max(0, len(others) - (kept - 1))]:
        shutil.rmtree(lake / name, ignore_errors=True)
