"""`vitrina keys`: what it prints, what it keeps to itself, and that a server heeds it."""

from __future__ import annotations

from cli.cli_shop import Shop, finish
from vitrina.online.keys import KeyFile, KeyRing


def test_a_key_is_printed_once_and_works(shop: Shop) -> None:
    made = shop.run("keys make", "website", "--scope", "events:write", "--scope", "recommend:read")
    assert made.code == 0
    secret = made.out.strip()
    ring = KeyRing(KeyFile(shop.home / "data/keys.json").read())
    key = ring.find(secret)
    assert key is not None
    assert key.scopes == ("events:write", "recommend:read")
    assert "shown this once" in made.err
    listed = shop.run("keys list")
    assert "website" in listed.out
    assert secret not in listed.out


def test_a_scope_that_is_none_is_named(shop: Shop) -> None:
    refused = shop.run("keys make", "website", "--scope", "everything")
    assert refused.code == 1
    assert "no scope 'everything'. There are: events:write" in refused.err


def test_keys_are_rotated_and_revoked_by_name(shop: Shop) -> None:
    first = shop.run("keys make", "app", "--scope", "admin", "--json").json
    second = shop.run("keys rotate", "app", "--json").json
    assert second["scopes"] == ["admin"]
    assert second["key"] != first["key"]
    listed = shop.run("keys list", "--json").json
    assert [key["expires_at"] is None for key in listed] == [False, True]
    assert "key" not in listed[0]
    assert shop.run("keys revoke", "app", "--json").json == {"name": "app", "revoked": 2}
    again = shop.run("keys revoke", "app")
    assert again.code == 1
    assert "has no key 'app'" in again.err


def test_a_server_for_other_machines_wants_keys(open_shop: Shop) -> None:
    refused = finish(open_shop.start("serve", "--host", "0.0.0.0"))
    assert refused.code == 1
    assert "'vitrina keys make website" in refused.err
