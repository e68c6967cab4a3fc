"""Moments and numbers as files spell them."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone

import narwhals as nw
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitrina.lake import values
from vitrina.lake.engine import DuckDBEngine


def moments(spelled: list[str]) -> list[datetime | None]:
    with DuckDBEngine() as engine:
        frame = engine.from_columns({"t": spelled})
        read = values.add_moment(frame, "t", nw.String(), "moment")
        result: list[datetime | None] = engine.collect(read)["moment"].to_pylist()
    return result


ZONES = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
REAL_MOMENTS = st.datetimes(datetime(1001, 1, 1), datetime(8999, 12, 30), timezones=ZONES)


@settings(max_examples=10, deadline=None)
@given(st.lists(REAL_MOMENTS, min_size=1, max_size=50))
def test_iso_8601_is_read_as_python_reads_it(real: list[datetime]) -> None:
    expected = [moment.astimezone(UTC).replace(tzinfo=None) for moment in real]
    assert moments([moment.isoformat() for moment in real]) == expected


def test_every_day_of_the_calendar_and_no_other_is_a_day() -> None:
    days = [
        f"{y}-{m:02}-{d:02}" for y in (1900, 2000, 2023, 2024) for m in range(14) for d in range(33)
    ]

    def real(day: str) -> bool:
        try:
            date.fromisoformat(day)
        except ValueError:
            return False
        return True

    assert [moment is not None for moment in moments(days)] == [real(day) for day in days]


@pytest.mark.parametrize(
    ("spelled", "moment"),
    [
        ("2024-05-01", datetime(2024, 5, 1)),
        ("2024-05-01 10:30", datetime(2024, 5, 1, 10, 30)),
        ("2024-05-01T10:30Z", datetime(2024, 5, 1, 10, 30)),
        ("2024-05-01T10:30:00.5-0230", datetime(2024, 5, 1, 13, 0, 0, 500_000)),
        ("2024-05-01T10:30:00,123456789+02", datetime(2024, 5, 1, 8, 30, 0, 123_456)),
        ("1714557600", datetime(2024, 5, 1, 10)),
        ("1714557600.25", datetime(2024, 5, 1, 10, 0, 0, 250_000)),
        ("1714557600250", datetime(2024, 5, 1, 10, 0, 0, 250_000)),
        (" 1714557600 ", datetime(2024, 5, 1, 10)),
        ("2024-05-01T24:00:00", None),
        ("2024-05-01T10:30:00+25:00", None),
        ("0001-01-01", None),
        ("01/05/2024", None),
        ("17145576001234567", None),
        ("", None),
    ],
)
def test_a_moment_is_read_or_refused(spelled: str, moment: datetime | None) -> None:
    assert moments([spelled]) == [moment]


@pytest.mark.parametrize("unit", [1, 1000])
@pytest.mark.parametrize("kind", ["int64", "float64"])
def test_numbers_are_seconds_or_milliseconds(unit: int, kind: str) -> None:
    with DuckDBEngine() as engine:
        frame = engine.from_columns({"t": np.array([1714557600 * unit], kind)})
        dtype = frame.collect_schema()["t"]
        moment = engine.collect(values.add_moment(frame, "t", dtype, "m"))["m"].to_pylist()
    assert moment == [datetime(2024, 5, 1, 10)]


@settings(max_examples=15, deadline=None)
@given(st.lists(st.one_of(st.floats().map(repr), st.text(max_size=8)), min_size=1, max_size=30))
def test_a_number_is_what_python_calls_a_finite_one_or_null(spelled: list[str]) -> None:
    with DuckDBEngine() as engine:
        frame = engine.from_columns({"n": spelled})
        found = engine.collect(frame.select(n=values.number("n", nw.String())))["n"].to_pylist()
    for text, number in zip(spelled, found, strict=True):
        assert number is None or number == pytest.approx(float(text))


def test_ids_that_a_file_keeps_as_floating_point_lose_their_point() -> None:
    with DuckDBEngine() as engine:
        frame = engine.from_columns({"id": [12.0, 1.5, None]})
        found = engine.collect(values.spelled(frame, {"id": nw.Float64()}))["id"].to_pylist()
    assert found == ["12", "1.5", None]
