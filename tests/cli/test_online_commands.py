"""`recommend`, `similar`, `serve`: the bundle, asked from the command line."""

from __future__ import annotations

import json
import signal
import threading

import httpx
import pyarrow.parquet as pq

from cli.cli_shop import Shop, finish
from vitrina.schema import Event
from vitrina.state.catalog_changes import SqliteCatalogChanges
from vitrina.state.sqlite import SqliteState

FORBIDDEN = {"torch", "duckdb", "pyarrow", "pandas", "narwhals", "scipy", "implicit", "onnx"}


def test_a_view_in_the_state_file_changes_what_is_recommended(open_shop: Shop) -> None:
    ask = ("recommend", "--user", "ada", "--shelf", "discover", "--k", "5", "--json")
    before = open_shop.run(*ask).json
    state = SqliteState(open_shop.home / "data/state.sqlite")
    state.append([Event("e1", "item-0003", "view", 1_767_600_000_000_000, user_id="ada")])
    state.close()
    after = open_shop.run(*ask).json
    assert len(before["items"]) == len(after["items"]) == 5
    assert (before["served_by"], after["served_by"]) == ("centroid", "learned")
    assert [item["item_id"] for item in before["items"]] != [
        item["item_id"] for item in after["items"]
    ]


def test_asking_makes_no_file(open_shop: Shop) -> None:
    result = open_shop.run("recommend")
    assert result.code == 0
    assert "for_you for somebody new" in result.out
    assert "served by centroid" in result.err
    assert not (open_shop.home / "data/state.sqlite").exists()


def test_similar_items_are_of_the_same_kind(open_shop: Shop) -> None:
    answer = open_shop.run("similar", "item-0003", "--k", "4", "--json").json
    paths = [item["category_path"] for item in answer["items"]]
    assert answer["item_id"] == "item-0003"
    assert len(paths) == 4
    assert paths[0][0] == "BAKERY"
    assert "Near" in open_shop.run("similar", "item-0003").out


def test_an_unknown_item_is_a_sentence(open_shop: Shop) -> None:
    result = open_shop.run("similar", "nothing")
    assert result.code == 1
    assert "has no item 'nothing'" in result.err


def test_without_a_promoted_bundle_asking_says_how_to_get_one(shop: Shop) -> None:
    result = shop.run("recommend", "--user", "ada")
    assert result.code == 1
    assert "'vitrina promote'" in result.err


def test_a_server_serves_service_and_page_without_the_training_stack(open_shop: Shop) -> None:
    process = open_shop.start("serve", "--json", python=("-X", "importtime"))
    assert process.stderr is not None
    said: list[str] = []  # more than a pipe holds
    listener = threading.Thread(target=said.extend, args=(process.stderr,))
    listener.start()
    address = _address(process.stdout)
    with httpx.Client(base_url=address, timeout=30) as client:
        assert client.get("/readyz").json()["status"] == "ready"
        assert client.get("/v1/recommendations?k=3").json()["items"]
        assert "Buy again" in client.get("/").text
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 0, "to be told to stop is no failure of a server"
    listener.join()
    assert "Stopped; every acknowledged event is on disk.\n" in said
    assert not any(line.startswith("Traceback") for line in said)
    imported = {
        line.rpartition("|")[2].strip().partition(".")[0]
        for line in said
        if line.startswith("import time:")
    }
    assert "fastapi" in imported
    assert not imported & FORBIDDEN


def test_a_server_without_a_bundle_starts_and_says_what_is_missing(shop: Shop) -> None:
    process = shop.start("serve", "--json")
    assert httpx.get(f"{_address(process.stdout)}/readyz").status_code == 503
    process.terminate()
    assert "No bundle has been promoted yet" in finish(process).err


def test_a_port_that_is_taken_is_a_sentence(open_shop: Shop) -> None:
    first = open_shop.start("serve", "--json")
    port = _address(first.stdout).rpartition(":")[2]
    second = finish(open_shop.start("serve", "--port", port))
    first.terminate()
    finish(first)
    assert second.code == 1
    assert f"Cannot listen on 127.0.0.1:{port}" in second.err
    assert "Traceback" not in second.err


def _address(stdout: object) -> str:
    """The address in the JSON object that a server prints once it listens."""
    text = ""
    for line in stdout:  # type: ignore[attr-defined]
        text += line
        if line == "}\n":
            break
    address = json.loads(text)["address"]
    assert isinstance(address, str)
    return address


def test_a_file_of_shoppers_gets_a_file_of_recommendations(open_shop: Shop) -> None:
    state = SqliteState(open_shop.home / "data/state.sqlite")
    state.append([Event("e1", "item-0003", "view", 1_767_600_000_000_000, user_id="ada")])
    state.close()
    users, out = open_shop.home / "users.txt", open_shop.home / "out/all.parquet"
    users.write_text("ada\n\nbob\nzoë\n", encoding="utf-8")
    ask = ("recommend", "--users", str(users), "--out", str(out), "--k", "5", "--json")
    result = open_shop.run(*ask)
    assert result.code == 0, result.err
    assert result.json["users"] == 3
    rows = pq.read_table(out).to_pylist()
    assert [(row["user_id"], row["position"]) for row in rows] == [
        (user, position) for user in ("ada", "bob", "zoë") for position in range(1, 6)
    ]
    alone = open_shop.run("recommend", "--user", "ada", "--k", "5", "--json").json
    assert [row["item_id"] for row in rows[:5]] == [item["item_id"] for item in alone["items"]]
    assert {row["served_by"] for row in rows[:5]} == {"learned"}
    assert {row["bundle"] for row in rows} == {alone["bundle"]}

    # What it wrote is a list of shoppers, too; a file that is none leaves the last result.
    again = open_shop.run("recommend", "--users", str(out), "--out", str(out))
    assert again.code == 0, again.err
    assert len(pq.read_table(out)) == 15 * 10
    soup = open_shop.home / "bad.parquet"
    soup.write_text("soup")
    bad = open_shop.run("recommend", "--users", str(soup), "--out", str(out))
    assert bad.code == 1
    assert "cannot be read as Parquet" in bad.err
    assert list(out.parent.iterdir()) == [out]


def test_a_file_of_shoppers_needs_a_place_for_the_answers(open_shop: Shop) -> None:
    result = open_shop.run("recommend", "--users", "users.txt")
    assert result.code == 2
    assert "go together" in result.err


def test_what_the_shop_has_deleted_is_not_there(open_shop: Shop) -> None:
    changes = SqliteCatalogChanges(open_shop.home / "data/catalog.sqlite")
    changes.delete(["item-0003"])
    changes.close()
    assert open_shop.run("similar", "item-0003").code == 1
    near = open_shop.run("similar", "item-0019", "--k", "30", "--json").json["items"]
    assert "item-0003" not in {item["item_id"] for item in near}
