"""Local time to UTC, by one definition on every engine.

Engines differ in what they do with a clock reading that never was (the hour that spring leaves
out) or was twice (the hour that autumn repeats), and in their tables of time zones. Here the
offsets come from Python's `zoneinfo`, and the definition is that of PEP 495 with fold=0: both
readings take the offset that was in force before the change. So 02:30 in the hour left out is
an hour later by the new clock, and 02:30 in the hour repeated is the first of the two.

Offsets are those of 1970 to 2049; before and after, the first and the last of them hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

import narwhals as nw

FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LAST: Final = datetime(2050, 1, 1, tzinfo=UTC)
STEP: Final = timedelta(days=1)
"""Changes of an offset lie further apart than this."""

SECOND: Final = timedelta(seconds=1)


def to_utc(local: nw.Expr, zone: str) -> nw.Expr:
    """A clock reading (datetime without zone) in `zone` as UTC (datetime without zone)."""
    if zone == "UTC":
        return local
    first, changes = offsets(zone)
    return local - _offset(local, first, changes) * nw.lit(SECOND)


def _offset(local: nw.Expr, first: int, changes: Sequence[tuple[datetime, int]]) -> nw.Expr:
    """Seconds east of UTC: a binary search, for a row meets few of some 160 changes then."""
    if not changes:
        return nw.lit(first)
    middle = len(changes) // 2
    moment, offset = changes[middle]
    before = _offset(local, first, changes[:middle])
    after = _offset(local, offset, changes[middle + 1 :])
    # A missing reading is in neither half; what it is moved by does not matter.
    return nw.when(local < nw.lit(moment)).then(before).otherwise(after)


@lru_cache(maxsize=16)
def offsets(zone: str) -> tuple[int, tuple[tuple[datetime, int], ...]]:
    """Seconds east of UTC in 1970, and each change: the reading from which it holds, and to what.

    That reading is the later one of those that the two offsets give to the moment of change.
    """
    info = ZoneInfo(zone)
    changes = []
    moment, offset = FIRST, _seconds(info, FIRST)
    first = offset
    while moment < LAST:
        later = moment + STEP
        changed = _seconds(info, later)
        if changed != offset:
            low, high = moment, later
            while high - low > SECOND:
                middle = low + (high - low) // 2
                middle -= timedelta(microseconds=middle.microsecond)
                low, high = (middle, high) if _seconds(info, middle) == offset else (low, middle)
            reading = high.replace(tzinfo=None) + timedelta(seconds=max(offset, changed))
            changes.append((reading, changed))
            offset = changed
        moment = later
    return first, tuple(changes)


def _seconds(zone: ZoneInfo, moment: datetime) -> int:
    offset = moment.astimezone(zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())
