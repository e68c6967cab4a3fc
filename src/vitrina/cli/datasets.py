"""Commands about public data sets: what there is, is a copy complete, settings that read it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.text import Text

from vitrina.cli.console import Config, Json, reporting, say, show, stdout

if TYPE_CHECKING:
    from vitrina.lake.datasets.base import Dataset

PREPARED: Final = Path("data/prepared")
"""Where `init` puts tables it had to prepare, beside the settings file."""

Name = Annotated[str, typer.Argument(help="A name that `vitrina datasets` lists.")]

datasets = typer.Typer(context_settings={"help_option_names": ["--help", "-h"]})


@datasets.callback(invoke_without_command=True)
def list_(context: typer.Context, as_json: Json = False) -> None:
    """List the public data sets that have a ready mapping, and where to get them.

    Looks at nothing outside the installation: each set is downloaded by hand, under its own
    terms. `show` says how one is read, `check` looks at a copy, `init` writes settings for it.

    Example:

        vitrina datasets
    """
    if context.invoked_subcommand is not None:
        return
    from vitrina.lake.datasets.registry import DATASETS

    if as_json:
        show([_facts(dataset) for dataset in DATASETS.values()], True)
        return
    for dataset in DATASETS.values():
        _print_entry(dataset)


@datasets.command(name="show")
def show_(name: Name, as_json: Json = False) -> None:
    """Say what a data set is and how it is read: files, terms, decisions of the mapping.

    Looks at nothing outside the installation.

    Example:

        vitrina datasets show retailrocket
    """
    from vitrina.lake.datasets.base import shown_name
    from vitrina.lake.datasets.registry import dataset_named

    dataset = dataset_named(name)
    if as_json:
        show(_facts(dataset), True)
        return
    _print_entry(dataset)
    for file in dataset.files:
        stdout.print(Text(f"    file  {shown_name(file)}"), soft_wrap=True)
    for decision in dataset.decisions:
        stdout.print(Text(f"    – {decision}"), soft_wrap=True)


@datasets.command()
def check(
    name: Name,
    folder: Annotated[Path, typer.Argument(help="The unpacked download, or one of its files.")],
    as_json: Json = False,
) -> None:
    """Look at a downloaded copy: are its files there, in the expected form, and whole?

    Reads each file's first line, and counts rows where their number is published. The exit code
    is 1 if something is missing or wrong. Writes nothing.

    Example:

        vitrina datasets check movielens-1m ml-1m
    """
    from vitrina.lake.datasets.check import check as look_at
    from vitrina.lake.datasets.registry import dataset_named

    dataset = dataset_named(name)
    findings = []
    with reporting("Checking") as report:
        for finding in look_at(dataset, folder):
            report(None, finding.file)
            findings.append(finding)
    if as_json:
        show(findings, True)
    for finding in [] if as_json else findings:
        mark = ("✓", "green") if finding.ok else ("✗", "bold red")
        line = Text.assemble(mark, " ", (finding.file, "bold"), " ", finding.sentence)
        stdout.print(line, soft_wrap=True)
    if not dataset.files:
        say(f"{dataset.title} has no files of its own: it is {dataset.size}.")
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


@datasets.command()
def init(
    name: Name,
    folder: Annotated[
        Path | None, typer.Argument(help="The unpacked download, or one of its files.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    config: Config = None,
) -> None:
    """Write settings with which `vitrina ingest` reads a downloaded data set.

    Reads the files in FOLDER (complete-journey needs none, it comes with a package). Writes
    vitrina.toml in this folder, or the file that `--config` names, and beside it, in
    data/prepared, the tables of data sets whose files no mapping of columns can describe.

    Example:

        vitrina datasets init movielens-1m ml-1m && vitrina ingest
    """
    from vitrina.cli.settings_file import settings_toml, write_settings_file
    from vitrina.lake.datasets.registry import dataset_named
    from vitrina.lake.datasets.set_up import set_up
    from vitrina.settings import SETTINGS_FILE

    dataset = dataset_named(name)
    file = config or Path(SETTINGS_FILE)

    def text() -> str:
        home = file.resolve().parent
        with reporting("Preparing") as report:
            report(None, dataset.title)
            values = set_up(dataset, folder, home / PREPARED)
        for source in (*values["lake"]["items"], *values["lake"]["events"]):
            source["files"] = [_from(home, address) for address in source["files"]]
        return settings_toml(values)

    write_settings_file(file, text, force=force)
    for decision in dataset.decisions:
        say(f"– {decision}")
    say(f"Wrote {file}. Run 'vitrina ingest' to read {dataset.title}.")


def _from(home: Path, address: str) -> str:
    """An address as the settings file has it: relative if it lies below the file's folder."""
    path = Path(address)
    return str(path.relative_to(home) if path.is_relative_to(home) else path)


def _print_entry(dataset: Dataset) -> None:
    counts = " · ".join(
        f"{_short(number)} {noun}"
        for number, noun in (
            (dataset.events, "events"),
            (dataset.items, "items"),
            (dataset.users, "users"),
        )
        if number is not None
    )
    title = Text.assemble((dataset.name, "bold"), f"  {dataset.title}: {dataset.about}")
    stdout.print(title, soft_wrap=True)
    if counts:
        stdout.print(Text(f"    {counts}"), soft_wrap=True)
    for line in (dataset.size, dataset.terms, dataset.address):
        stdout.print(Text(f"    {line}", style="dim"), soft_wrap=True)


def _facts(dataset: Dataset) -> dict[str, Any]:
    return {
        name: getattr(dataset, name)
        for name in (
            "name",
            "title",
            "about",
            "events",
            "items",
            "users",
            "size",
            "terms",
            "address",
            "decisions",
        )
    } | {"files": [asdict(file) for file in dataset.files]}


def _short(number: int) -> str:
    """A count to read: 2.76 million, 417,053."""
    return f"{number / 1e6:,.4g} million" if number >= 1_000_000 else f"{number:,}"
