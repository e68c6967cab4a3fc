"""`publish`, `promote`, `rollback`, `bundles`: what a release engineer types."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cli.cli_shop import Shop
from shop import tiny_bundle


@pytest.fixture
def draft(shop: Shop) -> Path:
    """A draft bundle where `vitrina index` leaves it, and its evaluation."""
    made = tiny_bundle(shop.home / "made", seed=1)
    draft = shop.home / "data/runs/draft"
    draft.parent.mkdir(parents=True, exist_ok=True)
    made.rename(draft)
    evaluated(shop, made.name)
    return draft


def evaluated(shop: Shop, version: str, failed_gates: tuple[str, ...] = ()) -> None:
    days = {"cut": "2026-01-01T00:00:00+00:00", "until": "2026-01-15T00:00:00+00:00"}
    counts = {"users": 9, "users_with_new": 7, "rows": []}
    content = {"bundle": version, "failed_gates": failed_gates} | days | counts
    (shop.home / "data/runs/evaluation.json").write_text(json.dumps(content))


def version_of(draft: Path) -> str:
    version = json.loads((draft / "manifest.json").read_text())["version"]
    assert isinstance(version, str)
    return version


def test_publishing_does_not_promote(shop: Shop, draft: Path) -> None:
    result = shop.run("publish", "--json")
    assert result.json == {"version": version_of(draft), "promoted": False}
    (listed,) = shop.run("bundles", "--json").json
    assert listed["version"] == version_of(draft)
    assert listed["metrics"]["users"] == 9
    assert not listed["current"]


def test_publishing_can_promote_at_once(shop: Shop, draft: Path) -> None:
    assert shop.run("publish", "--promote").code == 0
    assert shop.run("bundles", "--json").json[0]["current"]


def test_an_evaluation_of_another_draft_is_refused(shop: Shop, draft: Path) -> None:
    evaluated(shop, "20200101T000000-abcd")
    result = shop.run("publish")
    assert result.code == 1
    assert f"is of bundle 20200101T000000-abcd, the draft is {version_of(draft)}" in result.err
    assert shop.run("bundles", "--json").json == []


def test_a_draft_without_an_evaluation_is_refused(shop: Shop, draft: Path) -> None:
    (shop.home / "data/runs/evaluation.json").unlink()
    result = shop.run("publish")
    assert result.code == 1
    assert "has not been evaluated. Run 'vitrina evaluate'" in result.err


def test_without_a_draft_publishing_says_how_to_make_one(shop: Shop) -> None:
    result = shop.run("publish")
    assert result.code == 1
    assert "Make one with 'vitrina index'" in result.err


def test_without_a_draft_there_is_no_index_to_tune(shop: Shop) -> None:
    result = shop.run("index tune")
    assert result.code == 1
    assert "Make one with 'vitrina index'" in result.err
    assert shop.run("index", "tune").code == 2  # options go after the subcommand


def test_promote_and_roll_back(open_shop: Shop, draft: Path) -> None:
    first = open_shop.run("bundles", "--json").json[0]["version"]
    second = open_shop.run("publish", "--json").json["version"]
    assert open_shop.run("promote", second, "--json").json == {"current": second}
    assert open_shop.run("rollback", "--reason", "too new", "--json").json == {"current": first}
    listed = open_shop.run("bundles")
    assert first in listed.out
    assert second in listed.out
    again = open_shop.run("rollback")
    assert again.code == 1
    assert "Nothing was promoted" in again.err


def test_a_bundle_goes_into_the_shadow_and_out(open_shop: Shop, draft: Path) -> None:
    second = open_shop.run("publish", "--json").json["version"]
    began = open_shop.run("shadow", second, "--share", "0.05", "--json").json
    assert began == {"version": second, "share": 0.05}
    assert "5% of the requests" in open_shop.run("shadow").out
    assert open_shop.run("shadow", "--end", "--json").json is None


def test_a_failed_gate_needs_force_and_a_reason(shop: Shop, draft: Path) -> None:
    evaluated(shop, version_of(draft), ("recall@10 fell from 0.31 to 0.12.",))
    assert shop.run("publish").code == 0
    refused = shop.run("promote", version_of(draft))
    assert refused.code == 1
    assert "recall@10 fell from 0.31 to 0.12." in refused.err
    forced = shop.run("promote", version_of(draft), "--force", "--reason", "for a test")
    assert forced.code == 0


def test_an_unknown_version_is_answered_with_those_that_exist(open_shop: Shop) -> None:
    result = open_shop.run("promote", "20990101T000000-ffff")
    assert result.code == 1
    assert open_shop.run("bundles", "--json").json[0]["version"] in result.err


def test_a_registry_without_bundles_says_so(shop: Shop) -> None:
    assert "holds no bundle yet" in shop.run("bundles").err
    assert shop.run("bundles", "--json").json == []


def test_a_broken_bundle_is_listed_with_its_problem(open_shop: Shop) -> None:
    version = open_shop.run("bundles", "--json").json[0]["version"]
    (open_shop.home / "data/bundles" / version / "manifest.json").write_text("{}")
    result = open_shop.run("bundles")
    assert result.code == 0
    assert "cannot be read" in result.out
