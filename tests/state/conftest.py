"""Every implementation of the state, empty."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from stores import PostgresServer, RedisServer, postgres_server, redis_server
from vitrina.settings import PathSettings, ServeSettings, Settings, StateSettings
from vitrina.state.base import State
from vitrina.state.opening import open_state

STORES = ("sqlite", "postgres", "postgres and redis")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="session")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(params=STORES)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings that ask for one of the stores."""
    shared = StateSettings()
    if request.param != "sqlite":
        log = request.getfixturevalue("postgres").emptied()
        redis = None
        if request.param == "postgres and redis":
            redis = request.getfixturevalue("redis").address
        shared = StateSettings(log=log, redis=redis)
    return Settings(
        paths=PathSettings(state=tmp_path / "state.sqlite"),
        state=shared,
        serve=ServeSettings(deadline_ms=20_000),
    )


@pytest.fixture
def opened(settings: Settings) -> Iterator[Callable[[], State]]:
    """Opens the store once more, as another process would."""
    states: list[State] = []

    def again() -> State:
        states.append(open_state(settings))
        return states[-1]

    yield again
    for state in states:
        state.close()


@pytest.fixture
def state(opened: Callable[[], State]) -> State:
    return opened()
