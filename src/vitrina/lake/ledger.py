"""What a set of tables was made of, and what of it has to be read again.

`sources.json` lies beside the tables. It names every file that was read, with its size, its time
of change, a digest of its content and one of how its source is mapped. The next ingest reads only
the event files that are not in it, provided that everything else still holds.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from vitrina.lake.readers import s3
from vitrina.lake.readers.addresses import is_database
from vitrina.settings import Settings
from vitrina.settings_sources import Source

LEDGER: Final = "sources.json"
FORMAT: Final = 3
"""Raised by whoever changes what an ingest makes of the same files: sets are then made anew."""


@dataclass(frozen=True, slots=True)
class InputRecord:
    """A file as it was when it was read.

    mapping: digest of its source's settings. digest: of its content; empty for a file of which
    nothing could be used: it is tried again every time.
    """

    address: str
    size: int
    mtime_ns: int
    digest: str
    mapping: str

    @property
    def rank(self) -> tuple[tuple[str, ...], str]:
        """What orders files, and with them rows that tell of one event."""
        return tuple(self.address.split("/")), self.mapping


@dataclass(frozen=True, slots=True)
class Ledger:
    """What one set was made of.

    settings: of each table, a digest of the settings that shape it. events: `_file` of an event is
    a place in this list. next_valid: the earliest event that was set apart as of the future.
    erasures: a digest of those that the set honours (`erasures`).
    """

    settings: Mapping[str, str]
    items: Sequence[InputRecord]
    events: Sequence[InputRecord] = ()
    next_valid: datetime | None = None
    erasures: str = ""
    format: int = FORMAT

    def to_json(self) -> dict[str, Any]:
        values = asdict(self)
        values["next_valid"] = self.next_valid.isoformat() if self.next_valid else None
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Ledger:
        moment = values["next_valid"]
        return cls(
            settings=values["settings"],
            items=[InputRecord(**record) for record in values["items"]],
            events=[InputRecord(**record) for record in values["events"]],
            next_valid=datetime.fromisoformat(moment) if moment else None,
            erasures=values.get("erasures", ""),
            format=values["format"],
        )


@dataclass(frozen=True, slots=True)
class Input:
    """A file to be read: its address, all that it takes to read it, and its source."""

    address: str
    location: str
    source: Source


@dataclass(frozen=True, slots=True)
class Comparison:
    """The files found, beside those of the ledger.

    known: the ledger's records, in their places. new: places of files that are not among them.
    differing: a clause for each that is changed, gone or mapped otherwise.
    """

    known: list[InputRecord]
    new: list[int]
    differing: list[str]


def read_ledger(folder: Path) -> Ledger | None:
    """The ledger of a set of tables; None if it has none that this version understands."""
    path = folder / LEDGER
    if not path.exists():
        return None
    values = json.loads(path.read_text("utf-8"))
    return Ledger.from_json(values) if values["format"] == FORMAT else None


def settings_digests(settings: Settings) -> dict[str, str]:
    """Of each table, a digest of the settings that shape it, its sources apart."""
    lake = settings.lake
    return {
        "items": _digest_of([lake.max_text_chars]),
        "events": _digest_of([lake.session_gap_minutes, sorted(settings.events.weights)]),
    }


def compare(known: Iterable[InputRecord], found: Sequence[Input]) -> Comparison:
    """What of `found` is new, and what of `known` no longer holds."""
    result = Comparison([], [], [])
    places = {
        (each.address, mapping_digest(each.source)): place for place, each in enumerate(found)
    }
    addresses = {each.address for each in found}
    for record in known:
        place = places.pop((record.address, record.mapping), None) if record.digest else None
        if not record.digest:
            result.known.append(record)
        elif place is None:
            mapped = record.address in addresses
            fault = "is mapped otherwise" if mapped else "is gone"
            result.differing.append(f"{record.address} {fault}")
        elif is_database(record.address):
            result.differing.append(f"{record.address} may have changed")
        elif (now := _recheck(record, found[place])) is None:
            result.differing.append(f"{record.address} has changed")
        else:
            result.known.append(now)
    result.new.extend(sorted(places.values()))
    return result


def unread(known: Iterable[InputRecord], found: Sequence[Input]) -> list[int]:
    """Places in `found` of the files that the ledger does not have, whatever they hold now."""
    read = {(record.address, record.mapping) for record in known if record.digest}
    return [
        place
        for place, each in enumerate(found)
        if (each.address, mapping_digest(each.source)) not in read
    ]


def record_of(each: Input) -> InputRecord:
    """The file as it is now. Take it before reading: what changes later is then noticed."""
    stamp = _stamp(each)
    return InputRecord(each.address, *stamp, _digest(each), mapping_digest(each.source))


def mapping_digest(source: Source) -> str:
    """Of how a source is read; not of which files it names."""
    return _digest_of(source.model_dump(mode="json", exclude={"files"}))


def _recheck(record: InputRecord, each: Input) -> InputRecord | None:
    """The record, if the file still has that content; only a file that was touched is read."""
    size, mtime_ns = _stamp(each)
    if size != record.size:
        return None
    if mtime_ns == record.mtime_ns:
        return record
    return replace(record, mtime_ns=mtime_ns) if _digest(each) == record.digest else None


def _stamp(each: Input) -> tuple[int, int]:
    """Size in bytes and time of change of a file; nobody knows those of a database's table."""
    if is_database(each.location):
        return 0, 0
    if each.location.startswith(s3.SCHEME):
        return s3.stamp(each.location)
    found = Path(each.location).stat()
    return found.st_size, found.st_mtime_ns


def _digest(each: Input) -> str:
    """Of a file's content; of an object in a bucket, whose stamp its store vouches for, of that.

    Empty for a file that may not be read: whoever reads the rows says so.
    """
    if "://" in each.location:
        return _digest_of(_stamp(each))
    try:
        with Path(each.location).open("rb") as file:
            return hashlib.file_digest(file, "blake2b").hexdigest()[:32]
    except PermissionError:
        return ""


def _digest_of(values: object) -> str:
    spelled = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.blake2b(spelled.encode(), digest_size=16).hexdigest()
