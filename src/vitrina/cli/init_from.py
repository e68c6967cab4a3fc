"""`vitrina init --from`: a look at the shop's files, questions, and the settings that read them."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final
from zoneinfo import available_timezones

import typer
from rich.table import Table
from rich.text import Text

from vitrina.cli.console import reporting, say, tell
from vitrina.cli.settings_file import Noted, settings_toml
from vitrina.errors import DataError, SettingsError
from vitrina.lake.contract import REQUIRED
from vitrina.lake.engine import DuckDBEngine
from vitrina.lake.mapping import describe
from vitrina.lake.propose.columns import Guess, describe_moment
from vitrina.lake.propose.proposal import Draft, correct_event_types, propose, weights
from vitrina.schema import DEFAULT_EVENT_WEIGHTS
from vitrina.settings_sources import ColumnMap

EXAMPLE_CHARS: Final = 24
NONE: Final = "-"
"""What a person answers when no column is it."""


def settings_from(addresses: Sequence[str], folder: Path, *, yes: bool) -> str:
    """The text of a vitrina.toml that lies in `folder` and reads these files.

    Asks what is unsure where there is a terminal, unless `yes`. Raises SettingsError when
    something is unsure and nobody can be asked, DataError when the files cannot be used.
    """
    with reporting("Looking at the files") as report, DuckDBEngine() as engine:
        report(None, ", ".join(addresses))
        drafts = propose(engine, addresses)
    tell(*(_overview(draft) for draft in drafts))
    if yes:
        _require(drafts)
    elif has_terminal():
        _ask(drafts)
        _require(drafts)
    elif doubts := [doubt for draft in drafts for doubt in _doubts(draft)]:
        raise SettingsError(
            f"Not sure about: {'; '.join(doubts)}. Run this in a terminal to be asked, or with "
            "--yes to take the best guess, marked in the file."
        )
    values: dict[str, dict[str, Any]] = {
        "lake": {
            table: [_source(draft, folder) for draft in drafts if draft.table == table]
            for table in REQUIRED
        }
    }
    if weights(drafts) != DEFAULT_EVENT_WEIGHTS:
        values["events"] = {"weights": weights(drafts)}
    return settings_toml(values)


def has_terminal() -> bool:
    """Whether somebody is there to be asked."""
    return sys.stdin.isatty()


def _overview(draft: Draft) -> Table:
    """What was found in one source, a row for each of our columns."""
    table = Table(title=f"{draft.table} from {draft.name}", title_justify="left")
    for heading in ("ours", "theirs", "for example", "confidence"):
        table.add_column(heading, overflow="fold")
    colours = {"sure": "green", "likely": "", "unsure": "yellow"}
    for name, guess in draft.guesses.items():
        examples = ", ".join(_short(text) for text in draft.examples(name))
        because = f"{guess.confidence}: {guess.why}" + (f"; {guess.note}" if guess.note else "")
        table.add_row(
            name,
            Text(describe(ColumnMap.model_validate(guess.map))),
            Text(examples),
            Text(because, style=colours[guess.confidence]),
        )
    known = [f"{theirs} is {ours}" for theirs, ours in draft.event_types.items()]
    unknown = [f"{theirs} is unknown" for theirs in draft.unknown_types]
    used = {name for guess in draft.guesses.values() for name in guess.theirs}
    unused = [column.name for column in draft.sample.columns if column.name not in used]
    notes = [*known, *unknown, *([f"not used: {', '.join(unused)}"] if unused else [])]
    table.caption = "; ".join(notes) or None
    return table


def _short(text: str) -> str:
    return text if len(text) <= EXAMPLE_CHARS else f"{text[: EXAMPLE_CHARS - 1]}…"


def _doubts(draft: Draft) -> Iterator[str]:
    """What a person should be asked, as clauses."""
    for clause in draft.missing():
        yield f"which column of {draft.name} is {clause}"
    for name, guess in draft.unsure():
        found = describe(ColumnMap.model_validate(guess.map))
        yield f"whether {name} of {draft.name} is {found}"
    for theirs in draft.unknown_types:
        yield f"what the event type {theirs!r} of {draft.name} means"


def _require(drafts: Sequence[Draft]) -> None:
    for draft in drafts:
        for clause in draft.missing():
            columns = ", ".join(column.name for column in draft.sample.columns)
            raise DataError(
                f"No column of {draft.name} looks like {clause} (found: {columns}). Without it "
                f"no row can be used as {draft.table}: add it, or name its column in vitrina.toml "
                "('vitrina init' writes the file)."
            )


def _ask(drafts: Sequence[Draft]) -> None:
    """Let the person at the terminal set right what is unsure."""
    # Events first: where they are the catalog too, an item is what it is for them.
    for draft in reversed(drafts):
        for events in drafts:
            if events is not draft and events.sample is draft.sample and events.table == "events":
                draft.guesses["item_id"] = _answered(events.guesses["item_id"].map)
        for clause, choice in zip(draft.missing(), _lacking(draft), strict=True):
            _ask_column(draft, choice[0], clause, None)
        for name, guess in list(draft.unsure()):
            _ask_column(draft, name, name, guess)
        if draft.table == "events":
            _ask_event_types(draft)
            _ask_zone(draft)


def _lacking(draft: Draft) -> list[Sequence[str]]:
    return [
        choice
        for choice in REQUIRED[draft.table]
        if not any(name in draft.guesses for name in choice)
    ]


def _ask_column(draft: Draft, ours: str, clause: str, guess: Guess | None) -> None:
    columns = [column.name for column in draft.sample.columns]
    if guess is not None and "value" in guess.map:
        answer = _prompt(
            f"{draft.name} does not say what happened in its rows. What did",
            [*DEFAULT_EVENT_WEIGHTS, *columns],
            str(guess.map["value"]),
        )
        if answer in DEFAULT_EVENT_WEIGHTS:
            draft.guesses[ours] = _answered({"value": answer})
            return
    else:
        default = guess.theirs[0] if guess is not None else NONE
        answer = _prompt(f"Which column of {draft.name} is {clause}", [*columns, NONE], default)
    if answer == NONE:
        draft.guesses.pop(ours, None)
    elif guess is None or answer not in guess.theirs:
        moment = describe_moment(ours, draft.sample.column(answer))
        draft.guesses[ours] = _answered(moment.map if moment else {"column": answer})
    if ours == "event_type":
        correct_event_types(draft)


def _ask_event_types(draft: Draft) -> None:
    choices = [*DEFAULT_EVENT_WEIGHTS, NONE]
    for theirs in list(draft.unknown_types):
        answer = _prompt(
            f"What is the event type {theirs!r} ({NONE}: none of these, kept with weight 0)",
            choices,
            NONE,
        )
        if answer != NONE:
            draft.unknown_types.remove(theirs)
            draft.event_types[theirs] = answer


def _ask_zone(draft: Draft) -> None:
    guess = draft.guesses.get("timestamp")
    if guess is None or not guess.note:
        return
    zones = available_timezones()
    while True:
        zone: str = typer.prompt(
            f"In which time zone are the moments of {draft.name} (UTC, Europe/Berlin, …)",
            default="UTC",
            err=True,
        )
        if zone in zones:
            break
        say(f"There is no time zone {zone!r}.", "yellow")
    written = dict(guess.map) | ({"zone": zone} if zone != "UTC" else {})
    draft.guesses["timestamp"] = _answered(written)


def _prompt(question: str, choices: Sequence[str], default: str) -> str:
    """An answer among `choices`; asked again until it is one."""
    say(f"  {', '.join(choices)}", "dim")
    while True:
        answer: str = typer.prompt(question, default=default, err=True).strip()
        if answer in choices:
            return answer
        say(f"{answer!r} is none of these.", "yellow")


def _answered(written: Any) -> Guess:
    return Guess(dict(written), "sure", "as you said")


def _source(draft: Draft, folder: Path) -> dict[str, Any]:
    """A draft as a table of vitrina.toml; what nobody has confirmed is marked."""
    source: dict[str, Any] = {"files": [_address(each, folder) for each in draft.addresses]}
    for key in ("header", "unnest", "encoding"):
        if (told := getattr(draft.sample, key)) is not None:
            source[key] = told
    source["columns"] = {
        name: Noted(_shortest(guess), _remark(guess)) for name, guess in draft.guesses.items()
    }
    source["event_types"] = dict(draft.event_types)
    return source


def _remark(guess: Guess) -> str:
    marks = [f"a guess: {guess.why}; please check"] if guess.confidence == "unsure" else []
    return "; ".join([*marks, *([guess.note] if guess.note else [])])


def _shortest(guess: Guess) -> Any:
    return guess.map["column"] if set(guess.map) == {"column"} else dict(guess.map)


def _address(given: str, folder: Path) -> str:
    """An address as vitrina.toml in `folder` should have it: relative to it where it is below."""
    if "://" in given:
        return given
    path, home = Path(given).absolute(), folder.absolute()
    return str(path.relative_to(home)) if path.is_relative_to(home) else str(path)
