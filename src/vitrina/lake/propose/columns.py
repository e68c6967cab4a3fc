"""Which of a file's columns is which of ours, by name and by value.

A name that everybody uses is enough if the values agree. A name that may mean it needs values
that agree. Values alone are a guess, but for what nothing else looks like.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import narwhals as nw

from vitrina.lake import values
from vitrina.lake.contract import COLUMNS, Table
from vitrina.lake.propose import kinds
from vitrina.lake.propose.kinds import NEARLY_ALL, share
from vitrina.lake.propose.names import event_type_of, name_score, words_of
from vitrina.lake.propose.samples import Column, Sample
from vitrina.settings_sources import ColumnMap

Confidence = Literal["sure", "likely", "unsure"]

SURE: Final = 0.75
LIKELY: Final = 0.4
"""Scores of names that everybody uses, and of those that often mean the column."""
LEVEL_WORDS: Final = re.compile(
    r"categ|kateg|department|abteilung|group|gruppe|class|section|genre|rubri|familia|family"
)
MAX_LEVELS: Final = 4
_CLOCK: Final = re.compile(r"([01]?[0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?(\.[0-9]+)?")
_COUNT: Final = re.compile(r"-?[0-9]{1,9}(\.0{1,6})?")
OTHERS: Final = ("price", "value", "event_type", "title", "category_path", "brand", "available")
"""Columns that no id is called."""
FEW: Final = 20
"""Of fewer values nobody can say whether they would repeat."""


@dataclass(frozen=True, slots=True)
class Guess:
    """What one of our columns is read from.

    map: as `columns` in vitrina.toml has it. why: what speaks for it. note: what a person should
    check, if anything. others: their columns that it could be as well.
    """

    map: Mapping[str, Any]
    confidence: Confidence
    why: str
    note: str = ""
    others: Sequence[str] = field(default=())

    @property
    def theirs(self) -> tuple[str, ...]:
        """Their columns that it reads."""
        return ColumnMap.model_validate(self.map).needs


def guess_columns(
    table: Table, sample: Sample, links: Mapping[str, float], taken: Collection[str] = ()
) -> dict[str, Guess]:
    """A guess for each of our columns that the file seems to have.

    links: of their columns, the share of values that are ids in the other table's file.
    taken: their columns that are of no use here.
    """
    free = [column for column in sample.columns if column.given and column.name not in taken]
    guesses: dict[str, Guess] = {}

    def take(ours: str, guess: Guess | None) -> None:
        if guess is not None:
            guesses[ours] = guess
            free[:] = [column for column in free if column.name not in guess.theirs]

    take("item_id", _item_id(table, free, links))
    if table == "events":
        take("timestamp", _moment("timestamp", table, free))
        take("event_type", _event_type(free))
        take("event_id", _named(table, "event_id", free, _is_unique))
        take("user_id", _named(table, "user_id", free, _is_key))
        take("session_id", _named(table, "session_id", free, _is_key))
        if "user_id" not in guesses and "session_id" not in guesses:
            take("user_id", _by_values(free))
        take("value", _number("value", table, free))
        take("position", _named(table, "position", free, _is_numeric))
        rest: tuple[str, ...] = ("device_type", "request_id")
    else:
        take("price", _number("price", table, free))
        take("created_at", _moment("created_at", table, free))
        take("available", _named(table, "available", free, _is_yes_or_no))
        take("image_url", _image(free))
        take("title", _title(free))
        take("category_path", _category(free))
        take("attributes", _named(table, "attributes", free, _is_json))
        rest = ("description", "brand", "currency", "location", "condition")
    for ours in rest:
        take(ours, _named(table, ours, free, _is_text))
    return {name: guesses[name] for name in COLUMNS[table] if name in guesses}


def describe_moment(ours: str, column: Column) -> Guess | None:
    """A moment read from this column, None if its values are no moments."""
    unit = kinds.moment_unit(column.dtype, column.texts)
    if unit is None:
        return None
    known = isinstance(column.dtype, nw.Datetime) and column.dtype.time_zone is not None
    zoned = unit in values.MICROS or known or share(column.texts, kinds.names_zone) >= NEARLY_ALL
    note = "" if zoned else "no time zone in the file; taken as UTC"
    if unit == "dmy":
        note += "; day before month, if the values leave it open"
    written = {"column": column.name}
    if unit != "iso" and not isinstance(column.dtype, nw.Datetime | nw.Date):
        written["unit"] = unit
    return Guess(written, "sure", f"values are moments ({unit})", note)


def _best(
    table: Table, ours: str, columns: Sequence[Column], fits: Callable[[Column], bool]
) -> list[tuple[float, Column]]:
    """The columns whose name may mean ours and whose values agree, the best first."""
    scored = [
        (score, column)
        for column in columns
        if (score := name_score(table, ours, column.name)) > 0 and fits(column)
    ]
    return sorted(scored, key=lambda entry: -entry[0])


def _named(
    table: Table, ours: str, columns: Sequence[Column], fits: Callable[[Column], bool]
) -> Guess | None:
    best = _best(table, ours, columns, fits)
    if not best:
        return None
    score, column = best[0]
    return Guess({"column": column.name}, _trust(score), "its name", others=_rest(best))


def _trust(score: float) -> Confidence:
    return "sure" if score >= SURE else "likely" if score >= LIKELY else "unsure"


def _rest(best: Sequence[tuple[float, Column]]) -> list[str]:
    return [column.name for _, column in best[1:]]


def _item_id(table: Table, columns: Sequence[Column], links: Mapping[str, float]) -> Guess | None:
    def score(column: Column) -> float:
        unique = 0.3 * _uniqueness(column) if table == "items" else 0.0
        return name_score(table, "item_id", column.name) + 1.5 * links.get(column.name, 0) + unique

    keys = [column for column in columns if _is_key(column) and _filled(column)]
    able = [
        column
        for column in keys
        if name_score(table, "item_id", column.name) or links.get(column.name, 0) >= 0.5
    ]
    if not able:
        return _by_values(keys)
    ranked = sorted(able, key=score, reverse=True)
    best = ranked[0]
    named, linked = name_score(table, "item_id", best.name), links.get(best.name, 0.0)
    sure = named >= SURE or (named > 0 and linked >= 0.5)
    why = "its name" if named else ""
    if linked >= 0.5:
        why += (", " if why else "") + f"{linked:.0%} of its values are in both files"
    confidence: Confidence = "sure" if sure else "likely" if linked >= 0.8 else "unsure"
    others = [column.name for column in ranked[1:]]
    return Guess({"column": best.name}, confidence, why, others=others)


def _moment(ours: str, table: Table, columns: Sequence[Column]) -> Guess | None:
    found = [
        (name_score(table, ours, column.name), column, guess)
        for column in columns
        if (guess := describe_moment(ours, column)) is not None
    ]
    if ours == "created_at":
        found = [entry for entry in found if entry[0] > 0]
    # A day without a time of day is the last choice: the order of events is lost in it.
    found.sort(key=lambda entry: entry[0] - 0.3 * _is_days(entry[1]), reverse=True)
    if not found:
        return None
    name, column, guess = found[0]
    others = [other.name for _, other, _ in found[1:]]
    # The only moments of a file are most likely those of its events, whatever they are called.
    confidence = _trust(name if others else max(name, LIKELY))
    why = f"its name, {guess.why}" if name else guess.why
    written = dict(guess.map)
    if ours == "timestamp" and _is_days(column):
        written = _with_time_of_day(column, columns)
    return replace(guess, map=written, confidence=confidence, why=why, others=others)


def _with_time_of_day(day: Column, columns: Sequence[Column]) -> dict[str, Any]:
    for other in columns:
        if share(other.texts, _is_clock) >= NEARLY_ALL:
            return {"column": [day.name, other.name]}
        if words_of(other.name) in ("timeframe", "time_frame") and _is_numeric(other):
            return {"column": day.name, "add": {"column": other.name, "unit": "ms"}}
    return {"column": day.name}


def _event_type(columns: Sequence[Column]) -> Guess | None:
    words = [column for column in columns if kinds.is_word_list(list(column.distinct))]
    known = {
        column.name: sum(event_type_of(text) is not None for text in column.distinct)
        / len(column.distinct)
        for column in words
    }
    best = sorted(
        words,
        key=lambda column: name_score("events", "event_type", column.name) + known[column.name],
        reverse=True,
    )
    for column in best:
        name = name_score("events", "event_type", column.name)
        if known[column.name] >= 0.5 or (name >= SURE and known[column.name] > 0):
            sure = name >= SURE and known[column.name] >= 0.5
            why = "its values are words for events"
            why = f"its name, {why}" if name else why
            return Guess({"column": column.name}, "sure" if sure else "likely", why)
        if name >= 0.9:
            return Guess({"column": column.name}, "unsure", "its name")
    return None


def _by_values(columns: Sequence[Column]) -> Guess | None:
    """An id whose name says nothing: of the columns that could be one, that with most values."""
    able = [
        column
        for column in columns
        if _is_key(column)
        and _filled(column)
        and len(column.distinct) >= 2
        and not any(name_score(table, ours, column.name) for table in COLUMNS for ours in OTHERS)
        and not kinds.is_word_list(list(column.distinct))
        and kinds.moment_unit(column.dtype, column.texts) is None
    ]
    able.sort(key=lambda column: len(column.distinct), reverse=True)
    if not able:
        return None
    others = [column.name for column in able[1:]]
    return Guess({"column": able[0].name}, "unsure", "its values could be ids", others=others)


def _number(ours: str, table: Table, columns: Sequence[Column]) -> Guess | None:
    best = _best(table, ours, columns, lambda column: kinds.decimal_mark(column.texts) is not None)
    if not best and ours == "price":
        best = [(LIKELY, column) for column in columns if kinds.is_money(column.texts)]
    if not best:
        return None
    score, column = best[0]
    written: dict[str, Any] = {"column": column.name}
    if mark := kinds.decimal_mark(column.texts):
        written["decimal"] = mark
    if "cent" in words_of(column.name) or "cents" in words_of(column.name).split("_"):
        written["unit"] = 0.01
    named = name_score(table, ours, column.name) > 0
    why = "its name, values are numbers" if named else "its values are money"
    return Guess(written, _trust(score), why, others=_rest(best))


def _title(columns: Sequence[Column]) -> Guess | None:
    named = _named("items", "title", columns, _is_text)
    if named is not None:
        return named
    # A text that is another one in nearly every row, and that nothing says anything about.
    able = [
        column
        for column in columns
        if _is_text(column)
        and _uniqueness(column) >= 0.6
        and share(column.texts, lambda text: " " in text) >= 0.5
        and not any(name_score("items", ours, column.name) for ours in COLUMNS["items"])
    ]
    if not able:
        return None
    return Guess({"column": able[0].name}, "unsure", "its values are texts of their own")


def _category(columns: Sequence[Column]) -> Guess | None:
    named = [
        (max(name_score("items", "category_path", column.name), 0.4), column)
        for column in columns
        if _is_text(column)
        and (
            name_score("items", "category_path", column.name)
            or LEVEL_WORDS.search(words_of(column.name))
        )
        and not (_uniqueness(column) >= 0.9 and len(column.given) >= FEW)
    ]
    if not named:
        return None
    named.sort(key=lambda entry: -entry[0])
    score, best = named[0]
    separator = kinds.separator_of(best.texts)
    if separator is not None:
        written: dict[str, Any] = {"column": best.name, "separator": separator}
        return Guess(written, "sure", f"its name, levels between '{separator}'")
    words = [column for _, column in named if share(column.texts, str.isdigit) < 0.5]
    if len(words) > 1 and not any(">" in text for text in best.texts[:100]):
        levels = sorted(words[:MAX_LEVELS], key=lambda column: len(column.distinct))
        names = [column.name for column in levels]
        return Guess({"column": names}, "likely", "their names, the broadest first")
    return Guess({"column": best.name}, _trust(score), "its name", others=_rest(named))


def _image(columns: Sequence[Column]) -> Guess | None:
    named = _named("items", "image_url", columns, _is_address)
    if named is not None:
        return named
    pictures = re.compile(r"https?://.*\.(jpe?g|png|webp|gif|avif)(\?.*)?$", re.IGNORECASE)
    for column in columns:
        if share(column.texts, lambda text: pictures.match(text) is not None) >= NEARLY_ALL:
            return Guess({"column": column.name}, "likely", "values are addresses of pictures")
    return None


def _is_clock(text: str) -> bool:
    return (
        re.fullmatch(r"([01]?[0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9])?(\.[0-9]+)?", text) is not None
    )


def _is_days(column: Column) -> bool:
    return isinstance(column.dtype, nw.Date) or share(column.texts, kinds.is_day) >= NEARLY_ALL


def _filled(column: Column) -> bool:
    return len(column.given) >= NEARLY_ALL * len(column.values)


def _uniqueness(column: Column) -> float:
    return len(column.distinct) / len(column.given)


def _is_unique(column: Column) -> bool:
    return _uniqueness(column) >= 0.99 and _filled(column)


def _is_key(column: Column) -> bool:
    """Short values, as ids are; no fractions."""
    short = share(column.texts, lambda text: len(text) <= 80)
    fractions = column.dtype.is_float() and share(column.texts, lambda text: "." in text) > 0.1
    return short >= NEARLY_ALL and not fractions and not isinstance(column.dtype, nw.Boolean)


def _is_numeric(column: Column) -> bool:
    return share(column.texts, kinds.is_number) >= NEARLY_ALL


def _is_text(column: Column) -> bool:
    return not isinstance(column.dtype, nw.Boolean | nw.Datetime | nw.Date)


def _is_yes_or_no(column: Column) -> bool:
    words = {*values.TRUE, *values.FALSE}
    return isinstance(column.dtype, nw.Boolean) or (
        share(column.texts, lambda text: text.lower() in words or _is_count(text)) >= NEARLY_ALL
    )


def _is_count(text: str) -> bool:
    return _COUNT.fullmatch(text) is not None


def _is_json(column: Column) -> bool:
    return share(column.texts, lambda text: text.startswith("{")) >= NEARLY_ALL


def _is_address(column: Column) -> bool:
    return share(column.texts, lambda text: "/" in text or "." in text) >= NEARLY_ALL
