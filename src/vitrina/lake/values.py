"""From what files hold to typed columns: text, numbers, yes or no, moments.

Each function returns Narwhals expressions over one column of a known type. Nothing here raises
on a bad value: a text is matched against a pattern before it is cast, since a failed cast would
end the run on every engine, and what does not match becomes null.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import narwhals as nw

from vitrina.lake.engine import Frame

NUMBER: Final = r"^[+-]?([0-9]{1,18}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][+-]?[0-9]{1,2})?$"
INTEGER: Final = r"^[+-]?[0-9]{1,18}$"
TRUE: Final = ("true", "t", "yes", "y", "1")
FALSE: Final = ("false", "f", "no", "n", "0")

# Days that the calendar has, in the years 1000 to 8999: earlier and later ones in real files are
# placeholders (0001-01-01, 9999-12-31, infinity). The last line is February 29.
_DAY: Final = (
    "([1-8][0-9]{3}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    "|02-(0[1-9]|1[0-9]|2[0-8]))"
    "|([1-8][0-9](0[48]|[2468][048]|[13579][26])|([1357][26]|[2468][048])00)-02-29)"
)
_MINUTE: Final = "[T ]([01][0-9]|2[0-3]):[0-5][0-9]"
_ZONE: Final = "(Z|z| ?[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)?"
DATE_ONLY: Final = f"^{_DAY}$"
TO_THE_MINUTE: Final = f"^{_DAY}{_MINUTE}{_ZONE}$"
TO_THE_SECOND: Final = f"^{_DAY}{_MINUTE}:[0-5][0-9]([.,][0-9]{{1,9}})?{_ZONE}$"
EPOCH: Final = r"^[0-9]{1,11}(\.[0-9]{1,9})?$"
EPOCH_MILLISECONDS: Final = r"^[0-9]{12,14}$"
EPOCH_START: Final = datetime(1970, 1, 1)
MOMENTS: Final = (datetime(1000, 1, 1), datetime(8999, 12, 31))
MAX_EPOCH_SECONDS: Final = 10**11
MAX_EPOCH_MILLIS: Final = 10**14
SECOND: Final = nw.lit(timedelta(seconds=1))
MICROSECOND: Final = nw.lit(timedelta(microseconds=1))


def text(name: str, dtype: nw.dtypes.DType) -> nw.Expr:
    """Any column as text without surrounding blanks; empty text is null.

    A whole number that a file keeps as floating point (ids next to nulls) loses its ".0".
    """
    column = nw.col(name)
    if dtype.is_float():
        whole = column.is_finite() & (column == column.round(0)) & (column.abs() < 2**53)
        spelled = nw.when(whole).then(column).otherwise(None).cast(nw.Int64).cast(nw.String)
        other = nw.when(~column.is_nan()).then(column).otherwise(None).cast(nw.String)
        return nw.coalesce(spelled, other)
    stripped = column.cast(nw.String).str.strip_chars()
    return nw.when(stripped != "").then(stripped).otherwise(None)


def is_given(name: str, dtype: nw.dtypes.DType) -> nw.Expr:
    """Whether the file has anything here, usable or not; NaN is something."""
    return ~(nw.col(name) if dtype.is_numeric() else text(name, dtype)).is_null()


def number(name: str, dtype: nw.dtypes.DType) -> nw.Expr:
    """A finite float64, else null."""
    if isinstance(dtype, nw.String):
        stripped = nw.col(name).str.strip_chars()
        value = _where(stripped.str.contains(NUMBER), stripped).cast(nw.Float64)
    elif dtype.is_numeric():
        value = nw.col(name).cast(nw.Float64)
    else:
        value = nw.lit(None, nw.Float64)
    return _where(value.is_finite(), value)


def integer(name: str, dtype: nw.dtypes.DType) -> nw.Expr:
    """An int64, else null."""
    if dtype.is_integer():
        return _where(nw.col(name).is_between(-(2**62), 2**62), nw.col(name)).cast(nw.Int64)
    spelled = text(name, dtype)
    return _where(spelled.str.contains(INTEGER), spelled).cast(nw.Int64)


def boolean(name: str, dtype: nw.dtypes.DType) -> nw.Expr:
    """True or false from their usual spellings, else null."""
    if isinstance(dtype, nw.Boolean):
        return nw.col(name)
    spelled = text(name, dtype).str.to_lowercase()
    no = nw.when(spelled.is_in(FALSE)).then(nw.lit(False)).otherwise(nw.lit(None, nw.Boolean))
    return nw.when(spelled.is_in(TRUE)).then(nw.lit(True)).otherwise(no)


def add_moment(frame: Frame, name: str, dtype: nw.dtypes.DType, into: str) -> Frame:
    """Add the column `into`: `name` as a moment in UTC (datetime without zone), else null.

    From timestamps and dates of any precision, from ISO 8601 text (no zone means UTC), and from
    seconds (up to 11 digits, with or without a fraction) or milliseconds (12 to 14 digits) since
    1970-01-01 UTC, as text or as numbers.
    """
    if isinstance(dtype, nw.String):
        # In steps: an engine may compute an expression again wherever it is used.
        stripped = nw.col(name).str.strip_chars()
        frame = frame.with_columns(_seconds=_to_the_second(stripped))
        frame = frame.with_columns(_rest=nw.col("_seconds").str.slice(19))
        moment = nw.coalesce(_from_iso(nw.col("_seconds"), nw.col("_rest")), _from_epoch(stripped))
        return frame.with_columns(moment.alias(into)).drop("_seconds", "_rest")
    return frame.with_columns(_typed_moment(nw.col(name), dtype).alias(into))


def _typed_moment(column: nw.Expr, dtype: nw.dtypes.DType) -> nw.Expr:
    if isinstance(dtype, nw.Datetime):
        naive = column.dt.replace_time_zone(None) if dtype.time_zone else column
        return _where(naive.is_between(*MOMENTS), naive.cast(nw.Datetime("us")))
    if isinstance(dtype, nw.Date):
        return _where(column.is_between(*MOMENTS), column.cast(nw.Datetime("us")))
    if dtype.is_integer():
        value = _where((column >= 0) & (column < MAX_EPOCH_MILLIS), column).cast(nw.Int64)
        seconds = _where(value < MAX_EPOCH_SECONDS, value)
        milliseconds = _where(value >= MAX_EPOCH_SECONDS, value)
        return nw.coalesce(_after_epoch(seconds), _after_epoch_millis(milliseconds))
    if dtype.is_float():
        value = _where((column >= 0) & (column < MAX_EPOCH_MILLIS), column)
        seconds = _where(value < MAX_EPOCH_SECONDS, value)
        whole = seconds.floor().cast(nw.Int64)
        microseconds = ((seconds - whole) * 1e6).round(0).cast(nw.Int64)
        milliseconds = _where(value >= MAX_EPOCH_SECONDS, value).round(0).cast(nw.Int64)
        return nw.coalesce(
            _after_epoch(whole) + microseconds * MICROSECOND, _after_epoch_millis(milliseconds)
        )
    return nw.lit(None, nw.Datetime("us"))


def _to_the_second(spelled: nw.Expr) -> nw.Expr:
    """ISO 8601 text with the seconds (and midnight) written out; null for any other text."""
    midnight = nw.concat_str([spelled, nw.lit("T00:00:00")])
    minute = nw.concat_str([spelled.str.slice(0, 16), nw.lit(":00"), spelled.str.slice(16)])
    day = nw.when(spelled.str.contains(DATE_ONLY)).then(midnight)
    rougher = nw.when(spelled.str.contains(TO_THE_MINUTE)).then(minute).otherwise(day)
    return nw.when(spelled.str.contains(TO_THE_SECOND)).then(spelled).otherwise(rougher)


def _from_iso(seconds: nw.Expr, rest: nw.Expr) -> nw.Expr:
    """The moment in UTC. seconds: from `_to_the_second`; rest: what follows the seconds in it."""
    clock = nw.concat_str([seconds.str.slice(0, 10), nw.lit(" "), seconds.str.slice(11, 8)])
    digits = rest.str.replace_all(r"[Zz+ -].*$", "").str.slice(1, 6)
    zone = rest.str.replace_all(r"^[.,][0-9]+", "").str.strip_chars()
    offset = zone.str.replace_all("[^0-9]", "")
    east = _or_zero(offset.str.slice(0, 2)) * 60 + _or_zero(offset.str.slice(2, 2))
    east = nw.when(zone.str.starts_with("-")).then(-east).otherwise(east)
    elsewhere = -east * nw.lit(timedelta(minutes=1)) + _fraction(digits) * MICROSECOND
    utc = rest.is_in(("", "Z"))
    moment = clock.cast(nw.Datetime("us"))
    return nw.when(utc).then(moment).otherwise(moment + elsewhere)


def _from_epoch(spelled: nw.Expr) -> nw.Expr:
    seconds = _where(spelled.str.contains(EPOCH), spelled)
    whole = seconds.str.replace_all(r"\..*$", "").cast(nw.Int64)
    fraction = seconds.str.replace_all(r"^[0-9]+\.?", "")
    microseconds = _fraction(fraction)
    milliseconds = _where(spelled.str.contains(EPOCH_MILLISECONDS), spelled).cast(nw.Int64)
    return nw.coalesce(
        _after_epoch(whole) + microseconds * MICROSECOND, _after_epoch_millis(milliseconds)
    )


def _after_epoch(seconds: nw.Expr) -> nw.Expr:
    """The moment so many seconds (int64, not negative) after 1970-01-01.

    In days and seconds: DuckDB multiplies an interval by 32 bits only.
    """
    days, rest = seconds // 86_400, seconds % 86_400
    return nw.lit(EPOCH_START) + days * nw.lit(timedelta(days=1)) + rest * SECOND


def _after_epoch_millis(milliseconds: nw.Expr) -> nw.Expr:
    rest = milliseconds % 1000
    return _after_epoch(milliseconds // 1000) + rest * nw.lit(timedelta(milliseconds=1))


def _fraction(digits: nw.Expr) -> nw.Expr:
    """The digits after a decimal point as microseconds; no digits are 0."""
    return _or_zero(nw.concat_str([digits, nw.lit("000000")]).str.slice(0, 6))


def _or_zero(digits: nw.Expr) -> nw.Expr:
    """Digits as a number, no digits as 0; null stays null."""
    return nw.when(digits == "").then(nw.lit("0")).otherwise(digits).cast(nw.Int64)


def _where(condition: nw.Expr, value: nw.Expr) -> nw.Expr:
    return nw.when(condition).then(value)
