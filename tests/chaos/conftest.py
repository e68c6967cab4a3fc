"""The fault matrix: its short form with all tests, the whole of it with `make chaos`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from chaos.drill import COLUMNS, Drill, Fault, Shop, check, drill, is_whole
from served import serving, shop_settings
from vitrina.bundle.bundle import load_bundle
from vitrina.bundle.registry import Registry
from vitrina.online.app import create_app

ROWS = pytest.StashKey[list[list[str]]]()
SHORT_ROUNDS, WHOLE_ROUNDS = 6, 200
SHORT_DEADLINE_MS = 250
"""Budgets that a busy machine keeps; the whole matrix is run with the defaults."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--whole", action="store_true", help="the fault matrix at length")
    parser.addoption("--table", type=Path, help="file to write the fault matrix to")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = []


@pytest.fixture(scope="session")
def deadline_ms(pytestconfig: pytest.Config) -> float:
    """The deadline of drilled servers."""
    return 50.0 if is_whole(pytestconfig) else SHORT_DEADLINE_MS


@pytest.fixture
def run_drill(
    pytestconfig: pytest.Config, keep_row: Callable[[Drill], None]
) -> Callable[[Fault, Shop], Drill]:
    """Drill a shop, check what every fault promises, and keep the row for the table."""

    def run(fault: Fault, shop: Shop) -> Drill:
        seen = drill(fault, shop, WHOLE_ROUNDS if is_whole(pytestconfig) else SHORT_ROUNDS)
        keep_row(seen)
        check(seen)
        return seen

    return run


@pytest.fixture
def keep_row(pytestconfig: pytest.Config) -> Callable[[Drill], None]:
    """Keep what was seen of a fault for the table."""
    return lambda seen: pytestconfig.stash[ROWS].append(seen.row())


@pytest.fixture(scope="session")
def shop(
    tmp_path_factory: pytest.TempPathFactory, bundle_path: Path, deadline_ms: float
) -> Iterator[Shop]:
    """A shop served by a thread of this process, so that faults can be put into it."""
    with opened(tmp_path_factory.mktemp("drilled"), bundle_path, deadline_ms) as shop:
        yield shop


@pytest.fixture
def new_shop(tmp_path: Path, bundle_path: Path, deadline_ms: float) -> Iterator[Shop]:
    """Another one, that nothing has happened to."""
    with opened(tmp_path, bundle_path, deadline_ms) as shop:
        yield shop


@contextmanager
def opened(home: Path, bundle_path: Path, deadline_ms: float) -> Iterator[Shop]:
    settings = shop_settings(home, deadline_ms=deadline_ms)
    registry = Registry(settings.paths.bundles)
    version = registry.publish(bundle_path, metrics={})
    registry.promote(version)
    with serving(create_app(settings)) as client:
        yield Shop(client, load_bundle(registry.path(version)))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    rows = config.stash[ROWS]
    if not rows:
        return
    lines = [COLUMNS, ["---"] * len(COLUMNS), *rows]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    terminalreporter.section("faults")
    terminalreporter.write(table)
    if path := config.getoption("--table", default=None):
        path.write_text(table, encoding="utf-8")
