"""The demo: from a year of real purchases to a page of recommendations, in one command."""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from vitrina.cli import stages
from vitrina.cli.console import Json, say, show, stderr
from vitrina.errors import SettingsError

if TYPE_CHECKING:
    from vitrina.cli.journal import Entry, Stage
    from vitrina.settings import Settings

FOLDER: Final = Path("vitrina-demo")
SMOKE_SUFFIX: Final = "-smoke"
MADE: Final = ("data", "input", "vitrina.toml", "demo.json")
"""What the demo makes in its folder; the journal is the last to be removed."""


def demo(
    smoke: Annotated[
        bool,
        typer.Option("--smoke", help="A slice of the data; asks a server once, then exits."),
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Forget what earlier runs of the demo have made.")
    ] = False,
    serve: Annotated[
        bool, typer.Option("--serve/--no-serve", help="Serve the page at the end.")
    ] = True,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port; 0 picks a free one.", show_default="serve.port"),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--dir", help="Where everything goes.", file_okay=False)
    ] = FOLDER,
    as_json: Json = False,
) -> None:
    """See it work: a year of a real shop's purchases becomes a page that reacts to clicks.

    Reads the data set Complete Journey (the extra `demo`): 1.4 million purchases of 2,469
    households. Writes its files, settings, lake, towers, bundle and histories to `--dir` (a smoke
    run to the folder of that name and `-smoke`), nothing elsewhere. Then serves the page, unless
    `--json` asks for figures only.

    Stages whose inputs are as they were are not done again: after Ctrl-C, the same command picks
    up. Edit the folder's vitrina.toml to try other settings.

    Example:

        vitrina demo --smoke
    """
    from vitrina.cli.demo_stages import demo_stages
    from vitrina.cli.journal import Journal
    from vitrina.cli.smoke import ask

    home = folder.with_name(folder.name + SMOKE_SUFFIX) if smoke else folder
    journal = Journal(home)  # refuses a folder that is not the demo's, before anything is removed
    if fresh:
        _forget(home)
        journal = Journal(home)
    settings = _settings(home, smoke)
    serves = serve and not smoke and not as_json
    if serves:
        _require_port(settings, port)
    done: dict[str, Entry] = {}
    try:
        for stage in demo_stages(home, settings, smoke):
            entry = journal.complete(stage, list(done.values()), _timed)
            done[stage.name] = entry
            mark = "·" if entry.kept else "✓"
            when = "as before" if entry.kept else stages.minutes(entry.seconds)
            say(f"{mark} {stage.name:<10} {stage.tell(entry.outcome)} ({when})")
        answer = ask(home / "vitrina.toml") if smoke else None
    except KeyboardInterrupt:
        say(f"Stopped. 'vitrina demo{' --smoke' if smoke else ''}' picks up where it was.")
        raise typer.Exit(130) from None
    content = {
        "folder": home,
        "bundle": done["publish"].outcome["version"],
        "seconds": {name: entry.seconds for name, entry in done.items()},
        "evaluation": stages.read_evaluation(settings),
        "answer": answer,
    }
    page = ""
    if serves:
        page = f"http://{settings.serve.host}:{settings.serve.port if port is None else port}/"
    show(content, as_json, _panel(content, done, home, page))
    if serves:
        _serve(home, port)


def _settings(home: Path, smoke: bool) -> Settings:
    """The demo's settings, from its own file, which is written if it is not there."""
    from vitrina.bundle.files import replace_file
    from vitrina.cli.demo_stages import demo_values
    from vitrina.cli.settings_file import settings_toml
    from vitrina.settings import load_settings

    file = home / "vitrina.toml"
    if not file.exists():
        replace_file(file, settings_toml(demo_values(smoke)).encode())
    try:
        return load_settings(file)
    except SettingsError as error:
        raise SettingsError(f"{error} 'vitrina demo --fresh' writes the file anew.") from error


def _forget(home: Path) -> None:
    for name in MADE:
        path = home / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _timed(stage: Stage) -> tuple[float, dict[str, Any]]:
    start = time.perf_counter()
    outcome = stage.run()
    return time.perf_counter() - start, outcome


def _require_port(settings: Settings, port: int | None) -> None:
    """Say that the port is taken now, and not after minutes of work."""
    from vitrina.cli.doctor import port_problem

    host, wanted = settings.serve.host, settings.serve.port if port is None else port
    if problem := port_problem(host, wanted):
        raise SettingsError(
            f"The page cannot be served at {host}:{wanted} ({problem}). End the server that runs "
            f"there, or take a free port: vitrina demo --port 0."
        )


def _panel(
    content: Mapping[str, Any], done: Mapping[str, Entry], home: Path, page: str
) -> RenderableType:
    """What came out, how long it took, and where to go from here. page: empty if not served."""
    from vitrina.evaluation.report import tables

    seconds = Table(title="Time", title_justify="left", title_style="bold", box=None)
    seconds.add_column("stage")
    seconds.add_column("took", justify="right")
    for name, entry in done.items():
        kept = " (an earlier run)" if entry.kept else ""
        seconds.add_row(name, Text(stages.minutes(entry.seconds) + kept))
    seconds.add_row("in all", stages.minutes(sum(entry.seconds for entry in done.values())))
    evaluation = content["evaluation"]
    smoke = content["answer"] is not None  # which learns too little for any claim
    parts: list[RenderableType] = [tables(evaluation, claims=not smoke), ""]
    parts += [seconds, ""]
    parts += [Text(f"Gate failed: {line}", "yellow") for line in evaluation["failed_gates"]]
    if answer := content["answer"]:
        parts.append(
            Text(
                f"A server was ready in {answer['ready_seconds']:.1f} s. Shopper "
                f"{answer['shopper']} viewed {answer['viewed']}, and {answer['changed']} of the "
                f"next {len(answer['after'])} discoveries were not there before."
            )
        )
    again = f"vitrina serve --config {home / 'vitrina.toml'}"
    if page.endswith(":0/"):
        parts.append(Text("The page's address comes next: its port is whichever is free."))
    elif page:
        parts.append(Text.assemble("The page: ", (page, "bold"), f"   (another time: {again})"))
    else:
        parts.append(Text(f"Serve the page: {again}"))
    return Panel(Group(*parts), title="Vitrina", title_align="left")


def _serve(home: Path, port: int | None) -> None:
    """Become the server: a process of its own has no training stack in memory."""
    command = [sys.executable, "-m", "vitrina", "serve", "--config", str(home / "vitrina.toml")]
    if port is not None:
        command += ["--port", str(port)]
    sys.stdout.flush()
    stderr.file.flush()
    os.execv(sys.executable, command)  # noqa: S606
