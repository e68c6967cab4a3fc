"""From what files hold to typed columns: text, numbers, yes or no, moments.

Each function returns Narwhals expressions over one column of a known type. Nothing here raises
on a bad value: a text is matched against a pattern before it is cast, since a failed cast would
end the run on every engine, and what does not match becomes null.

Engines must agree. The patterns keep to what RE2 (DuckDB) and java.util.regex (Spark) read alike:
ASCII classes spelled out, the end of a text as `\\z` (`$` lets Java end before a line break), no
back-references. A float becomes text by arithmetic, for each engine has a spelling of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

import narwhals as nw

from vitrina.lake.engine import LIST_SEPARATOR, Frame
from vitrina.lake.zones import to_utc

NUMBER: Final = r"^[+-]?([0-9]{1,18}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][+-]?[0-9]{1,2})?\z"
INTEGER: Final = r"^[+-]?[0-9]{1,18}\z"
QUANTITY: Final = r"^[0-9]{1,9}(\.0{1,6})?\z"
NEGATIVE_QUANTITY: Final = r"^-[0-9]{1,9}(\.0{1,6})?\z"
TRUE: Final = (
    *("true", "t", "yes", "y", "active", "enabled", "available"),
    *("in stock", "in_stock", "instock", "https://schema.org/instock"),
    *("on backorder", "onbackorder", "backorder", "preorder"),
)
FALSE: Final = (
    *("false", "f", "no", "n", "inactive", "disabled", "unavailable", "draft", "archived"),
    *("out of stock", "out_of_stock", "outofstock", "https://schema.org/outofstock"),
    *("sold out", "discontinued"),
)

# Days that the calendar has, in the years 1000 to 8999: earlier and later ones in real files are
# placeholders (0001-01-01, 9999-12-31, infinity). The last line is February 29.
_DAY: Final = (
    "([1-8][0-9]{3}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)"
    "|02-(0[1-9]|1[0-9]|2[0-8]))"
    "|([1-8][0-9](0[48]|[2468][048]|[13579][26])|([1357][26]|[2468][048])00)-02-29)"
)
_MINUTE: Final = "[T ]([01][0-9]|2[0-3]):[0-5][0-9]"
_ZONE: Final = "(Z|z| ?UTC| ?GMT| ?[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)?"
DATE_ONLY: Final = rf"^{_DAY}\z"
TO_THE_MINUTE: Final = rf"^{_DAY}{_MINUTE}{_ZONE}\z"
TO_THE_SECOND: Final = rf"^{_DAY}{_MINUTE}:[0-5][0-9]([.,][0-9]{{1,9}})?{_ZONE}\z"
COUNTED: Final = r"^[0-9]{1,17}(\.[0-9]{0,9})?\z"
EPOCHS: Final = (
    (r"^[0-9]{1,11}(\.[0-9]{0,9})?\z", 1_000_000),
    (r"^[0-9]{12,14}(\.[0-9]{0,9})?\z", 1000),
    (r"^[0-9]{15,16}(\.[0-9]{0,9})?\z", 1),
)
"""Digits that count from 1970, and the microseconds of each."""
EPOCH_START: Final = datetime(1970, 1, 1)
MOMENTS: Final = (datetime(1000, 1, 1), datetime(8999, 12, 31))
MICROS: Final = {"s": 1_000_000, "ms": 1000, "us": 1}
"""Microseconds of each unit of moments that count from 1970."""
DAY_ORDERS: Final = ("dmy", "mdy", "ymd")
_CLOCK: Final = "([ T,]+[0-9]{1,2}:[0-5][0-9](:[0-5][0-9])?( ?[AaPp][Mm])?)?"
DAY_FIRST: Final = rf"^[0-9]{{1,2}}[./-][0-9]{{1,2}}[./-][0-9]{{4}}{_CLOCK}\z"
YEAR_FIRST: Final = rf"^[0-9]{{4}}[./-][0-9]{{1,2}}[./-][0-9]{{1,2}}{_CLOCK}\z"
COMPACT: Final = r"^[0-9]{8}\z"
MAX_MICROS: Final = 2 * 10**17
"""Later than this (the year 8307) nothing that counts from 1970 is a moment."""
MAX_EPOCH_SECONDS: Final = 10**11
MAX_EPOCH_MILLIS: Final = 10**14
AFTER_1970: Final = nw.lit(timedelta(days=400_000))
"""Brings every one of MOMENTS there."""
SECOND: Final = nw.lit(timedelta(seconds=1))
MICROSECOND: Final = nw.lit(timedelta(microseconds=1))

# A currency before or after a price: anything but digits, marks and signs, and the dot of "Rs.".
_CURRENCY: Final = r"([^0-9.,+−-]*[A-Za-z]\.[^0-9.,+−-]*|[^0-9.,+−-]*)"
_SIGN: Final = "[+−-]?"
_BEFORE_PRICE: Final = f"^{_SIGN}{_CURRENCY}{_SIGN}"
_AFTER_PRICE: Final = rf"{_CURRENCY}\z"
_GROUPING: Final = {".": "[,'’\u00a0\u202f ]", ",": "[.'’\u00a0\u202f ]"}  # noqa: RUF001
"""What stands between thousands, by the decimal mark."""


def spelled(frame: Frame, types: Mapping[str, nw.dtypes.DType]) -> Frame:
    """The frame with those of the named columns that are floats or moments as texts.

    Engines spell these in ways of their own. A whole number that a file keeps as floating point
    (ids next to nulls) loses its ".0"; other floats have up to six decimals; those without such a
    spelling (from 2^53 on, or with a fraction beyond 2^33, and NaN) are null. Timestamps are ISO
    8601 with microseconds, those with a zone in UTC; what lies outside of MOMENTS is null.
    """
    for name, dtype in types.items():
        if dtype.is_float():
            frame = _with_float_text(frame, name)
        elif isinstance(dtype, nw.Datetime | nw.Date):
            frame = frame.with_columns(_moment_text(name, dtype))
    return frame


def text(name: str, dtype: nw.dtypes.DType, *, lists: bool = True) -> nw.Expr:
    """A column, after `spelled`, as text without surrounding blanks; empty text is null.

    lists: whether it may be a list; else each LIST_SEPARATOR becomes a blank.
    """
    column, stripped = _as_text(name, dtype), _stripped(name, dtype)
    # To clean costs DuckDB several times the look whether there is anything to clean: all blanks,
    # and next to nothing else, sort before "!". So does the empty text.
    clean = ~((column < "!") | (column.str.slice(-1) < "!"))
    cleaned = nw.when(stripped != "").then(stripped)
    if not lists:
        clean &= ~column.str.contains(LIST_SEPARATOR, literal=True)
        cleaned = cleaned.str.replace_all(LIST_SEPARATOR, " ", literal=True)
    return nw.when(clean).then(column).otherwise(cleaned)


def is_given(name: str, dtype: nw.dtypes.DType) -> nw.Expr:
    """Whether the file has anything here, usable or not; NaN is something."""
    if isinstance(dtype, nw.String):
        return (_stripped(name, dtype) != "").fill_null(False)
    return ~nw.col(name).is_null()


def number(name: str, dtype: nw.dtypes.DType, decimal: str | None = None) -> nw.Expr:
    """A finite float64, else null.

    decimal: the decimal mark of texts written for people ("1.299,00 €"); None: plain numbers.
    """
    if isinstance(dtype, nw.String):
        stripped = _stripped(name, dtype)
        spelled = stripped if decimal is None else _plain_number(stripped, decimal)
        value = _where(spelled.str.contains(NUMBER), spelled).cast(nw.Float64)
    elif dtype.is_numeric():
        value = nw.col(name).cast(nw.Float64)
    else:
        value = nw.lit(None, nw.Float64)
    return _where(value.is_finite(), value)


def integer(name: str, dtype: nw.dtypes.DType) -> nw.Expr:
    """An int64, else null."""
    if dtype.is_integer():
        return _where(nw.col(name).is_between(-(2**62), 2**62), nw.col(name)).cast(nw.Int64)
    if dtype.is_float():
        finite = _finite(nw.col(name))
        column = _where(finite.abs() < 2**53, finite)
        return _where(column == column.floor(), column).cast(nw.Int64)
    spelled = _stripped(name, dtype)
    return _where(spelled.str.contains(INTEGER), spelled).cast(nw.Int64)


def boolean(name: str, dtype: nw.dtypes.DType) -> nw.Expr:
    """True or false from their usual spellings and from stock: 0 and less is false. Else null."""
    if isinstance(dtype, nw.Boolean):
        return nw.col(name)
    spelled = _stripped(name, dtype).str.to_lowercase()
    none_left = spelled.is_in(FALSE) | spelled.str.contains(NEGATIVE_QUANTITY)
    stock = _where(spelled.str.contains(QUANTITY), spelled).cast(nw.Float64)
    no = nw.when(none_left).then(nw.lit(False)).otherwise(stock > 0)
    return nw.when(spelled.is_in(TRUE)).then(nw.lit(True)).otherwise(no)


def add_moment(
    frame: Frame,
    name: str,
    dtype: nw.dtypes.DType,
    into: str,
    *,
    unit: str | None = None,
    zone: str = "UTC",
) -> Frame:
    """Add the column `into`: `name` as a moment in UTC (datetime without zone), else null.

    unit: "iso" reads ISO 8601 text only; "dmy", "mdy" and "ymd" read days as people write them
    ("1.5.2024 14:03", "5/1/2024 2:03 PM", "20240501"), in that order; "s", "ms" and "us" count
    from 1970-01-01 UTC, as text or as numbers. None reads ISO 8601, and numbers by their size: up
    to 11 digits (with or without a fraction) seconds, up to 14 milliseconds, up to 16
    microseconds. zone: of texts, timestamps and dates that do not name one; a date is its first
    moment there.
    """
    # In steps: an engine may compute an expression again wherever it is used.
    if not isinstance(dtype, nw.String) and not (unit in DAY_ORDERS and dtype.is_integer()):
        if not dtype.is_numeric():
            return frame.with_columns(_typed_moment(nw.col(name), dtype, zone).alias(into))
        micros = _micros_of_number(nw.col(name), dtype, unit)
        frame = frame.with_columns(_micros=micros)
        return frame.with_columns(_after_epoch(nw.col("_micros")).alias(into)).drop("_micros")
    frame = frame.with_columns(_spelled=_stripped(name, dtype))
    if unit in DAY_ORDERS:
        frame, unit = _with_day_in_iso(frame, unit), "iso"
    if unit == "iso":
        micros = nw.lit(None, nw.Int64)
    elif unit is not None:
        micros = _counted(nw.col("_spelled"), COUNTED, MICROS[unit])
    else:
        micros = nw.coalesce(*(_counted(nw.col("_spelled"), *form) for form in EPOCHS))
    iso = nw.lit(None, nw.String) if unit in MICROS else _to_the_second(nw.col("_spelled"))
    frame = frame.with_columns(_micros=micros, _seconds=iso)
    frame = frame.with_columns(_rest=nw.col("_seconds").str.slice(19))
    frame = frame.with_columns(_moment=_from_iso(nw.col("_seconds"), nw.col("_rest")))
    if zone != "UTC":
        named = nw.col("_rest").str.contains("[A-Za-z+-]")
        local = nw.when(~named).then(to_utc(nw.col("_moment"), zone))
        frame = frame.with_columns(_moment=nw.coalesce(local, nw.col("_moment")))
    moment = nw.coalesce(nw.col("_moment"), _after_epoch(nw.col("_micros")))
    return frame.with_columns(moment.alias(into)).drop(
        "_spelled", "_micros", "_seconds", "_rest", "_moment"
    )


def duration_micros(name: str, dtype: nw.dtypes.DType, unit: str) -> nw.Expr:
    """A count of `unit` as whole microseconds: 0 where empty, null where no number."""
    counted = number(name, dtype) * MICROS[unit]
    micros = (_where(counted.abs() < MAX_MICROS, counted) + 0.5).floor().cast(nw.Int64)
    return nw.when(~is_given(name, dtype)).then(nw.lit(0)).otherwise(micros)


def later(moment: nw.Expr, micros: nw.Expr) -> nw.Expr:
    """A moment moved by whole microseconds."""
    # In days, seconds and the rest: DuckDB multiplies an interval by 32 bits only.
    seconds = micros // 1_000_000
    days = seconds // 86_400
    return (
        moment
        + days * nw.lit(timedelta(days=1))
        + (seconds - days * 86_400) * SECOND
        + (micros - seconds * 1_000_000) * MICROSECOND
    )


def _as_text(name: str, dtype: nw.dtypes.DType) -> nw.Expr:
    return nw.col(name) if isinstance(dtype, nw.String) else nw.col(name).cast(nw.String)


def _stripped(name: str, dtype: nw.dtypes.DType) -> nw.Expr:
    return _as_text(name, dtype).str.strip_chars()


def _with_float_text(frame: Frame, name: str) -> Frame:
    # In steps: an engine may compute, and Spark compile, an expression wherever it is used.
    column = nw.col(name)
    # Bounded before it is rounded: Spark rounds to whole 64-bit numbers, or ends the run.
    finite = _finite(column)
    frame = frame.with_columns(_small=_where(finite.abs() < 2**53, finite))
    small = nw.col("_small")
    parted = _where(small.abs() < 2**33, small)
    frame = frame.with_columns(
        _whole=_where(small == small.floor(), small).cast(nw.Int64).cast(nw.String),
        _millionths=(parted.abs() * 1e6 + 0.5).floor().cast(nw.Int64),
        _sign=nw.when(small < 0).then(nw.lit("-")).otherwise(nw.lit("")),
    )
    millionths = nw.col("_millionths")
    frame = frame.with_columns(
        _units=(millionths // 1_000_000).cast(nw.String),
        _decimals=(1_000_000 + millionths % 1_000_000).cast(nw.String).str.slice(1),
    )
    frame = frame.with_columns(nw.col("_decimals").str.replace_all(r"0+\z", ""))
    frame = frame.with_columns(
        _parted=nw.when(nw.col("_decimals") == "")
        .then(nw.col("_units"))
        .otherwise(nw.concat_str(["_sign", "_units", nw.lit("."), "_decimals"]))
    )
    return frame.with_columns(nw.coalesce("_whole", "_parted").alias(name)).drop(
        "_small", "_whole", "_millionths", "_sign", "_units", "_decimals", "_parted"
    )


def _moment_text(name: str, dtype: nw.dtypes.DType) -> nw.Expr:
    column = nw.col(name)
    if isinstance(dtype, nw.Datetime) and dtype.time_zone:
        column = column.dt.replace_time_zone(None)
    moment = _where(column.is_between(*MOMENTS), column.cast(nw.Datetime("us")))
    if isinstance(dtype, nw.Date):
        return moment.dt.to_string("%Y-%m-%d").alias(name)
    # Engines count the microseconds of moments before 1970 in ways of their own.
    micros = (moment + AFTER_1970).dt.microsecond().cast(nw.Int64)
    fraction = (1_000_000 + micros).cast(nw.String).str.slice(1)
    seconds = moment.dt.to_string("%Y-%m-%dT%H:%M:%S")
    return nw.concat_str([seconds, nw.lit("."), fraction]).alias(name)


def price_pattern(decimal: str) -> str:
    """What prices look like that people write with this decimal mark."""
    mark, group = f"\\{decimal}", _GROUPING[decimal]
    units = f"([0-9]{{1,18}}|[0-9]{{1,3}}({group}[0-9]{{2,3}})*{group}[0-9]{{3}})"
    return f"{_BEFORE_PRICE}({units}({mark}[0-9]*)?|{mark}[0-9]+){_AFTER_PRICE}"


def _plain_number(spelled: nw.Expr, decimal: str) -> nw.Expr:
    """A price as people write it, as a plain number; null for any other text."""
    bare = spelled.str.replace_all(_BEFORE_PRICE, "").str.replace_all(_AFTER_PRICE, "")
    plain = bare.str.replace_all(_GROUPING[decimal], "").str.replace_all(decimal, ".", literal=True)
    negative = spelled.str.contains(f"^{_CURRENCY}[−-]")
    sign = nw.when(negative).then(nw.lit("-")).otherwise(nw.lit(""))
    return _where(spelled.str.contains(price_pattern(decimal)), nw.concat_str([sign, plain]))


def _typed_moment(column: nw.Expr, dtype: nw.dtypes.DType, zone: str) -> nw.Expr:
    if isinstance(dtype, nw.Datetime) and dtype.time_zone:
        column, zone = column.dt.replace_time_zone(None), "UTC"
    elif not isinstance(dtype, nw.Datetime | nw.Date):
        return nw.lit(None, nw.Datetime("us"))
    return to_utc(_where(column.is_between(*MOMENTS), column.cast(nw.Datetime("us"))), zone)


def _micros_of_number(column: nw.Expr, dtype: nw.dtypes.DType, unit: str | None) -> nw.Expr:
    """Microseconds since 1970 of numbers in `unit`, or in the unit that their size tells."""
    if unit == "iso" or unit in DAY_ORDERS:
        return nw.lit(None, nw.Int64)
    if unit is None:
        millis = column >= MAX_EPOCH_SECONDS
        micros = column >= MAX_EPOCH_MILLIS
        return nw.coalesce(
            _micros_of_number(_where(~millis, column), dtype, "s"),
            _micros_of_number(_where(millis & ~micros, column), dtype, "ms"),
            _micros_of_number(_where(micros, column), dtype, "us"),
        )
    scale = MICROS[unit]
    if dtype.is_float():
        column = _finite(column)
    count = _where((column >= 0) & (column < MAX_MICROS // scale), column)
    if dtype.is_integer():
        return count.cast(nw.Int64) * scale
    # The whole part on its own: a float holds 16 digits, and the fraction needs the last of them.
    count = count.cast(nw.Float64)
    fraction = ((count - count.floor()) * scale + 0.5).floor()
    return count.floor().cast(nw.Int64) * scale + fraction.cast(nw.Int64)


def day_pattern(order: str) -> str:
    """What texts look like that name day, month and year in this order."""
    return f"{YEAR_FIRST}|{COMPACT}" if order == "ymd" else DAY_FIRST


def _with_day_in_iso(frame: Frame, order: str) -> Frame:
    """Rewrite `_spelled` as ISO 8601, be it in the calendar or not; null where it has no day."""
    spelled = nw.col("_spelled")
    if order == "ymd":
        parts = [spelled.str.slice(0, 4), spelled.str.slice(4, 2), spelled.str.slice(6)]
        dashed = nw.concat_str(parts, separator="-")
        spelled = nw.when(spelled.str.contains(COMPACT)).then(dashed).otherwise(spelled)
    pattern = YEAR_FIRST if order == "ymd" else DAY_FIRST
    first, after = r"[^0-9].*", "^[0-9]+[./-]"
    frame = frame.with_columns(_one=_where(spelled.str.contains(pattern), spelled))
    frame = frame.with_columns(_two=nw.col("_one").str.replace_all(after, ""))
    frame = frame.with_columns(_three=nw.col("_two").str.replace_all(after, ""))
    frame = frame.with_columns(
        _one=nw.col("_one").str.replace_all(first, ""),
        _two=nw.col("_two").str.replace_all(first, ""),
        _clock=nw.col("_three").str.replace_all("^[0-9]+[ T,]*", "").str.to_lowercase(),
        _three=nw.col("_three").str.replace_all(first, ""),
    )
    columns = dict(zip(order, ("_one", "_two", "_three"), strict=True))
    year, month, day = (_two_digits(nw.col(columns[part])) for part in "ymd")
    clock = nw.col("_clock")
    hour = _or_zero(clock.str.replace_all(":.*", ""))
    half = nw.when(clock.str.ends_with("pm")).then(nw.lit(12)).otherwise(nw.lit(0))
    twelve = clock.str.ends_with("m")
    # A thirteenth hour of the morning is left to be no time of day.
    told = nw.when(twelve & (hour <= 12)).then(hour % 12 + half).otherwise(hour)
    told = nw.when(twelve & (hour > 12)).then(nw.lit(99)).otherwise(told)
    minutes = clock.str.replace_all("^[0-9]+", "").str.replace_all("[^0-9:]", "")
    moment = nw.concat_str([nw.lit(" "), _two_digits(told.cast(nw.String)), minutes])
    time_of_day = nw.when(clock == "").then(nw.lit("")).otherwise(moment)
    dashed = nw.concat_str([year, month, day], separator="-")
    return frame.with_columns(_spelled=nw.concat_str([dashed, time_of_day])).drop(
        "_one", "_two", "_three", "_clock"
    )


def _two_digits(digits: nw.Expr) -> nw.Expr:
    short = digits.str.len_chars() < 2
    return nw.when(short).then(nw.concat_str([nw.lit("0"), digits])).otherwise(digits)


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
    digits = rest.str.replace_all("[A-Za-z+ -].*", "").str.slice(1, 6)
    zone = rest.str.replace_all("^[.,][0-9]+", "").str.strip_chars()
    offset = zone.str.replace_all("[^0-9]", "")
    east = _or_zero(offset.str.slice(0, 2)) * 60 + _or_zero(offset.str.slice(2, 2))
    east = nw.when(zone.str.starts_with("-")).then(-east).otherwise(east)
    elsewhere = -east * nw.lit(timedelta(minutes=1)) + _fraction(digits) * MICROSECOND
    moment = clock.cast(nw.Datetime("us"))
    return nw.when(rest.is_in(("", "Z"))).then(moment).otherwise(moment + elsewhere)


def _counted(spelled: nw.Expr, pattern: str, scale: int) -> nw.Expr:
    """Microseconds since 1970 of digits that count `scale` microseconds each."""
    digits = _where(spelled.str.contains(pattern), spelled)
    whole = digits.str.replace_all(r"\..*", "").cast(nw.Int64)
    fraction = _fraction(digits.str.replace_all(r"^[0-9]+\.?", "")) * scale // 1_000_000
    return _where(whole < MAX_MICROS // scale, whole * scale) + fraction


def _after_epoch(micros: nw.Expr) -> nw.Expr:
    return later(nw.lit(EPOCH_START), micros)


def _fraction(digits: nw.Expr) -> nw.Expr:
    """The digits after a decimal point as microseconds; no digits are 0."""
    return _or_zero(nw.concat_str([digits, nw.lit("000000")]).str.slice(0, 6))


def _or_zero(digits: nw.Expr) -> nw.Expr:
    """Digits as a number, no digits as 0; null stays null."""
    return nw.when(digits == "").then(nw.lit("0")).otherwise(digits).cast(nw.Int64)


def _finite(column: nw.Expr) -> nw.Expr:
    """Floats without NaN and infinities.

    Asked for by name: DuckDB takes `x < 2**53` for granted when a Parquet file's statistics, which
    leave NaN out, say so.
    """
    return _where(column.is_finite(), column)


def _where(condition: nw.Expr, value: nw.Expr) -> nw.Expr:
    return nw.when(condition).then(value)
