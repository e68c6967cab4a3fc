"""All commands in one place, and what happens to their errors."""

from __future__ import annotations

import atexit
import os
import sys
from typing import Annotated, Any, Final

import typer
from typer.core import TyperGroup

import vitrina
from vitrina.cli import datasets, demo, index, installation, keys, lake, offline, online, releases
from vitrina.cli.console import say, say_error
from vitrina.errors import MissingExtra, UnfitData, VitrinaError

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells have it."""

UNFIT: Final = 2
"""Exit code when the data was read and cannot make a recommender."""


class Commands(TyperGroup):
    """The group of all commands. What is meant for people ends in a sentence, not a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except UnfitData as error:
            say_error(str(error))
            raise typer.Exit(UNFIT) from None
        except VitrinaError as error:
            say_error(str(error))
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            extra = installation.EXTRA_OF_MODULE.get(package)
            if extra is None:
                raise
            say_error(str(MissingExtra(package, extra)))
        except BrokenPipeError:
            raise  # the reader of our output has gone: nobody is left to be told
        except OSError as error:
            where = f"{error.filename}: " if error.filename else ""
            say_error(f"{where}{error.strerror or error}. Check the path, its rights and the disk.")
        except KeyboardInterrupt:
            say("Stopped. Nothing was left half-written; the same command starts it again.")
            raise typer.Exit(INTERRUPTED) from None
        raise typer.Exit(1)


app = typer.Typer(
    name="vitrina",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"vitrina {vitrina.__version__}")
        raise typer.Exit


@app.callback()
def vitrina_(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print it, exit."),
    ] = False,
) -> None:
    """A relevance engine for shops: catalog and click stream in, recommendations out.

    New here? **vitrina demo** turns a year of real purchases into a page of recommendations.
    For your own shop: init, ingest, train, index, evaluate, publish, promote, serve.
    """


START: Final = "Start"
OFFLINE: Final = "Make a bundle"
RELEASES: Final = "Release it"
ONLINE: Final = "Use it"

app.command(rich_help_panel=START)(demo.demo)
app.command(rich_help_panel=START)(installation.init)
app.command(rich_help_panel=START)(installation.doctor)
app.add_typer(datasets.datasets, name="datasets", rich_help_panel=START)
app.command(rich_help_panel=OFFLINE)(offline.ingest)
app.command(rich_help_panel=OFFLINE)(offline.train)
app.command(rich_help_panel=OFFLINE)(offline.tune)
app.add_typer(index.commands, name="index", rich_help_panel=OFFLINE)
app.command(rich_help_panel=OFFLINE)(offline.evaluate)
app.command(rich_help_panel=OFFLINE)(offline.audit)
app.add_typer(lake.commands, name="lake", rich_help_panel=OFFLINE)
app.command(rich_help_panel=RELEASES)(releases.publish)
app.command(rich_help_panel=RELEASES)(releases.promote)
app.command(rich_help_panel=RELEASES)(releases.rollback)
app.command(rich_help_panel=RELEASES)(releases.shadow)
app.command(rich_help_panel=RELEASES)(releases.bundles)
app.command(rich_help_panel=ONLINE)(online.serve)
app.command(rich_help_panel=ONLINE)(online.recommend)
app.command(rich_help_panel=ONLINE)(online.similar)
app.add_typer(keys.commands, name="keys", rich_help_panel=ONLINE)


def main() -> None:
    """Run the command line; the console script."""
    atexit.register(_mute_false_leaks)  # the first to be registered is the last to run
    app(prog_name="vitrina")


def _mute_false_leaks() -> None:
    """Close stderr for the interpreter's last moments if PyTorch and DuckDB are both loaded.

    PyTorch keeps modules alive beyond the end, and DuckDB's binding (nanobind) then reports its
    own types as leaks, in 40 lines. They are none, and no other switch turns the report off.
    """
    if {"torch", "duckdb"} <= sys.modules.keys():
        sys.stderr.flush()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
