"""Files in an object store that speaks S3: a real server, in a process of its own."""

from __future__ import annotations

import gzip
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from lake.lake_shop import EVENTS_CSV, ITEMS_CSV, NOW, rows, shop_settings
from lake.raw_rows import read_rows
from vitrina.errors import DataError, MissingExtra, SourceError
from vitrina.lake.ingest import ingest

boto3 = pytest.importorskip("boto3")
pytest.importorskip("flask_cors")
pytest.importorskip("moto")


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        deadline = time.monotonic() + 60
        while server.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
        server.terminate()


@pytest.fixture
def store(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A client of the server; the environment says how to get there, as it does for a shop."""
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "shop")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    client = boto3.client("s3")
    client.create_bucket(Bucket="shop")
    return client


def put(store: Any, key: str, content: str | bytes) -> None:
    body = content.encode() if isinstance(content, str) else content
    store.put_object(Bucket="shop", Key=key, Body=body)


def test_every_format_is_ingested_from_a_bucket(tmp_path: Path, store: Any) -> None:
    parquet = tmp_path / "e.parquet"
    duckdb.sql(
        "SELECT 'ann' AS user_id, 'milk' AS item_id, 'view' AS event_type, "
        "TIMESTAMP '2024-05-03 10:00' AS timestamp"
    ).write_parquet(str(parquet))
    put(store, "catalog/items.csv.gz", gzip.compress(ITEMS_CSV.encode()))
    put(store, "events/day=1/a.csv", EVENTS_CSV + "ann,caviar,view,2024-05-01,\n")
    put(store, "events/day=2/b.parquet", parquet.read_bytes())
    put(
        store,
        "events/day=3/c.jsonl",
        '{"user_id": "cid", "item_id": "soup", "event_type": "view", "timestamp": 1714557600}\n',
    )
    put(store, "events/_SUCCESS", "")
    settings = shop_settings(tmp_path, ["s3://shop/catalog/items.csv.gz"], ["s3://shop/events"])
    report = ingest(settings, now=NOW)
    assert (report.items.kept, report.events.kept, report.events.read) == (3, 5, 6)
    (bad,) = rows(tmp_path, "quarantine")
    assert (bad["file"], bad["row"]) == ("s3://shop/events/day=1/a.csv", 4)


def test_folders_globs_and_keys_name_objects(store: Any) -> None:
    for key in ("x/1.csv", "x/2.csv.gz", "x/y/3.csv", "x/_tmp/4.csv", "x/[5].csv", "x/notes.md"):
        put(store, key, "id\n1\n")

    def found(address: str) -> list[str]:
        _, _, table = read_rows(f"s3://shop/{address}", ["id"])
        return [file.address.removeprefix("s3://shop/x/") for file in table.files]

    assert found("x/") == ["1.csv", "2.csv.gz", "[5].csv", "y/3.csv"]
    assert found("x/*.csv") == ["1.csv", "[5].csv"]
    assert found("x/**/*.csv") == ["1.csv", "[5].csv", "y/3.csv"]
    assert found("x/[5].csv") == ["[5].csv"]
    with pytest.raises(DataError, match=r"s3://shop/nothing/\*\.csv.*matches no file"):
        found("nothing/*.csv")


def test_partitions_of_a_bucket_are_columns(store: Any) -> None:
    put(store, "parts/day=2024-05-01/x.csv", "id\n1\n")
    good, _, _ = read_rows("s3://shop/parts", ["id", "day"])
    assert good == [
        {"file": "s3://shop/parts/day=2024-05-01/x.csv", "row": 1, "id": "1", "day": "2024-05-01"}
    ]


def test_a_store_that_refuses_stops_the_run(
    tmp_path: Path, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(store, "items.csv", ITEMS_CSV)
    put(store, "events.csv", EVENTS_CSV)
    items = ["s3://shop/items.csv"]
    ingest(shop_settings(tmp_path, items, ["s3://shop/events.csv"]), now=NOW)
    before = rows(tmp_path, "events")
    with pytest.raises(SourceError, match=r"s3://nowhere/x\.csv cannot be read.*NoSuchBucket"):
        ingest(shop_settings(tmp_path, items, ["s3://nowhere/x.csv"]), now=NOW)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(SourceError, match="Could not connect") as raised:
        ingest(shop_settings(tmp_path, items, items), now=NOW)
    assert "hunter2" not in str(raised.value)
    assert rows(tmp_path, "events") == before


def test_a_damaged_object_is_left_out_by_its_address(store: Any) -> None:
    put(store, "torn/a.csv.gz", gzip.compress(b"id\n" + b"1\n" * 1000)[:30])
    put(store, "torn/b.parquet", b"PAR1 but no more")
    put(store, "torn/c.csv", "id\n1\n")
    good, _, table = read_rows("s3://shop/torn", ["id"])
    assert len(good) == 1
    assert [file.address for file in table.unusable] == [
        "s3://shop/torn/a.csv.gz",
        "s3://shop/torn/b.parquet",
    ]
    assert all(file.reason.startswith(file.address) for file in table.unusable)


def test_the_extra_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(MissingExtra, match=r"vitrina\[s3\]"):
        read_rows("s3://shop/items.csv", ["id"])
