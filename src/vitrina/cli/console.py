"""What all commands share: results on stdout, everything else on stderr, two common options."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Console, RenderableType
from rich.text import Text

if TYPE_CHECKING:
    from vitrina.settings import Settings

stdout = Console(highlight=False)
stderr = Console(stderr=True, highlight=False)

FILE_WIDTH: Final = 150
LINE_SECONDS: Final = 10.0
"""Time between two lines of progress where there is no terminal to draw a bar on."""

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", "-c", help="The settings file.", show_default="vitrina.toml", dir_okay=False
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]

Report = Callable[[float | None, str], None]
"""Told the share of the work that is done (None: unknown) and what is being done."""


def settings_of(config: Path | None) -> Settings:
    """The settings of this run. Raises SettingsError."""
    from vitrina.settings import load_settings

    return load_settings(config)


def say(text: str, style: str = "") -> None:
    """A line for people, on stderr, printed as it stands."""
    stderr.print(Text(text, style=style), soft_wrap=True)


def say_error(text: str) -> None:
    """An error's sentence, on stderr."""
    stderr.print(Text.assemble(("Error: ", "bold red"), text), soft_wrap=True)


def show(value: Any, as_json: bool, *tables: RenderableType) -> None:
    """A command's result: its value as JSON, or its tables."""
    if as_json:
        print_json(value)
    else:
        _print(stdout, tables)


def tell(*tables: RenderableType) -> None:
    """Tables that are no result, on stderr."""
    _print(stderr, tables)


def _print(console: Console, tables: Iterable[RenderableType]) -> None:
    # A file or a pipe has no width that a table would have to be squeezed into.
    fits = console.is_terminal or "COLUMNS" in os.environ
    for table in tables:
        console.print(table, width=None if fits else FILE_WIDTH)


def print_json(value: Any) -> None:
    """Dataclasses, datetimes, paths and NumPy values included."""
    import orjson

    options = orjson.OPT_INDENT_2 | orjson.OPT_SERIALIZE_NUMPY
    sys.stdout.write(orjson.dumps(value, default=str, option=options).decode() + "\n")
    sys.stdout.flush()


@contextmanager
def reporting(title: str) -> Iterator[Report]:
    """Show the progress of the block on stderr: a bar, or now and then a line.

    What libraries print meanwhile goes to stderr too: stdout is for results.
    """
    with _bar(title) if stderr.is_terminal else _lines(title) as report:
        report(None, "")
        with redirect_stdout(sys.stderr):
            yield report


@contextmanager
def _bar(title: str) -> Iterator[Report]:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TimeElapsedColumn(),
        TextColumn("{task.fields[note]}", style="dim", markup=False),
    )
    with Progress(*columns, console=stderr, transient=True) as progress:
        task = progress.add_task(title, total=None, note="")

        def report(share: float | None, note: str) -> None:
            total = None if share is None else 1.0
            progress.update(task, total=total, completed=share or 0.0, note=note)

        yield report


@contextmanager
def _lines(title: str) -> Iterator[Report]:
    last = -LINE_SECONDS

    def report(share: float | None, note: str) -> None:
        nonlocal last
        if time.monotonic() - last >= LINE_SECONDS:
            last = time.monotonic()
            percent = "" if share is None else f" {share:4.0%}"
            say(f"{title}{percent} {note}".rstrip())

    yield report
