"""Commands around API keys. A running server notices each change within a second."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from vitrina.cli import tables
from vitrina.cli.console import Config, Json, say, settings_of, show

if TYPE_CHECKING:
    from pathlib import Path

    from vitrina.online.keys import ApiKey, KeyFile

Name = Annotated[str, typer.Argument(help="Whose key it is, such as 'website'.")]

commands = typer.Typer(no_args_is_help=True)


@commands.callback()
def keys() -> None:
    """Make, list, rotate and revoke API keys.

    Reads and writes `paths.keys`, which holds hashes, and no key. Running servers notice a change
    within a second.

    Example:

        vitrina keys make website --scope events:write --scope recommend:read
    """


@commands.command()
def make(
    name: Name,
    scope: Annotated[
        list[str],
        typer.Option(
            help="What it may do: events:write, recommend:read, catalog:write, or admin, which is "
            "everything. May be repeated."
        ),
    ],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make an API key and print it, once: only its hash is kept.

    Writes `paths.keys`. From the first key on, servers answer to nobody without one. A key whose
    only scope is events:write may stand in a web page; all others belong to servers.

    Example:

        vitrina keys make website --scope events:write --scope recommend:read
    """
    _show_new(*_keys(config).make(name, scope), as_json)


@commands.command("list")
def list_(config: Config = None, as_json: Json = False) -> None:
    """List the API keys: whose, what for, since when and until when. The keys themselves are gone.

    Reads `paths.keys`.

    Example:

        vitrina keys list
    """
    found = _keys(config).read()
    show([_told(key) for key in found], as_json, tables.api_keys(found))


@commands.command()
def rotate(
    name: Name,
    overlap: Annotated[
        float, typer.Option(min=0, help="Hours for which the old key is taken as well.")
    ] = 24.0,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Make a new key in the place of an old one, and print it; both hold for a while.

    Writes `paths.keys`. Give the new key to whoever used the old one before `--overlap` is over:
    nobody has to be stopped for it.

    Example:

        vitrina keys rotate website --overlap 48
    """
    _show_new(*_keys(config).rotate(name, timedelta(hours=overlap)), as_json)


@commands.command()
def revoke(name: Name, config: Config = None, as_json: Json = False) -> None:
    """Take an API key back; within a second no server knows it any more.

    Writes `paths.keys`. When the last key is revoked, servers stay closed.

    Example:

        vitrina keys revoke website
    """
    count = _keys(config).revoke(name)
    content = {"name": name, "revoked": count}
    show(content, as_json, f"Revoked {name}{f' ({count} keys)' if count > 1 else ''}.")


def _keys(config: Path | None) -> KeyFile:
    from vitrina.online.keys import KeyFile

    return KeyFile(settings_of(config).paths.keys)


def _show_new(key: ApiKey, secret: str, as_json: bool) -> None:
    show({**_told(key), "key": secret}, as_json, secret)
    say(f"The key of '{key.name}' is shown this once. Clients send 'Authorization: Bearer KEY'.")


def _told(key: ApiKey) -> dict[str, object]:
    """What may be shown of a key."""
    return {
        "name": key.name,
        "id": key.key_id,
        "scopes": list(key.scopes),
        "created_at": key.created_at,
        "expires_at": key.expires_at,
    }
