"""Commands that look at the lake's tables: `vitrina lake …`."""

from __future__ import annotations

import webbrowser
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final

import typer

from vitrina.cli import stages, tables
from vitrina.cli.console import Config, Json, reporting, say, settings_of, show

IDENTICAL: Final = "identical"

Folder = typer.Argument(
    exists=True, file_okay=False, help="A lake, or a folder of one set of its tables."
)

commands: Final = typer.Typer(
    no_args_is_help=True, context_settings={"help_option_names": ["--help", "-h"]}
)


@commands.callback()
def lake() -> None:
    """Look after the tables: their quality, how two lakes differ, what the server has stored.

    Reads `paths.lake`, or the lakes that are named.

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


@commands.command()
def compact(config: Config = None, as_json: Json = False) -> None:
    """Bring the events that the server has stored into the lake's tables, each exactly once.

    Reads the event log in `paths.state`, while servers write to it, and writes `paths.lake`: first
    the new events as files in the folder `log`, then the tables. Events that the tables hold leave
    the log after seven days; the shoppers' histories keep them. Run it as often as training should
    learn of what shoppers did. Stopped at any moment, it goes on where it was.

    Example:

        vitrina lake compact && vitrina train
    """
    done = stages.compact_log(settings_of(config))
    content = {
        "landed": done.landed,
        "watermark": done.watermark,
        "trimmed": done.trimmed,
        "ingest": done.ingest and done.ingest.to_json(),
    }
    shown = tables.ingest_report(done.ingest) if done.ingest else []
    show(content, as_json, *shown)
    say(f"{done.landed:,} new events came into the lake; {done.trimmed:,} old ones left the log.")


@commands.command()
def drift(
    a: Annotated[Path, Folder],
    b: Annotated[Path, Folder],
    html: Annotated[
        Path | None, typer.Option(help="Write a page about it, too.", dir_okay=False)
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say what has changed in the data from one set of tables, A, to another, B.

    Table by table: rows, items and shoppers that came and went, how far each column's
    distribution has moved (its population stability index: stable below 0.1, shifted above 0.25),
    prices and missing values. Whatever has changed, the exit code is 0.

    Reads the current tables of both lakes and changes nothing.

    Example:

        vitrina lake drift backup/lake data/lake --html drift.html
    """
    from vitrina.lake.quality.page import drift_page
    from vitrina.lake.quality.report import write_page

    found = stages.find_drift(settings_of(config), a, b)
    if html is not None:
        write_page(html, drift_page(found))
    show(found, as_json, *tables.lake_drift(found))


@commands.command()
def diff(
    a: Annotated[Path, Folder],
    b: Annotated[Path, Folder],
    as_json: Json = False,
) -> None:
    """Compare two lakes, table by table, row by row.

    Prints `identical` when every table has the same columns and the same rows, in whatever order
    and files; else what differs, with a few of the rows, and the exit code is 1.

    Reads the current tables of both lakes and changes nothing.

    Example:

        vitrina lake diff data/lake-duckdb data/lake-spark
    """
    from vitrina.lake.diff import diff_lakes

    with reporting("Comparing") as report:
        found = diff_lakes(a, b, progress=lambda table: report(None, table))
    same = all(table.identical for table in found)
    content = {"identical": same, "tables": [asdict(table) for table in found]}
    if same:
        show(content, as_json, IDENTICAL)
        say(", ".join(f"{table.rows[0] or 0:,} {table.table}" for table in found))
        return
    show(content, as_json, *tables.lake_diff(found))
    raise typer.Exit(1)
