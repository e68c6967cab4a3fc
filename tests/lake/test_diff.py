"""`lake diff`: equal lakes are identical whatever their files look like, others are told apart."""

from __future__ import annotations

import shutil
from pathlib import Path

import duckdb
import pytest

from cli.cli_shop import run
from lake.lake_shop import EVENTS_CSV, ITEMS_CSV, ingest_texts
from vitrina.errors import DataError
from vitrina.lake.diff import TableDiff, diff_lakes
from vitrina.lake.shards import SHARDS
from vitrina.lake.tables import current_tables, table_at

EVENTS = EVENTS_CSV + "ann,caviar,view,2024-05-03,\nann,soup,view,2024-05-03T00:00:00Z,\n"


@pytest.fixture
def lakes(tmp_path: Path) -> tuple[Path, Path]:
    """A lake and its copy."""
    ingest_texts(tmp_path / "a", events=EVENTS)
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    return tmp_path / "a" / "lake", tmp_path / "b" / "lake"


def change(lake: Path, table: str, select: str) -> None:
    """Replace a table of one file by what `select` makes of it."""
    path = table_at(current_tables(lake), table)  # type: ignore[arg-type]
    rows = duckdb.sql(select.format(table=f"'{path}'")).to_arrow_table()
    path.unlink()
    duckdb.from_arrow(rows).write_parquet(str(path))


def of(found: list[TableDiff], table: str) -> TableDiff:
    assert [entry.table for entry in found if not entry.identical] == [table]
    return next(entry for entry in found if entry.table == table)


def test_the_order_of_rows_and_the_number_of_files_make_no_difference(
    lakes: tuple[Path, Path],
) -> None:
    items = table_at(current_tables(lakes[1]), "items")
    rows = duckdb.sql(f"FROM '{items}' ORDER BY item_id DESC").to_arrow_table()
    items.unlink()
    items.mkdir()
    for number in range(rows.num_rows):
        part = duckdb.from_arrow(rows.slice(number, 1))
        part.write_parquet(str(items / f"part-{number}.parquet"))
    assert all(table.identical for table in diff_lakes(*lakes))

    result = run("lake", "diff", *map(str, lakes))
    assert (result.code, result.out) == (0, "identical\n")
    assert "3 items, 3 snapshots, 4 events" in result.err


def test_a_changed_value_is_found_with_its_row_and_column(lakes: tuple[Path, Path]) -> None:
    change(
        lakes[1],
        "items",
        "SELECT * REPLACE (CASE item_id WHEN 'soup' THEN 2.5 ELSE price END AS price) FROM {table}",
    )
    found = of(diff_lakes(*lakes), "items")
    assert (found.rows, found.only_a, found.only_b) == ((3, 3), 1, 1)
    assert found.changed == {"price": 1}
    assert found.examples == [
        {"key": {"item_id": "soup"}, "a": {"price": 1.5}, "b": {"price": 2.5}}
    ]

    result = run("lake", "diff", *map(str, lakes))
    assert result.code == 1
    assert "price=1.5" in result.out
    assert run("lake", "diff", *map(str, lakes), "--json").json["identical"] is False


def test_a_row_that_is_there_twice_on_one_side_is_a_difference(lakes: tuple[Path, Path]) -> None:
    change(lakes[1], "quarantine", "FROM {table} UNION ALL FROM {table}")
    found = of(diff_lakes(*lakes), "quarantine")
    assert (found.rows, found.only_a, found.only_b) == ((1, 2), 0, 1)
    (example,) = found.examples
    assert example["a"] is None
    assert example["b"]["reason"].startswith("not in the catalog")


def test_a_column_of_another_type_is_a_difference(lakes: tuple[Path, Path]) -> None:
    change(lakes[1], "items", "SELECT * REPLACE (price::FLOAT AS price) FROM {table}")
    found = of(diff_lakes(*lakes), "items")
    assert found.schema == ["price is Float64 in A, Float32 in B"]
    change(lakes[1], "items", "SELECT * EXCLUDE price FROM {table}")
    assert of(diff_lakes(*lakes), "items").schema == ["B has no column price"]


def test_a_table_that_one_side_lacks_is_a_difference(lakes: tuple[Path, Path]) -> None:
    table_at(current_tables(lakes[1]), "bots").unlink()
    assert of(diff_lakes(*lakes), "bots").rows == (0, None)


def test_sets_of_tables_can_be_compared_before_they_are_current(
    lakes: tuple[Path, Path], tmp_path: Path
) -> None:
    old = current_tables(lakes[0])
    assert all(table.identical for table in diff_lakes(old, lakes[1]))
    ingest_texts(tmp_path / "a", items=ITEMS_CSV + "rice,Rice,,,\n", events=EVENTS)
    found = {entry.table: entry for entry in diff_lakes(old, lakes[0])}
    assert (found["items"].only_a, found["items"].only_b) == (0, 1)
    assert (found["snapshots"].only_a, found["snapshots"].only_b) == (0, 1)


def test_a_folder_without_tables_is_an_error(lakes: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no tables yet"):
        diff_lakes(lakes[0], tmp_path)


def test_a_shard_that_differs_is_a_difference(lakes: tuple[Path, Path]) -> None:
    shards = sorted((current_tables(lakes[1]) / SHARDS).iterdir())
    shutil.copy(shards[0], shards[1])
    assert of(diff_lakes(*lakes), "sequences").schema == [
        f"1 shards differ, {shards[1].name} among them"
    ]
    shards[1].unlink()
    (note,) = of(diff_lakes(*lakes), "sequences").schema
    assert note == f"B lacks 1 shards, {shards[1].name} among them"
