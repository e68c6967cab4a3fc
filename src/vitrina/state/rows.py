"""Between the log's rows and our nouns: what the stores of SQL have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import lru_cache
from typing import Any, Final

from vitrina.schema import Event
from vitrina.state.base import Erasure, LogRows, subject_of

NEVER: Final = -(2**63)
"""A moment (µs) before all others."""

FIELDS: Final = tuple(field.name for field in fields(Event))
"""The columns of an event in a log, which are the dataclass's fields, in their order."""


def columns_of(event: Event) -> tuple[object, ...]:
    """An event in the order of FIELDS."""
    return (
        event.event_id,
        event.item_id,
        event.event_type,
        event.timestamp_us,
        event.user_id,
        event.session_id,
        event.device_type,
        event.value,
        event.request_id,
        event.position,
        ",".join(event.purposes),
    )


def log_rows(rows: Iterable[Sequence[Any]]) -> LogRows:
    """Rows of an offset and FIELDS, as columns."""
    offsets, *columns = zip(*rows, strict=True) if rows else [()] * (1 + len(FIELDS))
    named: dict[str, Sequence[Any]] = dict(zip(FIELDS, columns, strict=True))
    named["purposes"] = [_purposes(text) for text in named["purposes"]]
    return LogRows(offsets, named)


def event_fields(row: Sequence[Any]) -> dict[str, Any]:
    """A row of FIELDS by their names."""
    values = dict(zip(FIELDS, row, strict=True))
    values["purposes"] = _purposes(values["purposes"])
    return values


def without_erased(
    rows: Sequence[tuple[str, int, str, str]], log_id: str, erasures: Sequence[Erasure]
) -> Sequence[tuple[str, int, str, str]]:
    """Rows of a history (its key, its moment, …) without those of people who were erased since."""
    if not erasures:
        return rows
    until: dict[str, int] = {}
    for erasure in erasures:
        until[erasure.subject] = max(until.get(erasure.subject, 0), erasure.erased_at_us)
    last = {key: until.get(subject_of(log_id, key), NEVER) for key in {row[0] for row in rows}}
    return [row for row in rows if row[1] > last[row[0]]]


@lru_cache
def _purposes(text: str) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()
