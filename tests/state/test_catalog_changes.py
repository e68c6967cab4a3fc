"""Changes to the catalog: kept for good, in order, and seen by everybody who has the store open."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vitrina.errors import DataError, StateError
from vitrina.settings import PathSettings, Settings, StateSettings
from vitrina.state.catalog_changes import CatalogChanges, SqliteCatalogChanges
from vitrina.state.opening import open_catalog_changes

Opened = Callable[[], CatalogChanges]


@pytest.fixture(params=["sqlite", "postgres"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Opens the changes once more, as another process would."""
    shared = StateSettings()
    if request.param == "postgres":
        shared = StateSettings(log=request.getfixturevalue("postgres").emptied())
    settings = Settings(paths=PathSettings(catalog=tmp_path / "catalog.sqlite"), state=shared)
    all_of_them: list[CatalogChanges] = []

    def again() -> CatalogChanges:
        all_of_them.append(open_catalog_changes(settings))
        return all_of_them[-1]

    yield again
    for changes in all_of_them:
        changes.close()


@pytest.fixture
def changes(opened: Opened) -> CatalogChanges:
    return opened()


def test_what_is_set_is_laid_over_what_was_set_before(changes: CatalogChanges) -> None:
    changes.put([{"item_id": "a", "price": 1.0, "title": "An A"}])
    changes.put([{"item_id": "a", "price": 2.0}, {"item_id": "b", "brand": None}])
    a, b = changes.after(0)
    assert a.since(0) == {"price": 2.0, "title": "An A"}
    assert b.since(0) == {"brand": None}
    assert a.since(a.changed_us) == {"price": 2.0}
    assert [change.item_id for change in changes.after(a.sequence)] == ["b"]
    assert changes.after(b.sequence) == []


def test_of_one_item_twice_in_a_request_both_count(changes: CatalogChanges) -> None:
    changes.put([{"item_id": "a", "price": 1.0, "title": "A"}, {"item_id": "a", "price": 2.0}])
    (a,) = changes.after(0)
    assert a.since(0) == {"price": 2.0, "title": "A"}


def test_an_item_deleted_and_put_again_has_what_it_was_put_with(changes: CatalogChanges) -> None:
    changes.put([{"item_id": "a", "price": 1.0}])
    changes.delete(["a"])
    (gone,) = changes.after(0)
    assert gone.deleted
    changes.put([{"item_id": "a", "title": "Back\0"}])
    (back,) = changes.after(gone.sequence)
    assert back.since(0) == {"title": "Back\0"}


def test_changes_outlive_the_server_and_are_seen_by_the_other(opened: Opened) -> None:
    changes, other = opened(), opened()
    assert other.after(0) == []
    changes.put([{"item_id": "a", "price": 1.0}])
    assert [change.item_id for change in other.after(0)] == ["a"]
    other.delete(["b"])
    assert [change.item_id for change in changes.after(0)] == ["a", "b"]
    assert opened().after(0) == changes.after(0)


def test_looking_makes_no_file(tmp_path: Path) -> None:
    changes = SqliteCatalogChanges(tmp_path / "catalog.sqlite")
    assert changes.after(0) == []
    assert list(tmp_path.iterdir()) == []


def test_all_of_a_request_is_kept_or_nothing(tmp_path: Path) -> None:
    changes = SqliteCatalogChanges(tmp_path / "catalog.sqlite")
    changes.put([{"item_id": "a", "price": 1.0}])
    with sqlite3.connect(tmp_path / "catalog.sqlite") as db:
        db.execute(
            "CREATE TRIGGER full AFTER INSERT ON catalog_changes WHEN NEW.item_id = 'c' "
            "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )
    with pytest.raises(StateError, match="full"):
        changes.put([{"item_id": "b"}, {"item_id": "c"}])
    assert [change.item_id for change in changes.after(0)] == ["a"]
    changes.put([{"item_id": "b"}])  # and it goes on
    assert len(changes.after(0)) == 2
    changes.close()


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    database, text = tmp_path / "other.sqlite", tmp_path / "text"
    with sqlite3.connect(database) as db:
        db.execute("CREATE TABLE birds (name TEXT)")
    text.write_text("a shopping list, not a database\n" * 100)
    for path in (database, text):
        with pytest.raises(DataError, match=str(path)):
            SqliteCatalogChanges(path)
