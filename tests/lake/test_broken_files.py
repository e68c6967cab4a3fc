"""A corpus of broken files in every format: nothing is lost, and nothing is taken twice.

Whatever Hypothesis breaks, each row that was written is kept, quarantined with its place, or a
duplicate, or its whole file is named as unusable; and a run that fails leaves the last tables.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import os
import subprocess
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from lake.lake_shop import EVENTS_CSV, ITEMS_CSV, NOW, rows, shop_settings, write
from lake.rights import without_the_rights_of_root
from vitrina.errors import DataError, EngineError
from vitrina.lake.ingest import ingest
from vitrina.lake.tables import current_tables

COLUMNS: Final = ("user_id", "item_id", "event_type", "timestamp", "value")
Row = tuple[str, ...]

MOMENTS = st.sampled_from(
    [
        "2024-05-01T10:00:00Z",
        "2024-05-01T12:00:00+02:00",
        "1714557600",  # seconds
        "1714557600000",  # milliseconds
        "1970-01-01",
        "2200-01-01T00:00:00Z",
        "0",
        "",
        "NULL",
        "31.02.2024",
    ]
)
ROWS = st.tuples(
    st.sampled_from(["ann", "ben", "", "zoë", "a, b", 'the "boss"']),
    st.sampled_from(["soup", "bread", "", "caviar"]),
    st.sampled_from(["view", "purchase", "", "Telepathy"]),
    MOMENTS,
    st.sampled_from(["", "1.5", "-3", "1e400", "cheap", "NaN"]),
)


def as_csv(table: list[Row], columns: tuple[str, ...], end: str = "\n") -> bytes:
    def quoted(field: str) -> str:
        return '"' + field.replace('"', '""') + '"'

    lines = [",".join(map(quoted, row[: len(columns)])) for row in (columns, *table)]
    return "".join(line + end for line in lines).encode()


def as_jsonl(table: list[Row], columns: tuple[str, ...]) -> bytes:
    objects = (
        {name: value for name, value in zip(columns, row, strict=False) if value} for row in table
    )
    return "".join(json.dumps(each) + "\n" for each in objects).encode()


def as_parquet(table: list[Row], columns: tuple[str, ...]) -> bytes:
    values = {name: [row[place] or None for row in table] for place, name in enumerate(columns)}
    written = io.BytesIO()
    pq.write_table(pa.table(values, pa.schema([(name, pa.string()) for name in columns])), written)
    return written.getvalue()


def in_zip(*contents: bytes) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for number, content in enumerate(contents):
            archive.writestr(f"{number}.csv", content)
    return written.getvalue()


def mixed_ends(table: list[Row], columns: tuple[str, ...]) -> bytes:
    lines = as_csv(table, columns).splitlines()
    return b"".join(line + (b"\n", b"\r\n", b"\r")[place % 3] for place, line in enumerate(lines))


FORMATS: Final[Mapping[str, Callable[[list[Row], tuple[str, ...]], bytes]]] = {
    "csv": as_csv,
    "crlf.csv": lambda table, columns: as_csv(table, columns, "\r\n"),
    "mixed.csv": mixed_ends,
    "csv.gz": lambda table, columns: gzip.compress(as_csv(table, columns)),
    "zip": lambda table, columns: in_zip(as_csv(table, columns)),
    "jsonl": as_jsonl,
    "jsonl.bz2": lambda table, columns: bz2.compress(as_jsonl(table, columns)),
    "parquet": as_parquet,
}
WHOLE_FILE: Final[Mapping[str, Callable[[bytes], bytes]]] = {
    "cut": lambda content: content[: len(content) * 2 // 3],
    "empty": lambda content: b"",
    "garbage": lambda content: b"PAR1" + bytes(range(256)),
    "two in a zip": lambda content: in_zip(content, content),
}
BAD_LINES: Final = {
    "stray quote": b'"ann,soup,view,2024-05-01,\n',
    "torn quote": b'"ann"x,soup,view,2024-05-01,\n',
    "few fields": b"ann,soup\n",
    "many fields": b"ann,soup,view,2024-05-01,1,2,3\n",
    "not UTF-8": b"\xff\xfe,soup,view,2024-05-01,\n",
    "nothing": b",,,,\n",
}
"""Each is one row of a CSV file that cannot be used."""


@dataclass(frozen=True)
class Broken:
    """A file with what is wrong with it. rows: how many a reader has to find; None if none of
    the file can be used."""

    suffix: str
    content: bytes
    rows: int | None


@st.composite
def broken_files(draw: st.DrawFn) -> Broken:
    suffix = draw(st.sampled_from(sorted(FORMATS)))
    table = draw(st.lists(ROWS, min_size=3, max_size=12))
    columns = draw(st.sampled_from([COLUMNS, COLUMNS, COLUMNS[:4], COLUMNS[:3]]))
    content = FORMATS[suffix](table, columns)
    usable = columns != COLUMNS[:3]  # without moments there is no event
    count = len(table)
    fault = draw(st.sampled_from(["none", "lines", *WHOLE_FILE]))
    if fault == "lines" and suffix in ("csv", "crlf.csv", "mixed.csv"):
        bad = draw(st.lists(st.sampled_from(sorted(BAD_LINES)), max_size=3))
        content = content + b"".join(BAD_LINES[name] for name in bad)
        count += len(bad)
    elif fault == "lines" and suffix == "jsonl":
        content = content + b"{broken\n[1]\n"
        count += 2
    elif fault == "cut" and suffix in ("csv", "crlf.csv", "mixed.csv", "jsonl"):
        pass  # nobody can tell that a plain text was cut
    elif fault in WHOLE_FILE:
        content, usable = WHOLE_FILE[fault](content), False
    return Broken(suffix, content, count if usable else None)


# An ingest takes too long to look for the smallest example.
@settings(
    max_examples=6,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(st.lists(broken_files(), min_size=1, max_size=10))
def test_every_row_of_every_broken_file_is_accounted_for(files: list[Broken]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "events" / "good.csv", EVENTS_CSV)
        written = {
            write(folder / "events" / f"{number}.{file.suffix}", file.content): file.rows
            for number, file in enumerate(files)
        }
        items = write(folder / "items.csv", ITEMS_CSV)
        report = ingest(shop_settings(folder, [items], [str(folder / "events")]), now=NOW)
        quarantined = [row for row in rows(folder, "quarantine") if row["table"] == "events"]
        kept = rows(folder, "events")

    events = report.events
    found = {path: count for path, count in written.items() if count is not None}
    assert {file["file"] for file in events.unusable_files} == written.keys() - found.keys()
    assert events.read == 3 + sum(found.values())
    assert events.read == events.kept + sum(events.quarantined.values()) + events.duplicates
    assert events.kept == len(kept) >= 3
    lost = [(row["file"], row["row"]) for row in quarantined if not row["row_kept"]]
    assert len(set(lost)) == len(lost) == sum(events.quarantined.values())
    assert all(1 <= row <= found[file] for file, row in lost)


@contextmanager
def small_disk(folder: Path, kibibytes: int) -> Iterator[Path]:
    """A file system of its own with so much room; skips where the machine does not allow it."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={kibibytes}k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk takes root, and a machine that lets it mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def many_events(path: Path, count: int) -> str:
    duckdb.sql(
        "SELECT 'user-' || range % 1000 AS user_id, 'soup' AS item_id, 'view' AS event_type, "
        "md5(range::VARCHAR) AS request_id, "
        f"TIMESTAMP '2024-05-01' + to_seconds(range) AS timestamp FROM range({count})"
    ).write_parquet(str(path))
    return str(path)


def test_a_full_disk_leaves_the_last_tables(tmp_path: Path) -> None:
    items = [write(tmp_path / "items.csv", ITEMS_CSV)]
    events = write(tmp_path / "events.csv", EVENTS_CSV)
    with small_disk(tmp_path / "lake", 2000):
        ingest(shop_settings(tmp_path, items, [events]), now=NOW)
        tables, before = current_tables(tmp_path / "lake"), rows(tmp_path, "events")
        many = many_events(tmp_path / "many.parquet", 40_000)
        with pytest.raises(EngineError, match=r"disk.*full"):
            ingest(shop_settings(tmp_path, items, [events, many]), now=NOW)
        assert current_tables(tmp_path / "lake") == tables
        assert rows(tmp_path, "events") == before
        assert not list((tmp_path / "lake").glob(".tables-*"))
        assert ingest(shop_settings(tmp_path, items, [events]), now=NOW).events.kept == 3


@pytest.mark.parametrize("kibibytes", [50, 300, 900])
def test_a_disk_that_is_full_from_the_start_is_named(tmp_path: Path, kibibytes: int) -> None:
    """At whatever stage the room ends."""
    items = [write(tmp_path / "items.csv", ITEMS_CSV)]
    many = many_events(tmp_path / "many.parquet", 20_000)
    with small_disk(tmp_path / "lake", kibibytes) as lake:
        with pytest.raises(EngineError, match="disk is full"):
            ingest(shop_settings(tmp_path, items, [many]), now=NOW)
        assert [path.name for path in lake.iterdir()] == [".lock"]


def test_a_full_scratch_disk_is_no_fault_of_the_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    items = [write(tmp_path / "items.csv", ITEMS_CSV)]
    events = EVENTS_CSV + "ann,soup,view,2024-05-03,\n" * 100_000
    packed = write(tmp_path / "events.csv.gz", gzip.compress(events.encode()))
    with small_disk(tmp_path / "scratch", 1000) as scratch:
        monkeypatch.setattr(tempfile, "tempdir", str(scratch))
        with pytest.raises(EngineError, match=r"disk is full.*events\.csv\.gz.*TMPDIR"):
            ingest(shop_settings(tmp_path, items, [packed]), now=NOW)
    assert not (tmp_path / "lake" / "current.json").exists()


def test_a_file_that_may_not_be_read_is_left_out_until_it_may() -> None:
    # pytest's own folders are closed to other users.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o777)
        items = [write(folder / "items.csv", ITEMS_CSV)]
        write(folder / "events" / "a.csv", EVENTS_CSV)
        secret = Path(write(folder / "events" / "b.csv", EVENTS_CSV.replace("ann", "zoe")))
        secret.chmod(0)
        shop = shop_settings(folder, items, [str(folder / "events")])
        with without_the_rights_of_root():
            report = ingest(shop, now=NOW)
            assert report.events.kept == 3
            assert [file["file"] for file in report.events.unusable_files] == [str(secret)]
            assert "Permission denied" in report.events.unusable_files[0]["reason"]
        secret.chmod(0o644)
        with without_the_rights_of_root():
            assert ingest(shop, now=NOW).events.kept == 5


def test_files_that_are_all_unusable_leave_the_last_tables(tmp_path: Path) -> None:
    items = [write(tmp_path / "items.csv", ITEMS_CSV)]
    events = write(tmp_path / "events.csv", EVENTS_CSV)
    shop = shop_settings(tmp_path, items, [events])
    ingest(shop, now=NOW)
    before = rows(tmp_path, "events")
    for content in (b"", b"user_id,item_id\n", gzip.compress(EVENTS_CSV.encode())[:-9]):
        write(tmp_path / "events.csv", content)
        with pytest.raises(DataError, match=r"events\.csv"):
            ingest(shop, now=NOW)
        assert rows(tmp_path, "events") == before


def test_a_row_is_found_where_quarantine_says(tmp_path: Path) -> None:
    """The row numbers hold in each format, whatever comes before the bad row."""
    good = ("ann", "soup", "view", "2024-05-01T10:00:00Z", "1")
    table: list[Row] = [(*good[:3], f"2024-05-01T10:{minute:02}:00Z", "1") for minute in range(40)]
    table[31] = ("ann", "caviar", *good[2:])
    for suffix, make in FORMATS.items():
        write(tmp_path / "events" / f"e.{suffix}", make(table, COLUMNS))
    noisy = as_csv(table, COLUMNS).splitlines(keepends=True)
    noisy[3:3] = [b"\n", b'"unclosed,soup\n', b"few\n"]
    write(tmp_path / "events" / "e.noisy.csv", b"# notes\n\n" + b"".join(noisy))
    items = [write(tmp_path / "items.csv", ITEMS_CSV)]
    ingest(shop_settings(tmp_path, items, [str(tmp_path / "events")]), now=NOW)
    found = {
        Path(bad["file"]).name: bad["row"]
        for bad in rows(tmp_path, "quarantine")
        if bad["column"] == "item_id"
    }
    assert found == {f"e.{suffix}": 32 for suffix in FORMATS} | {"e.noisy.csv": 34}


def test_one_column_may_hold_seconds_milliseconds_and_texts(tmp_path: Path) -> None:
    events = "user_id,item_id,event_type,timestamp\n" + "".join(
        f"ann,soup,view,{moment}\n"
        for moment in ("1714557600", "1714557601000", "2024-05-01T10:00:02Z", "2200-01-01", "0")
    )
    report = ingest_events(tmp_path, events)
    assert (report.events.read, report.events.kept) == (5, 3)
    kept = sorted(event["timestamp"].timestamp() for event in rows(tmp_path, "events"))
    assert kept == [1714557600, 1714557601, 1714557602]
    assert {bad["row"] for bad in rows(tmp_path, "quarantine")} == {4, 5}


def ingest_events(folder: Path, events: str) -> Any:
    items = [write(folder / "items.csv", ITEMS_CSV)]
    return ingest(shop_settings(folder, items, [write(folder / "events.csv", events)]), now=NOW)


@pytest.mark.slow
def test_a_million_categories_are_no_trouble(tmp_path: Path) -> None:
    items = tmp_path / "items.parquet"
    duckdb.sql(
        "SELECT 'i' || range AS item_id, 'A > ' || range % 1000 || ' > ' || range AS category_path,"
        " 1.0 AS price FROM range(1000000)"
    ).write_parquet(str(items))
    events = write(tmp_path / "events.csv", EVENTS_CSV.replace("soup", "i1").replace("bread", "i2"))
    report = ingest(shop_settings(tmp_path, [str(items)], [events]), now=NOW)
    assert (report.items.kept, report.events.kept) == (1_000_000, 3)
