"""The command line as a process: what starts fast, what Ctrl-C leaves, what errors look like."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cli.cli_shop import EVENTS, Shop, finish, make_shop, start
from vitrina.lake.tables import current_tables

HEAVY = ("numpy", "torch", "duckdb", "pyarrow", "fastapi", "faiss", "onnxruntime", "pydantic")


def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    result = finish(start(tmp_path, "--help", python=("-X", "importtime")))
    assert result.code == 0
    imported = {line.rpartition("|")[2].strip() for line in result.err.splitlines()}
    assert not imported & set(HEAVY)


def test_an_unknown_command_is_a_usage_error(tmp_path: Path) -> None:
    result = finish(start(tmp_path, "recomend"))
    assert result.code == 2
    assert "recommend" in result.err, "the nearest command is named"


def test_an_error_is_a_sentence_on_stderr(shop: Shop) -> None:
    result = finish(shop.start("recommend", "--json"))
    assert result.code == 1
    assert result.out == ""
    assert result.err.startswith("Error: No bundle in ")
    assert len(result.err.splitlines()) == 1


WITHOUT_DUCKDB = """
import sys
sys.modules["duckdb"] = None
from vitrina.cli import main
main()
"""


def test_a_missing_package_names_its_extra(shop: Shop) -> None:
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_DUCKDB, "ingest", "--config", str(shop.config)],
        capture_output=True,
        text=True,
    )
    assert result.returncode == 1
    assert "pip install 'vitrina[train]'" in result.stderr
    assert "Traceback" not in result.stderr


def test_ctrl_c_leaves_the_lake_as_it_was(shop: Shop) -> None:
    assert shop.run("ingest").code == 0
    lake = shop.home / "data/lake"
    before = current_tables(lake)
    lines = EVENTS.splitlines(keepends=True)
    make_shop(shop.home, events=lines[0] + "".join(lines[1:4]) * 700_000)
    process = shop.start("ingest")
    while not list(lake.glob(".tables-*")):
        assert process.poll() is None, "it ended before it could be stopped"
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    result = finish(process)
    assert result.code == 130
    assert "Stopped. Nothing was left half-written" in result.err
    assert "Traceback" not in result.err
    assert current_tables(lake) == before
    assert list(lake.glob("*tables-*")) == [before]


@pytest.mark.parametrize("words", [("--version",), ("bundles", "--json"), ("init", "--print")])
def test_results_alone_are_on_stdout(shop: Shop, words: tuple[str, ...]) -> None:
    result = finish(shop.start(*words))
    assert (result.code, result.err) == (0, "")
    assert result.out
