"""Spark with executors of their own: one is killed, one is behind Spark Connect."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import duckdb
import pyspark
import pytest

from cli.cli_shop import run, start
from lake.lake_shop import EVENTS_CSV, ITEMS_CSV, ingest_texts, rows, write
from vitrina.lake.engine.java import java_home
from vitrina.lake.tables import current_tables

MANY = 20_000
SERVER = "org.apache.spark.sql.connect.service.SparkConnectServer"
INGEST = """
import sys
from pathlib import Path
from vitrina.errors import VitrinaError
from vitrina.lake.ingest import ingest
from vitrina.settings import LakeSettings, PathSettings, Settings, SparkSettings

lake, items, events, master = sys.argv[1:]
settings = Settings(
    paths=PathSettings(lake=Path(lake)),
    lake=LakeSettings(engine="spark", items=[items], events=[events], memory_gb=1),
    spark=SparkSettings(master=master),
)
try:
    ingest(settings, progress=lambda stage: print(stage, flush=True))
except VitrinaError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def many_events(folder: Path) -> str:
    path = folder / "many.parquet"
    duckdb.sql(
        "SELECT 'u' || range % 1000 AS user_id, 'view' AS event_type, "
        "['soup', 'bread', 'milk'][range % 3 + 1] AS item_id, "
        f"TIMESTAMP '2024-05-01' + to_seconds(range * 7) AS timestamp FROM range({MANY})"
    ).write_parquet(str(path))
    return str(path)


def start_ingest(folder: Path, master: str) -> subprocess.Popen[str]:
    write(folder / "spark-defaults.conf", "spark.sql.shuffle.partitions 3\n")
    return subprocess.Popen(
        [
            *(sys.executable, "-c", INGEST, str(folder / "lake")),
            *(str(folder / "items.csv"), many_events(folder), master),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ
        | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "SPARK_CONF_DIR": str(folder)},
    )


def wait_for_stage(process: subprocess.Popen[str], stage: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == stage:
            return
    raise AssertionError(process.communicate()[1])


def descendants_running(process: subprocess.Popen[str], name: str) -> list[int]:
    """The processes below this one whose command line has `name`."""
    parents, found = {}, []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it may end while it is looked at
            status = entry.joinpath("stat").read_text().rpartition(")")[2].split()
            parents[int(entry.name)] = int(status[1])
            if name.encode() in entry.joinpath("cmdline").read_bytes():
                found.append(int(entry.name))

    def belongs(pid: int) -> bool:
        return pid == process.pid or (pid in parents and belongs(parents[pid]))

    return [pid for pid in found if belongs(pid)]


@pytest.mark.slow
def test_a_killed_executor_costs_no_row(tmp_path: Path) -> None:
    write(tmp_path / "items.csv", ITEMS_CSV)
    process = start_ingest(tmp_path, "local-cluster[2,1,1024]")
    wait_for_stage(process, "check events")
    deadline = time.monotonic() + 60
    while not (executors := descendants_running(process, "CoarseGrainedExecutorBackend")):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(executors[0], signal.SIGKILL)
    _, error = process.communicate(timeout=240)
    assert process.returncode == 0, error
    assert len(rows(tmp_path, "events")) == MANY


@pytest.mark.slow
def test_a_spark_that_dies_leaves_the_last_tables(tmp_path: Path) -> None:
    ingest_texts(tmp_path)
    before, tables = rows(tmp_path, "events"), current_tables(tmp_path / "lake")
    process = start_ingest(tmp_path, "local[2]")
    wait_for_stage(process, "check events")
    for pid in descendants_running(process, "SparkSubmit"):
        os.kill(pid, signal.SIGKILL)
    error = process.communicate(timeout=240)[1].splitlines()[-1]
    assert process.returncode == 1
    assert error.startswith("EngineError: Spark could not finish: ")
    assert current_tables(tmp_path / "lake") == tables
    assert rows(tmp_path, "events") == before
    assert not [path for path in (tmp_path / "lake").glob(".*") if path.is_dir()]


@pytest.fixture(scope="module")
def connect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a Spark Connect server: a process of its own, as a cluster would have it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    submit = Path(pyspark.__file__).parent / "bin" / "spark-submit"
    settings = {
        "spark.connect.grpc.binding.port": port,
        "spark.driver.host": "127.0.0.1",
        "spark.driver.memory": "1g",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": 3,
        "spark.sql.warehouse.dir": tmp_path_factory.mktemp("warehouse"),
    }
    server = subprocess.Popen(
        [
            *(submit, "--master", "local[2]"),
            *(word for name, value in settings.items() for word in ("--conf", f"{name}={value}")),
            *("--class", SERVER, "spark-internal"),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"JAVA_HOME": str(java_home()), "PYSPARK_PYTHON": sys.executable},
    )
    try:
        deadline = time.monotonic() + 120
        while not _listens(port):
            assert server.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
        yield f"sc://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@pytest.mark.slow
def test_a_lake_made_behind_spark_connect_is_the_same(
    tmp_path: Path, connect: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = write(tmp_path / "items.csv", ITEMS_CSV + "jam,Jam,,-1,\n")
    events = [write(tmp_path / "events.csv", EVENTS_CSV + "ann,cake,view,2024-05-03,\n")]
    events.append(many_events(tmp_path))
    write(tmp_path / "vitrina.toml", f"[lake]\nitems = [{items!r}]\nevents = {events!r}\n")
    monkeypatch.setenv("VITRINA_SPARK__REMOTE", connect)
    for engine in ("duckdb", "spark"):
        monkeypatch.setenv("VITRINA_PATHS__LAKE", engine)
        process = start(tmp_path, "ingest", "--engine", engine, "--no-histories")
        _, error = process.communicate(timeout=280)
        assert process.returncode == 0, error
    assert (
        run("lake", "diff", str(tmp_path / "duckdb"), str(tmp_path / "spark")).out == "identical\n"
    )


def test_a_server_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINA_SPARK__REMOTE", "sc://127.0.0.1:1")
    write(tmp_path / "vitrina.toml", "[lake]\nitems = ['i.csv']\nevents = ['e.csv']\n")
    process = start(tmp_path, "ingest", "--engine", "spark", "--no-histories")
    _, error = process.communicate(timeout=280)
    assert process.returncode == 1
    assert "Error: Spark did not start (sc://127.0.0.1:1)" in error
