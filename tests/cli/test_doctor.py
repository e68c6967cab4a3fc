"""`vitrina doctor`: what works, what is not there yet, what is broken."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from cli.cli_shop import Shop
from vitrina.cli.installation import EXTRAS


def examined(shop: Shop) -> tuple[int, dict[str, dict[str, Any]]]:
    result = shop.run("doctor", "--json")
    return result.code, {finding["subject"]: finding for finding in result.json}


def test_a_new_shop_is_told_what_comes_next(shop: Shop) -> None:
    code, findings = examined(shop)
    assert code == 0
    assert "vitrina ingest" in findings["lake"]["advice"]
    assert findings["bundle"]["state"] == findings["state"]["state"] == "open"
    assert findings["settings"]["found"] == str(shop.config)
    assert findings["machine"]["state"] == findings["port"]["state"] == "ok"


def test_a_running_shop_is_well(open_shop: Shop) -> None:
    open_shop.run("ingest")
    code, findings = examined(open_shop)
    assert code == 0
    assert findings["lake"]["found"] == "3 items, 24 events of 12 shoppers until 2024-05-11"
    assert "every checksum holds" in findings["bundle"]["found"]
    assert findings["state"]["found"].endswith("holds histories")
    assert "✓ bundle" in open_shop.run("doctor").out


def test_broken_parts_are_all_named(open_shop: Shop) -> None:
    version = open_shop.run("bundles", "--json").json[0]["version"]
    (open_shop.home / "data/bundles" / version / "index.faiss").write_bytes(b"")
    (open_shop.home / "data/state.sqlite").write_text("no database")
    code, findings = examined(open_shop)
    assert code == 1
    assert "index.faiss" in findings["bundle"]["found"]
    assert "state.sqlite" in findings["state"]["found"]


def test_a_broken_settings_file_is_named(shop: Shop) -> None:
    shop.config.write_text("[serve]\nport = 'many'\n")
    code, findings = examined(shop)
    assert code == 1
    assert "'serve.port'" in findings["settings"]["found"]


def test_a_package_that_is_missing_names_its_extra(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EXTRAS, "demo", ("not-there-at-all",))
    _, findings = examined(shop)
    assert findings["extra demo"]["found"] == "not installed: not-there-at-all"
    assert "pip install 'vitrina[demo]'" in findings["extra demo"]["advice"]


def test_the_extras_are_those_of_the_project() -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    declared = {
        extra: tuple(re.split(r"[\[<>=]", requirement)[0] for requirement in requirements)
        for extra, requirements in project["optional-dependencies"].items()
        if extra != "dev"
    }
    assert declared == EXTRAS
