"""The global-time split: one moment for everybody, the past before it, the test after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import narwhals as nw
import numpy as np
from numpy.typing import NDArray

from vitrina.errors import DataError
from vitrina.lake.engine import DuckDBEngine
from vitrina.lake.tables import scan_table
from vitrina.settings import EvaluateSettings

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class TimeSplit:
    """Training sees moments before `cut_us`; the test is [cut_us, until_us), in microseconds."""

    cut_us: int
    until_us: int

    def is_train(self, timestamp_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool [n]: before the cut."""
        return timestamp_us < self.cut_us

    def is_test(self, timestamp_us: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool [n]: at or after the cut, and before the end of the test."""
        return (timestamp_us >= self.cut_us) & (timestamp_us < self.until_us)


def choose_split(lake: Path, settings: EvaluateSettings) -> TimeSplit:
    """The split that [evaluate] asks for.

    Without a `cut`, the test is the last `test_days`, the last event included. A cut without a
    time zone is UTC. Raises DataError unless events lie on both sides of the cut.
    """
    with DuckDBEngine() as engine:
        events = scan_table(engine, lake, "events")
        moment = nw.col("timestamp")
        span: dict[str, Any] = engine.collect(
            events.select(first=moment.min(), last=moment.max())
        ).to_pylist()[0]
    first, last = to_us(span["first"]), to_us(span["last"])
    length = settings.test_days * timedelta(days=1) // MICROSECOND
    cut = last + 1 - length if settings.cut is None else to_us(settings.cut)
    split = TimeSplit(cut, cut + length)
    if not first < split.cut_us <= last:
        raise DataError(
            f"The cut at {to_datetime(cut):%Y-%m-%d %H:%M} leaves no events to "
            f"{'train on' if split.cut_us <= first else 'test on'}: they run from "
            f"{span['first']:%Y-%m-%d %H:%M} to {span['last']:%Y-%m-%d %H:%M} (UTC). Set 'cut' or "
            "'test_days' in [evaluate] of vitrina.toml."
        )
    return split


def to_us(moment: datetime) -> int:
    """Microseconds since 1970 of a datetime; without a zone it is UTC."""
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return (aware - EPOCH) // MICROSECOND


def to_datetime(moment_us: int) -> datetime:
    return EPOCH + moment_us * MICROSECOND
