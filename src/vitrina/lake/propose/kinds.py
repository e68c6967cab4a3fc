"""What the values of a column look like: moments, prices, category paths, words for events.

Judged by the patterns that `values` reads by, so that what is proposed is what an ingest can read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final

import narwhals as nw

from vitrina.lake import values
from vitrina.lake.engine import LIST_SEPARATOR

NEARLY_ALL: Final = 0.9
CHECKED: Final = 2000
"""So many values of a column are looked at."""

FEW: Final = 20

EPOCH_FROM: Final = datetime(1995, 1, 1, tzinfo=UTC).timestamp()
"""Numbers that would be moments from before are numbers."""
SEPARATORS: Final = (" > ", ">", " | ", "|", " / ", "/", "::", " » ", ".", ";")
CURRENCIES: Final = {"€": "EUR", "EUR": "EUR", "£": "GBP", "GBP": "GBP", "USD": "USD", "CHF": "CHF"}


def _matcher(pattern: str) -> Callable[[str], bool]:
    compiled = re.compile(pattern.replace(r"\z", r"\Z"))
    return lambda text: compiled.match(text) is not None


is_number = _matcher(values.NUMBER)
is_iso = _matcher(f"{values.TO_THE_SECOND}|{values.TO_THE_MINUTE}|{values.DATE_ONLY}")
names_zone = _matcher(r".*[0-9](Z|z| ?UTC| ?GMT| ?[+-][0-9]{2}(:?[0-9]{2})?)\z")
is_day = _matcher(values.DATE_ONLY)


def share(texts: Sequence[str], judge: Callable[[str], bool]) -> float:
    """The share of texts that are so; of no texts, none."""
    looked_at = texts[:CHECKED]
    return sum(map(judge, looked_at)) / len(looked_at) if looked_at else 0.0


def moment_unit(dtype: nw.dtypes.DType, texts: Sequence[str]) -> str | None:
    """The unit of `ColumnMap` in which nearly all values are moments, else None."""
    if isinstance(dtype, nw.Datetime | nw.Date) or share(texts, is_iso) >= NEARLY_ALL:
        return "iso"
    if (order := _day_order(texts)) is not None:
        return order
    if share(texts, is_number) < NEARLY_ALL:
        return None
    now = datetime.now(UTC).timestamp()
    for unit, scale in (("s", 1), ("ms", 10**3), ("us", 10**6)):
        first, last = EPOCH_FROM * scale, (now + 366 * 86_400) * scale
        if share(texts, lambda text: first <= _number(text) <= last) >= NEARLY_ALL:  # noqa: B023
            return unit
    return None


def decimal_mark(texts: Sequence[str]) -> str | None:
    """How prices are written: "" plainly, "." or "," for people; None if they are no prices.

    Where both marks would do ("1.234"), plain numbers go before people's.
    """
    if share(texts, is_number) >= NEARLY_ALL:
        return ""
    shares = {mark: share(texts, _matcher(values.price_pattern(mark))) for mark in (".", ",")}
    best = max(shares, key=lambda mark: shares[mark])
    digits = share(texts, lambda text: any(letter.isdigit() for letter in text))
    return best if shares[best] >= NEARLY_ALL and digits >= NEARLY_ALL else None


def is_money(texts: Sequence[str]) -> bool:
    """Whether a currency stands beside nearly every number."""
    signed = share(texts, lambda text: any(sign in text for sign in (*CURRENCIES, "$", "¥", "₹")))
    return signed >= NEARLY_ALL and decimal_mark(texts) is not None


def currency_of(texts: Sequence[str]) -> str | None:
    """The currency that stands beside nearly all prices, if it is one and certain."""
    for sign, code in CURRENCIES.items():
        if share(texts, lambda text: sign in text) >= NEARLY_ALL:  # noqa: B023
            return code
    return None


def separator_of(texts: Sequence[str]) -> str | None:
    """What stands between the levels of category paths; None if it is " > ", or nothing does.

    Many paths begin alike: a separator whose first parts are hardly fewer than the whole values
    separates nothing. Of a few values nobody can say, and it has to be in most of them.
    """
    looked_at = [text for text in texts[:CHECKED] if LIST_SEPARATOR not in text]
    if not looked_at:
        return None
    for separator in SEPARATORS:
        parted = [text for text in looked_at if separator in text.strip(separator)]
        if len(parted) < 0.3 * len(looked_at):
            continue
        few = len(set(parted)) < FEW and len(parted) > 0.6 * len(looked_at)
        firsts = {text.strip(separator).partition(separator)[0] for text in parted}
        if few or len(firsts) <= 0.5 * len(set(parted)):
            return None if separator.strip() == ">" else separator
    return None


def is_word_list(distinct: Sequence[str]) -> bool:
    """Whether a column has a handful of words: a vocabulary. Ids have digits, words have not."""
    words = share(distinct, lambda text: not any(letter.isdigit() for letter in text))
    return len(distinct) <= 40 and words >= 0.8 and max(map(len, distinct)) <= 40


def _day_order(texts: Sequence[str]) -> str | None:
    """ "dmy", "mdy" or "ymd" if days are so written; "dmy" where nothing tells it from "mdy"."""
    if share(texts, _matcher(values.YEAR_FIRST)) >= NEARLY_ALL:
        return "ymd"
    compact = [text for text in texts[:CHECKED] if _matcher(values.COMPACT)(text)]
    if len(compact) >= NEARLY_ALL * min(len(texts), CHECKED) and all(
        "1995" <= text[:4] <= "2049" and "01" <= text[4:6] <= "12" and "01" <= text[6:] <= "31"
        for text in compact
    ):
        return "ymd" if compact else None
    if share(texts, _matcher(values.DAY_FIRST)) < NEARLY_ALL:
        return None
    parts = [re.split(r"[./-]", text) for text in texts[:CHECKED] if "/" in text or "." in text]
    seconds = [int(part[1]) for part in parts if len(part) >= 2 and part[1].isdigit()]
    return "mdy" if any(number > 12 for number in seconds) else "dmy"


def _number(text: str) -> float:
    return float(text) if is_number(text) else -1.0
