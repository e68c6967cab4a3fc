"""People who asked the shop to forget them: what compaction and every ingest leave out.

    <lake>/log/<log id>/erasures.json       {"<subject>": <last moment, µs>, …}

The event log remembers an erasure by a digest of the person's history key (`subject_of`) and by a
moment. Landing brings these into the lake and rewrites the landing files that hold events of such
a person; an ingest drops their events up to that moment, whichever file tells of them. Events that
happened later are those of somebody who came back.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

import narwhals as nw
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]

from vitrina.lake.engine import Engine, Frame
from vitrina.lake.engine.files import aside_of, make_durable, move_into_place, remove
from vitrina.lake.shoppers import shopper_key
from vitrina.lake.tables import write_json
from vitrina.schema import anonymous_key
from vitrina.state.base import EventLog, subject_of
from vitrina.state.rows import NEVER

ERASURES: Final = "erasures.json"
_NAMED: Final = "_named"
_SUBJECT: Final = "_subject"
_UNTIL: Final = "_until"


def land_erasures(log: EventLog, folder: Path) -> None:
    """Bring a log's erasures to its landing files in `folder`. Cut off, it is done again."""
    until: dict[str, int] = {}
    for erasure in log.erasures():
        until[erasure.subject] = max(until.get(erasure.subject, 0), erasure.erased_at_us)
    if until == _read(folder):
        return
    for path in sorted(folder.glob("[!.]*.parquet")):
        _erase_from(path, log.log_id(), until)
    make_durable(folder)
    write_json(folder / ERASURES, until)


def erasures_digest(log_folder: Path) -> str:
    """A digest of all erasures that have been landed; empty if there are none."""
    landed = {folder.name: until for folder in _folders(log_folder) if (until := _read(folder))}
    if not landed:
        return ""
    return hashlib.blake2b(json.dumps(landed, sort_keys=True).encode(), digest_size=16).hexdigest()


def without_erased(engine: Engine, events: Frame, log_folder: Path) -> Frame:
    """Checked events without those of erased people."""
    columns = events.collect_schema().names()
    moment = nw.col("timestamp").cast(nw.Datetime("us"))
    for folder in _folders(log_folder):
        until = _read(folder)
        if not until:
            continue
        erased = engine.from_columns(
            {
                _SUBJECT: pa.array(list(until), pa.string()),
                _UNTIL: pa.array(list(until.values()), pa.timestamp("us")),
            }
        )
        named = nw.concat_str([nw.lit(f"{folder.name}:"), shopper_key()])
        events = engine.add_md5(events.with_columns(named.alias(_NAMED)), _NAMED, _SUBJECT)
        events = events.join(erased, on=_SUBJECT, how="left")
        later = nw.col(_UNTIL).is_null() | (moment > nw.col(_UNTIL)).fill_null(False)
        events = events.filter(later).select(*columns)
    return events


def _erase_from(path: Path, log_id: str, until: dict[str, int]) -> None:
    """Rewrite a landing file without the events of erased people; delete it if none are left."""
    table = pq.read_table(path)
    keys = (
        anonymous_key(session_id) if user_id is None else user_id
        for user_id, session_id in zip(
            table["user_id"].to_pylist(), table["session_id"].to_pylist(), strict=True
        )
    )
    moments = table["timestamp"].cast(pa.int64()).to_pylist()
    kept = [
        moment > until.get(subject_of(log_id, key), NEVER)
        for key, moment in zip(keys, moments, strict=True)
    ]
    if all(kept):
        return
    if not any(kept):
        remove(path)
        return
    aside = aside_of(path)
    try:
        pq.write_table(table.filter(pa.array(kept)), aside, compression="zstd")
        move_into_place(aside, path)
    finally:
        remove(aside)


def _folders(log_folder: Path) -> list[Path]:
    return sorted(path for path in log_folder.glob("*") if (path / ERASURES).exists())


def _read(folder: Path) -> dict[str, int]:
    path = folder / ERASURES
    if not path.exists():
        return {}
    until: dict[str, int] = json.loads(path.read_text("utf-8"))
    return until
