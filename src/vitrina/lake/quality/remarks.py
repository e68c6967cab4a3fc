"""What a person should look at first, said in sentences; all from the figures of quality.json."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from statistics import median
from typing import Any, Final, Literal

SET_APART_SHARE: Final = 0.01
DUPLICATE_SHARE: Final = 0.05
UNKNOWN_SHARE: Final = 0.01
MISSING_SHARE: Final = 0.2
UNMET_SHARE: Final = 0.5
HEAD_SHARE: Final = 0.5
RETURNING_SHARE: Final = 0.1
SHORT_DAYS: Final = 28
SPIKE: Final = 10
LOW_LAST_DAY: Final = 0.25
USUAL_DAYS: Final = 7
"""Days with events from which one can speak of a usual day."""

NEEDED: Final[Mapping[str, str]] = {
    "title": "the item tower then reads no words",
    "category_path": "they are spread over shelves by chance",
    "price": "filters by price leave them out",
}
"""Item columns that are missed, and what for."""


@dataclass(frozen=True, slots=True)
class Remark:
    """weight: "warning" asks for something to be done, "note" is good to know.

    section: of the page, where its figures are.
    """

    weight: Literal["warning", "note"]
    section: str
    text: str


def remarks(figures: Mapping[str, Any]) -> list[Remark]:
    """Warnings first, each kind in the order of the page."""
    found = [*_rows(figures), *_time(figures), *_events(figures), *_catalog(figures)]
    return sorted(found, key=lambda remark: remark.weight != "warning")


def _rows(figures: Mapping[str, Any]) -> Iterator[Remark]:
    for name, table in figures["tables"].items():
        for file in table["unusable_files"]:
            yield Remark("warning", "rows", f"Nothing was read of a file: {file['reason']}")
        lost = sum(table["quarantined"].values())
        if lost > SET_APART_SHARE * table["read"]:
            reason, rows = max(table["quarantined"].items(), key=lambda entry: entry[1])
            yield Remark(
                "warning",
                "rows",
                f"{lost / table['read']:.1%} of the rows of {name} could not be used; most often "
                f"({rows:,}): {reason}.",
            )
        if table["duplicates"] > DUPLICATE_SHARE * table["read"]:
            yield Remark(
                "note",
                "rows",
                f"{table['duplicates'] / table['read']:.1%} of the rows of {name} are "
                "repetitions; they were counted once.",
            )
        if table["ignored_columns"]:
            names = ", ".join(table["ignored_columns"])
            yield Remark("note", "rows", f"Columns of {name} that nothing was read from: {names}.")


def _time(figures: Mapping[str, Any]) -> Iterator[Remark]:
    days = {date.fromisoformat(day["day"]): sum(day["events"].values()) for day in figures["days"]}
    first, last = min(days), max(days)
    span = (last - first).days + 1
    if span < SHORT_DAYS:
        yield Remark(
            "warning",
            "time",
            f"The events span {span} day{'s' if span > 1 else ''}. The last ones are held back for "
            "the test ('test_days' in [evaluate]), so little is left to learn from.",
        )
    usual = median(days.values())
    if len(days) >= USUAL_DAYS:
        most = max(days, key=lambda day: days[day])
        if days[most] > SPIKE * usual:
            yield Remark(
                "warning",
                "time",
                f"{most:%-d %B %Y} has {days[most] / usual:,.0f} times the events of a usual day: "
                "an import that lost its times, perhaps.",
            )
        if days[last] < LOW_LAST_DAY * usual:
            yield Remark(
                "note",
                "time",
                f"The last day has {days[last] / usual:.0%} of a usual day's events: the data "
                "seem to end in the middle of it.",
            )
    if silent := span - len(days):
        yield Remark("note", "time", f"No event at all on {silent:,} of {span:,} days.")


def _events(figures: Mapping[str, Any]) -> Iterator[Remark]:
    bots, shoppers, types = figures["bots"], figures["shoppers"], figures["types"]
    if bots["shoppers"]:
        yield Remark(
            "warning",
            "bots",
            f"{bots['shoppers']:,} shopper{'s' if bots['shoppers'] > 1 else ''} with "
            f"{bots['events'] / shoppers['events']:.1%} of all events behave like bots; training "
            "leaves them out.",
        )
    if len(types) == 1:
        yield Remark(
            "note",
            "types",
            f"All events are of one type, {types[0]['type']}. Views and clicks would tell more of "
            "a shopper's taste, and sooner.",
        )
    if shoppers["returning"] < RETURNING_SHARE * shoppers["members"]:
        yield Remark(
            "note",
            "shoppers",
            f"{shoppers['returning'] / shoppers['members']:.1%} of the shoppers have events on "
            "more than one day: most recommendations will go to people hardly known.",
        )


def _catalog(figures: Mapping[str, Any]) -> Iterator[Remark]:
    items, prices = figures["items"], figures["prices"]
    read = figures["tables"]["events"]["read"]
    if items["unknown"] > UNKNOWN_SHARE * read:
        yield Remark(
            "warning",
            "coverage",
            f"{items['unknown'] / read:.1%} of the events name an item that the catalog lacks. "
            "Export discontinued items, too.",
        )
    unmet = 1 - items["members"] / items["catalog"]
    if unmet > UNMET_SHARE:
        yield Remark(
            "note",
            "coverage",
            f"{unmet:.0%} of the catalog has no event yet; only its texts, categories and prices "
            "place it among the others.",
        )
    head = items["heads"][0]
    if head["events"] > HEAD_SHARE:
        yield Remark(
            "note",
            "items",
            f"One item in a hundred gets {head['events']:.0%} of all events.",
        )
    missing = figures["tables"]["items"]["missing"]
    for name, consequence in NEEDED.items():
        if missing[name]["share"] > MISSING_SHARE:
            yield Remark(
                "note",
                "missing",
                f"{missing[name]['share']:.0%} of the items have no {name}; {consequence}.",
            )
    if len(prices["currencies"]) > 1:
        names = ", ".join(entry["currency"] or "none" for entry in prices["currencies"])
        yield Remark("warning", "prices", f"Prices are in several currencies: {names}.")
    if prices["outliers"]:
        one = prices["outliers"] == 1
        yield Remark(
            "note",
            "prices",
            f"{prices['outliers']:,} price{' stands' if one else 's stand'} out.",
        )
