"""Changes to the catalog: kept for good, in order, and seen by everybody who has the file open."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from vitrina.errors import DataError
from vitrina.state.catalog_changes import CatalogChanges


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "catalog.sqlite"


@pytest.fixture
def changes(path: Path) -> Iterator[CatalogChanges]:
    changes = CatalogChanges(path)
    yield changes
    changes.close()


def test_what_is_set_is_laid_over_what_was_set_before(changes: CatalogChanges) -> None:
    changes.put([{"item_id": "a", "price": 1.0, "title": "An A"}])
    changes.put([{"item_id": "a", "price": 2.0}, {"item_id": "b", "brand": None}])
    a, b = changes.after(0)
    assert a.since(0) == {"price": 2.0, "title": "An A"}
    assert b.since(0) == {"brand": None}
    assert a.since(a.changed_us) == {"price": 2.0}
    assert [change.item_id for change in changes.after(a.sequence)] == ["b"]
    assert changes.after(b.sequence) == []


def test_an_item_deleted_and_put_again_has_what_it_was_put_with(changes: CatalogChanges) -> None:
    changes.put([{"item_id": "a", "price": 1.0}])
    changes.delete(["a"])
    (gone,) = changes.after(0)
    assert gone.deleted
    changes.put([{"item_id": "a", "title": "Back"}])
    (back,) = changes.after(gone.sequence)
    assert back.since(0) == {"title": "Back"}


def test_changes_outlive_the_server_and_are_seen_by_the_other(
    changes: CatalogChanges, path: Path
) -> None:
    other = CatalogChanges(path)  # no file yet: there are no changes
    assert other.after(0) == []
    assert not path.exists()
    changes.put([{"item_id": "a", "price": 1.0}])
    assert [change.item_id for change in other.after(0)] == ["a"]
    other.delete(["b"])
    assert [change.item_id for change in changes.after(0)] == ["a", "b"]
    other.close()
    again = CatalogChanges(path)
    assert again.after(0) == changes.after(0)
    again.close()


def test_all_of_a_request_is_kept_or_nothing(changes: CatalogChanges, path: Path) -> None:
    changes.put([{"item_id": "a", "price": 1.0}])
    with sqlite3.connect(path) as db:
        db.execute(
            "CREATE TRIGGER full AFTER INSERT ON catalog_changes WHEN NEW.item_id = 'c' "
            "BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END"
        )
    with pytest.raises(sqlite3.Error, match="full"):
        changes.put([{"item_id": "b"}, {"item_id": "c"}])
    assert [change.item_id for change in changes.after(0)] == ["a"]
    changes.put([{"item_id": "b"}])  # and it goes on
    assert len(changes.after(0)) == 2


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    database, text = tmp_path / "other.sqlite", tmp_path / "text"
    with sqlite3.connect(database) as db:
        db.execute("CREATE TABLE birds (name TEXT)")
    text.write_text("a shopping list, not a database\n" * 100)
    for path in (database, text):
        with pytest.raises(DataError, match=str(path)):
            CatalogChanges(path)
