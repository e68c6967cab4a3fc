"""Where rows come from: compressed files, folders, partitions, JSON with lists, odd files."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import tempfile
import zipfile
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from lake.lake_shop import write
from lake.raw_rows import read_rows
from lake.rights import without_the_rights_of_root
from vitrina.errors import DataError
from vitrina.lake.engine import frame_name

CSV = b"id,title\n1,soup\n2,bread\n"
JSONL = b'{"id": 1, "title": "soup"}\n{"id": "2", "title": "bread"}\n'


def gzipped(content: bytes) -> bytes:
    """Without a moment in it: the processes that run the tests must name them alike."""
    return gzip.compress(content, mtime=0)


def zstd(content: bytes) -> bytes:
    packed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return packed


def zipped(*members: tuple[str, bytes]) -> bytes:
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in members:
                archive.writestr(name, content)
        file.seek(0)
        return file.read()


def parquet(path: Path, query: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    duckdb.sql(query).write_parquet(str(path))
    return str(path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("i.csv.gz", gzipped(CSV)),
        ("i.csv.gz", gzipped(CSV[:9]) + gzipped(CSV[9:])),
        ("i.csv.zst", zstd(CSV)),
        ("i.csv.bz2", bz2.compress(CSV)),
        ("i.tsv.xz", lzma.compress(CSV)),
        ("i.zip", zipped(("__MACOSX/i.csv", b"x"), ("i.csv", CSV))),
        ("i.csv", gzipped(CSV)),
        ("i.gz", gzipped(CSV)),
        ("i.csv.gz", CSV),
        ("i.jsonl.gz", gzipped(JSONL)),
        ("i.json.zst", zstd(JSONL)),
        ("i.gz", gzipped(JSONL)),
        ("u.user", CSV.replace(b",", b"|")),
    ],
)
def test_what_is_in_a_file_counts_not_its_name(tmp_path: Path, name: str, content: bytes) -> None:
    path = write(tmp_path / name, content)
    good, bad, _ = read_rows(path, ["id", "title"])
    assert good == [
        {"file": path, "row": 1, "id": "1", "title": "soup"},
        {"file": path, "row": 2, "id": "2", "title": "bread"},
    ]
    assert bad == []


def test_a_compressed_parquet_file_is_read(tmp_path: Path) -> None:
    plain = Path(parquet(tmp_path / "plain" / "i.parquet", "SELECT 1 AS id"))
    path = write(tmp_path / "i.parquet.gz", gzip.compress(plain.read_bytes()))
    assert read_rows(path, ["id"])[0] == [{"file": path, "row": 1, "id": 1}]


@pytest.mark.parametrize("name", ["i.csv.gz", "i.csv.bz2", "i.csv.xz", "i.csv.zst", "i.zip"])
@pytest.mark.parametrize("share", [0.3, 0.95])
def test_a_file_that_was_cut_off_is_not_used_at_all(
    tmp_path: Path, name: str, share: float
) -> None:
    content = b"id,title\n" + b"".join(
        b"%d,%s\n" % (row, os.urandom(8).hex().encode()) for row in range(2000)
    )
    compress = {
        "i.csv.gz": gzip.compress,
        "i.csv.bz2": bz2.compress,
        "i.csv.xz": lzma.compress,
        "i.csv.zst": zstd,
        "i.zip": lambda text: zipped(("i.csv", text)),
    }[name]
    packed = compress(content)
    bad = write(tmp_path / name, packed[: int(len(packed) * share)])
    write(tmp_path / "good.csv", CSV)
    good, _, table = read_rows(tmp_path, ["id", "title"])
    assert {row["file"] for row in good} == {str(tmp_path / "good.csv")}
    (unusable,) = table.unusable
    assert unusable.address == bad
    assert "cut off or damaged" in unusable.reason


def test_a_zip_of_several_files_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path / "two.zip", zipped(("a.csv", CSV), ("b.csv", CSV)))
    with pytest.raises(DataError, match=r"two.zip holds 2 files \(a.csv, b.csv\).*Unpack it"):
        read_rows(path, ["id"])


def test_folders_and_globs_find_data_and_only_data(tmp_path: Path) -> None:
    for name in ("a.csv", "2024/b.csv.gz", "2024/05/c.csv", "_delta_log/x.csv", ".hidden/y.csv"):
        write(tmp_path / name, CSV)
    write(tmp_path / "README.md", "not data")
    write(tmp_path / "2024/_SUCCESS", "")
    write(tmp_path / "d[1].csv", CSV)

    def found(address: str) -> list[str]:
        _, _, table = read_rows(str(tmp_path / address), ["id"])
        return [str(Path(file.address).relative_to(tmp_path)) for file in table.files]

    assert found("") == ["2024/05/c.csv", "2024/b.csv.gz", "a.csv", "d[1].csv"]
    assert found("*.csv") == ["a.csv", "d[1].csv"]
    assert found("*/*") == ["2024/b.csv.gz"]
    assert found("**/*.csv") == ["2024/05/c.csv", "a.csv", "d[1].csv"]
    assert found("d[1].csv") == ["d[1].csv"]
    assert found("[ab].csv") == ["a.csv"]
    assert found("READ*.md") == ["README.md"]


def test_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", CSV)
    good, _, table = read_rows([path, tmp_path / "*.csv", tmp_path], ["id"])
    assert (len(good), len(table.files)) == (2, 1)


def test_partitions_are_columns(tmp_path: Path) -> None:
    write(tmp_path / "day=2024-05-01" / "kind=a%2Fb" / "x.csv", "id\n1\n")
    write(tmp_path / "day=__HIVE_DEFAULT_PARTITION__" / "x.jsonl", '{"id": 2, "kind": "own"}\n')
    parquet(tmp_path / "day=2024-05-02" / "x.parquet", "SELECT 3 AS id")
    good, _, table = read_rows(tmp_path, ["id", "day", "KIND"])
    assert [(str(row["id"]), row.get("day"), row.get("KIND")) for row in good] == [
        ("1", "2024-05-01", "a/b"),
        ("3", "2024-05-02", None),
        ("2", None, "own"),
    ]
    assert table.ignored == []


def test_columns_may_change_from_file_to_file(tmp_path: Path) -> None:
    write(tmp_path / "1.csv", "id,title\n1,soup\n")
    write(tmp_path / "2.csv", "price;id\n2;2\n")
    write(tmp_path / "3.csv", "Title,extra,ID\nbread,x,3\n")
    good, bad, table = read_rows(tmp_path, ["id", "title", "price"])
    assert [(row["id"], row.get("title"), row.get("price")) for row in good] == [
        ("1", "soup", None),
        ("2", None, "2"),
        ("3", "bread", None),
    ]
    assert (bad, table.ignored) == ([], ["extra"])


def test_lists_become_texts_in_json_and_in_parquet_alike(tmp_path: Path) -> None:
    row = {
        "id": "1",
        "levels": ["A", "B"],
        "title": "[new] soup",
        "more": {"a": [1]},
        "deep": [[1]],
    }
    write(tmp_path / "a.jsonl", json.dumps(row))
    parquet(
        tmp_path / "b.parquet",
        "SELECT '1' AS id, ['A', 'B'] AS levels, '[new] soup' AS title, "
        "{'a': [1]} AS more, [[1]] AS deep",
    )
    good, _, _ = read_rows(tmp_path, list(row))
    assert [
        {name: value.replace(" ", "") for name, value in each.items() if name in row}
        for each in good
    ] == [
        {"id": "1", "levels": "A\x1fB", "title": "[new]soup", "more": '{"a":[1]}', "deep": "[1]"}
    ] * 2


def test_events_in_lists_become_rows(tmp_path: Path) -> None:
    lines = [
        '{"session": 7, "events": [{"aid": 1, "ts": 1661724000278, "type": "clicks"}, '
        '{"aid": 2, "ts": 1661724058352, "type": "carts"}]}',
        '{"session": 8, "events": []}',
        "{broken",
        '{"session": 9}',
        '{"session": 10, "events": [5, {"aid": 3, "ts": 1, "session": "own"}]}',
    ]
    path = write(tmp_path / "otto.jsonl", "\n".join(lines))
    good, bad, table = read_rows(path, ["session", "aid", "type"], unnest="events")
    assert [(row["row"], row["session"], row["aid"], row["type"]) for row in good] == [
        (1, None, "1", "clicks"),
        (2, None, "2", "carts"),
        (6, "own", "3", None),
    ]
    assert [(row["row"], row["raw"]) for row in bad] == [(3, "{broken"), (4, lines[3]), (5, "5")]
    assert table.ignored == ["ts"]

    path = write(tmp_path / "plain.jsonl", "\n".join(lines[:4]))
    good, _, _ = read_rows(path, ["session", "aid"], unnest="events")
    assert [(row["session"], row["aid"]) for row in good] == [("7", "1"), ("7", "2")]


def test_dots_reach_into_the_objects_of_a_click_stream(tmp_path: Path) -> None:
    """As Segment sends them: one product, or a list of them, within `properties`."""
    lines = [
        '{"userId": "ann", "event": "Viewed", "properties": {"sku": "a", "cart": {"id": 4}}}',
        '{"userId": "ben", "event": "Viewed", "properties": "none"}',
        '{"userId": "cem", "event": "Ordered", "properties": {"products": '
        '[{"sku": "b"}, {"sku": "c"}]}}',
        '{"userId": "dot", "event": "Viewed", "properties.sku": "d", "properties": {}}',
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(lines[:3]))
    names = ["userId", "properties.sku", "properties.cart.id"]
    wanted = [frame_name(name) for name in names]
    columns = {"user_id": "userId", "item_id": names[1], "session_id": names[2]}
    good, bad, table = read_rows(path, wanted, columns=columns)
    assert [[row[name] for name in wanted] for row in good] == [
        ["ann", "a", "4"],
        ["ben", None, None],
        ["cem", None, None],
    ]
    assert (bad, table.ignored) == ([], ["event"])

    ordered = {"user_id": "userId", "item_id": "sku"}
    path = write(tmp_path / "b.jsonl", lines[2])
    good, _, _ = read_rows(path, ["userId", "sku"], columns=ordered, unnest="properties.products")
    assert [(row["userId"], row["sku"]) for row in good] == [("cem", "b"), ("cem", "c")]

    path = write(tmp_path / "c.jsonl", lines[3])  # a key that has the dot itself comes first
    good, _, _ = read_rows(path, wanted[:2], columns=columns)
    assert [row[wanted[1]] for row in good] == ["d"]


def test_a_file_of_one_json_list_says_how_to_split_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"one JSON list.*jq"):
        read_rows(write(tmp_path / "a.json", '[{"id": 1}]'), ["id"])


def test_what_may_not_be_read_is_named() -> None:
    # pytest's own folders are closed to other users.
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        write(folder / "data" / "good.csv", CSV)
        secret = Path(write(folder / "data" / "secret.csv", CSV))
        inner = Path(write(folder / "closed" / "inner" / "x.csv", CSV)).parent
        for path in (secret, inner):
            path.chmod(0)
        with without_the_rights_of_root():
            good, _, table = read_rows(folder / "data", ["id"])
            with pytest.raises(DataError, match=f"{inner} cannot be searched: Permission denied"):
                read_rows(folder / "closed", ["id"])
            with pytest.raises(DataError, match="cannot be searched"):
                read_rows(folder / "*" / "*" / "*.csv", ["id"])
        inner.chmod(0o755)
    assert len(good) == 2
    assert [file.reason for file in table.unusable] == [
        f"{secret} cannot be read: Permission denied."
    ]
