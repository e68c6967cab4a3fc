"""A shop's folder for the command line, and two ways to run it: in this process, and as one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from vitrina.cli.app import app

ITEMS = """item_id,title,category_path,price,brand
soup,Tomato soup,Grocery > Soup,1.50,Acme
bread,Rye bread,Bakery > Bread,2.25,Mill
milk,[bold]Whole milk,Dairy > Milk,0.99,Farm
"""
EVENTS = """user_id,session_id,item_id,event_type,timestamp
ann,s1,soup,view,2024-05-01T10:00:00Z
ann,s1,soup,purchase,2024-05-01T10:05:00Z
ben,s2,bread,purchase,2024-05-02T11:00:00Z
,s3,milk,view,2024-05-02T12:00:00Z
ben,s2,cake,purchase,yesterday
"""
REGULARS = "".join(
    f"regular-{n},,soup,view,2024-05-{n:02}\nregular-{n},,milk,view,2024-05-{n + 1:02}\n"
    for n in range(1, 11)
)
"""Ten shoppers more, whom it takes to make a recommender: two events each, all usable."""


@dataclass(frozen=True)
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout, all of it, as JSON."""
        return json.loads(self.out)


@dataclass(frozen=True)
class Shop:
    """A folder with a vitrina.toml."""

    home: Path

    @property
    def config(self) -> Path:
        return self.home / "vitrina.toml"

    def run(self, *words: str) -> Result:
        """Run a command ("ingest", "lake report") in this process, with the shop's settings."""
        command, *arguments = words
        return run(*command.split(), "--config", str(self.config), *arguments)

    def start(self, *words: str, python: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        """Start a command in a process of its own, in the shop's folder."""
        return start(self.home, *words, python=python)


def run(*words: str) -> Result:
    """Run a command in this process."""
    result = CliRunner().invoke(app, list(words))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Result(result.exit_code, result.stdout, result.stderr)


def start(home: Path, *words: str, python: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start a command in a process of its own. python: options of the interpreter."""
    return subprocess.Popen(
        [sys.executable, *python, "-m", "vitrina", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=home,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def finish(process: subprocess.Popen[str]) -> Result:
    out, err = process.communicate(timeout=60)
    return Result(process.returncode, out, err)


def make_shop(home: Path, items: str = ITEMS, events: str = EVENTS + REGULARS) -> Shop:
    """A shop with two CSV files, not ingested yet."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "items.csv").write_text(items)
    (home / "events.csv").write_text(events)
    (home / "vitrina.toml").write_text(
        '[lake]\nitems = ["items.csv"]\nevents = ["events.csv"]\n\n'
        "[serve]\nport = 0\ndrain_seconds = 0\n"
    )
    return Shop(home)
