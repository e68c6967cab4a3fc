"""From a shop's files to the `[lake]` that reads them: which file is what, and its columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Final

from vitrina.errors import DataError
from vitrina.lake.contract import REQUIRED, Table
from vitrina.lake.engine import DuckDBEngine
from vitrina.lake.propose import kinds
from vitrina.lake.propose.columns import Guess, guess_columns
from vitrina.lake.propose.names import (
    event_type_of,
    event_type_of_file,
    is_catalog_name,
    name_score,
    words_of,
)
from vitrina.lake.propose.samples import Column, Sample, take_sample
from vitrina.schema import DEFAULT_EVENT_WEIGHTS

ASKED: Final = ("item_id", "user_id", "timestamp", "event_type", "title", "category_path", "price")
"""Columns worth a question when their guess is unsure."""
ITEM_EVIDENCE: Final = ("title", "description", "category_path", "price", "brand", "image_url")


@dataclass
class Draft:
    """One source as it is proposed; `guesses` and `event_types` may be corrected.

    addresses: files of the same columns, as they were given. event_types: theirs -> ours.
    unknown_types: theirs that are no word for any of ours.
    """

    table: Table
    addresses: list[str]
    sample: Sample
    guesses: dict[str, Guess]
    event_types: dict[str, str] = field(default_factory=dict)
    unknown_types: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        """What to call the source in a sentence."""
        more = f" and {len(self.addresses) - 1} more" if len(self.addresses) > 1 else ""
        return PurePath(self.addresses[0]).name + more

    def missing(self) -> list[str]:
        """The columns without which no row can be used, as clauses."""
        return [
            " or ".join(choice)
            for choice in REQUIRED[self.table]
            if not any(name in self.guesses for name in choice)
        ]

    def unsure(self) -> Iterator[tuple[str, Guess]]:
        """The guesses that a person should look at."""
        for name, guess in self.guesses.items():
            if guess.confidence == "unsure" and name in ASKED:
                yield name, guess

    def examples(self, ours: str) -> list[str]:
        """A few values of what one of our columns is read from."""
        theirs = self.guesses[ours].theirs
        columns = [
            self.sample.column(name).examples(1 if len(theirs) > 1 else 3) for name in theirs
        ]
        return [text for texts in columns for text in texts]


def propose(engine: DuckDBEngine, addresses: Sequence[str]) -> list[Draft]:
    """Sources for these files, items first.

    Raises DataError when a file cannot be read, and when no file has events.
    """
    samples: list[Sample] = []
    alike: dict[tuple[object, ...], list[str]] = {}
    for address in addresses:
        sample = take_sample(engine, address)
        together = alike.setdefault(_likeness(sample), [])
        if not together:
            samples.append(sample)
        together.append(address)
    events = [sample for sample in samples if _is_events(sample)]
    if not events:
        names = ", ".join(PurePath(sample.address).name for sample in samples)
        raise DataError(
            f"No file of {names} looks like events: a moment, an item and a shopper (user or "
            "session) in each row. Name the file that has them too, or write [[lake.events]] in "
            "vitrina.toml by hand ('vitrina init' writes the file)."
        )
    items = [sample for sample in samples if sample not in events]
    told = [
        _events_draft(sample, alike[_likeness(sample)], _links(sample, items)) for sample in events
    ]
    catalog = [
        Draft("items", alike[_likeness(sample)], sample, guess_columns("items", sample, links))
        for sample in items
        for links in [_links(sample, events)]
    ]
    # Without a catalog of its own, a shop's items are those that its events tell of.
    drafts = [*(catalog or map(_items_of_events, told)), *told]
    for draft in drafts:
        draft.guesses |= _currency(draft)
    return drafts


def _likeness(sample: Sample) -> tuple[object, ...]:
    """What files of one source have in common; names of no header's making say nothing."""
    spoken = event_type_of_file(_stem(sample))
    alone = sample.address if sample.header is not None else None
    return (*(column.name for column in sample.columns), sample.encoding, spoken, alone)


def _stem(sample: Sample) -> str:
    return PurePath(sample.address).name.partition(".")[0]


def correct_event_types(draft: Draft) -> None:
    """Fill `event_types` and `unknown_types` from the values of the event type's column."""
    draft.event_types, draft.unknown_types = {}, []
    theirs = draft.guesses["event_type"].theirs if "event_type" in draft.guesses else ()
    for name in theirs:
        for text in draft.sample.column(name).distinct:
            ours = text if text in DEFAULT_EVENT_WEIGHTS else event_type_of(text)
            if ours is None:
                draft.unknown_types.append(text)
            elif ours != text:
                draft.event_types[text] = ours


def weights(drafts: Sequence[Draft]) -> dict[str, float]:
    """The weights of the shop's event types: of unknown ones 0, so that none is lost."""
    unknown = [text for draft in drafts for text in draft.unknown_types]
    return {**DEFAULT_EVENT_WEIGHTS, **dict.fromkeys(unknown, 0.0)}


def _events_draft(sample: Sample, addresses: list[str], links: dict[str, float]) -> Draft:
    guesses = guess_columns("events", sample, links)
    if "event_type" not in guesses:
        guesses["event_type"] = _one_event_type(sample)
    draft = Draft("events", addresses, sample, guesses)
    correct_event_types(draft)
    return draft


def _one_event_type(sample: Sample) -> Guess:
    """What all rows of a file without event types are, from its name or its other columns."""
    name = PurePath(sample.address).name
    spoken = event_type_of_file(_stem(sample))
    if spoken is not None and spoken != "view":
        return Guess({"value": spoken}, "likely", f"the file's name is {name}")
    words = {part for column in sample.columns for part in words_of(column.name).split("_")}
    if words & {"order", "invoice", "quantity", "qty", "purchase", "bestellung", "rating"}:
        why = "columns of orders or ratings"
        return Guess({"value": "purchase"}, "likely", why, "check the event type")
    if spoken is not None:
        return Guess({"value": spoken}, "likely", f"the file's name is {name}")
    return Guess({"value": "view"}, "unsure", "no column says what happened")


def _is_events(sample: Sample) -> bool:
    """Whether rows are things that happened: a moment, and a shopper or a word for an event."""
    moments = [column for column in sample.columns if _is_moment(column)]
    if not moments:
        return False
    shopper = max(
        name_score("events", ours, column.name)
        for ours in ("user_id", "session_id")
        for column in sample.columns
    )
    typed = any(
        kinds.is_word_list(list(column.distinct))
        and sum(event_type_of(text) is not None for text in column.distinct)
        >= 0.5 * len(column.distinct)
        for column in sample.columns
        if column.given
    )
    described = sum(
        max(name_score("items", ours, column.name) for column in sample.columns) >= 0.9
        for ours in ITEM_EVIDENCE
    )
    if shopper >= 0.5 or typed:
        return True
    return described < 2 and not is_catalog_name(_stem(sample))


def _is_moment(column: Column) -> bool:
    return bool(column.given) and kinds.moment_unit(column.dtype, column.texts) is not None


def _items_of_events(draft: Draft) -> Draft:
    """What an events file says of its items."""
    taken = [
        name for ours, guess in draft.guesses.items() if ours != "value" for name in guess.theirs
    ]
    guesses = guess_columns("items", draft.sample, {}, taken)
    guesses.pop("item_id", None)
    if "item_id" in draft.guesses:
        guesses = {"item_id": draft.guesses["item_id"], **guesses}
    return Draft("items", draft.addresses, draft.sample, guesses)


def _links(sample: Sample, others: Sequence[Sample]) -> dict[str, float]:
    """For each column, the largest share of its values that some column of `others` has too."""
    ids = [
        set(column.distinct)
        for other in others
        for column in other.columns
        if column.given and len(column.distinct) >= 2 and not _is_moment(column)
    ]
    links = {}
    for column in sample.columns:
        if column.given and len(column.distinct) >= 2 and not _is_moment(column):
            own = set(column.distinct)
            links[column.name] = max((_overlap(own, other) for other in ids), default=0.0)
    return links


def _overlap(one: set[str], other: set[str]) -> float:
    """The share of the smaller set that is in the larger, if that says anything."""
    return len(one & other) / min(len(one), len(other)) if min(len(one), len(other)) >= 2 else 0.0


def _currency(draft: Draft) -> dict[str, Guess]:
    """The currency that stands beside the prices, if no column has it."""
    if "price" not in draft.guesses or "currency" in draft.guesses:
        return {}
    (name,) = draft.guesses["price"].theirs
    code = kinds.currency_of(draft.sample.column(name).texts)
    return (
        {} if code is None else {"currency": Guess({"value": code}, "likely", "the prices' sign")}
    )
