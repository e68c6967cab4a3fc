"""Both engines, for every test of the lake."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from vitrina.lake.engine import Engine, open_engine
from vitrina.settings import LakeSettings, PathSettings, Settings, SparkSettings


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Spark on this machine, two threads and several partitions; started once for all tests.

    Whatever opens a Spark engine while this one is open shares its session.
    """
    settings = Settings(
        paths=PathSettings(lake=tmp_path_factory.mktemp("spark")),
        lake=LakeSettings(engine="spark", memory_gb=1),
        spark=SparkSettings(master="local[2]"),
    )
    with open_engine(settings) as engine:
        session = engine.from_columns({"n": [1]}).to_native().sparkSession
        session.conf.set("spark.sql.shuffle.partitions", "3")
        yield engine


@pytest.fixture(params=["duckdb", "spark"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Each engine in turn."""
    if request.param == "spark":
        yield request.getfixturevalue("spark")
        return
    with open_engine(Settings(paths=PathSettings(lake=tmp_path))) as duckdb:
        yield duckdb
