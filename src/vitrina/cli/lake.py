"""Commands that look at the lake's tables: `vitrina lake …`."""

from __future__ import annotations

import webbrowser
from typing import Annotated, Final

import typer

from vitrina.cli import stages, tables
from vitrina.cli.console import Config, Json, say, settings_of, show

commands: Final = typer.Typer(
    no_args_is_help=True, context_settings={"help_option_names": ["--help", "-h"]}
)


@commands.callback()
def lake() -> None:
    """Look at the tables that an ingest has made: their quality.

    Reads `paths.lake`.

    Example:

        vitrina lake report
    """


@commands.command()
def report(
    open_: Annotated[bool, typer.Option("--open", help="Show the page in the browser.")] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make the page that shows the quality of the lake's data, and say what to look at first.

    Reads the figures that the last ingest left beside the tables in `paths.lake`, and writes
    `report.html` there: one file that needs no network. `--json` prints the figures.

    Example:

        vitrina lake report --open
    """
    page, figures = stages.make_report(settings_of(config))
    show(figures, as_json, tables.remarks(figures))
    say(f"The report is at {page}")
    if open_ and not webbrowser.open(page.as_uri()):
        say("There is no browser here: open that file in one.", "yellow")
