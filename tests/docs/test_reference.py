"""The reference pages say what the code says: no setting, command or route goes undocumented."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import httpx
import pytest
from fastapi import FastAPI

from served import serving, shop_settings
from vitrina.bundle.registry import Registry
from vitrina.cli.reference import (
    COMMANDS_PAGE,
    CONTRACT_PAGE,
    SETTINGS_PAGE,
    all_commands,
    commands_page,
    contract_page,
    settings_page,
    write_pages,
)
from vitrina.cli.settings_file import sections
from vitrina.online.app import create_app
from vitrina.studio.app import mount_studio

PAGES = Path(__file__).parents[2] / "docs" / "reference"
AGAIN = "Run: python -m vitrina.cli.reference docs/reference"
DEMO_IDS = {"1082185": "item-0003", "951590": "item-0004"}
"""Items of the examples, and items of the tiny shop that stand for them."""


def test_the_settings_page_is_the_one_made_from_the_code() -> None:
    assert (PAGES / SETTINGS_PAGE).read_text("utf-8") == settings_page(), AGAIN


def test_the_commands_page_is_the_one_made_from_the_code() -> None:
    assert (PAGES / COMMANDS_PAGE).read_text("utf-8") == commands_page(), AGAIN


def test_the_contract_page_is_the_one_made_from_the_code() -> None:
    assert (PAGES / CONTRACT_PAGE).read_text("utf-8") == contract_page(), AGAIN


def test_every_setting_has_a_place_on_its_page() -> None:
    page = settings_page()
    for name, section in sections().items():
        _, found, rest = page.partition(f"## [{name}]\n")
        assert found, name
        rows = rest.partition("\n## ")[0]
        for key, field in section.model_fields.items():
            assert field.description, f"{name}.{key} has no description"
            assert f"| `{key}` |" in rows
            assert field.description in rows


def test_every_command_says_what_it_reads_and_writes_and_shows_an_example() -> None:
    page = commands_page()
    for name, command in all_commands():
        assert f"\n## vitrina {name}\n" in page
        assert re.search(r"\b[Rr]eads\b|\b[Ww]rites\b|\bLooks\b", command.help), name
        assert f"vitrina {name}" in command.help.partition("Example:")[2], name
        for parameter in command.params:
            assert parameter.help, f"{name} {parameter.name}"


def test_the_pages_can_be_written_again(tmp_path: Path) -> None:
    write_pages(tmp_path / "reference")
    assert (tmp_path / "reference" / SETTINGS_PAGE).read_text("utf-8") == settings_page()


@dataclass
class Route:
    """A section of http.md: its method and path, the curl call and the answer shown."""

    name: str
    call: list[str]
    answer: dict[str, Any] | None


def documented_routes() -> list[Route]:
    page = (PAGES / "http.md").read_text("utf-8")
    routes = []
    for section in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        name, _, text = section.partition("\n")
        calls = re.findall(r"```sh\n(.*?)\n```", text, flags=re.DOTALL)
        assert len(calls) == 1, f"{name} needs one example"
        answers = re.findall(r"```json\n(.*?)\n```", text, flags=re.DOTALL)
        routes.append(
            Route(name, shlex.split(calls[0]), json.loads(answers[0]) if answers else None)
        )
    return routes


@pytest.fixture
def app(tmp_path: Path, bundle_path: Path) -> FastAPI:
    settings = shop_settings(tmp_path)
    registry = Registry(settings.paths.bundles)
    registry.promote(registry.publish(bundle_path, metrics={}))
    app = create_app(settings)
    mount_studio(app)
    return app


@pytest.fixture
def client(app: FastAPI) -> Iterator[httpx.Client]:
    with serving(app) as client:
        yield client


def test_every_route_has_a_section(app: FastAPI) -> None:
    found = {route.name for route in documented_routes()}
    served = {
        f"{method.upper()} {path}"
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }
    pages = {"GET /", "GET /beacon.js", "POST /click", "GET /studio/{name}"}
    descriptions = {"GET /docs", "GET /redoc", "GET /openapi.json"}
    assert found == served | pages | descriptions


def test_every_example_works_and_answers_as_shown(client: httpx.Client) -> None:
    for route in documented_routes():
        method, path = route.name.split(" ")
        answer = call(client, method, route.call)
        assert answer.status_code in (200, 303), f"{route.name}: {answer.text}"
        pattern = re.sub(r"\{\w+\}", "[^/]+", path)
        assert re.fullmatch(pattern, answer.request.url.path), f"{route.name}: another path"
        if route.answer is not None:
            assert list(answer.json()) == list(route.answer), route.name


def call(client: httpx.Client, method: str, words: list[str]) -> httpx.Response:
    """The request that a curl command line makes, with the tiny shop's items."""
    words = [re.sub("|".join(DEMO_IDS), lambda found: DEMO_IDS[found[0]], word) for word in words]
    program, *words = words
    assert program == "curl"
    asked = words[1] if words[0] == "-X" else None
    address, *options = words[2:] if asked else words
    headers, body = {}, []
    for option, value in zip(options[::2], options[1::2], strict=True):
        if option == "-H":
            headers.update([value.split(": ", 1)])
        else:
            assert option == "-d"
            body.append(value)
    assert method == (asked or ("POST" if body else "GET"))
    if body and not headers:  # curl's default
        form = dict(pair for part in body for pair in parse_qsl(part))
        return client.post(address_at(client, address), data=form)
    content = "&".join(body) if body else None
    return client.request(method, address_at(client, address), headers=headers, content=content)


def address_at(client: httpx.Client, address: str) -> str:
    return address.replace("http://127.0.0.1:8080", str(client.base_url).rstrip("/"))
