"""`vitrina init --from`: a shop's own files and names, to settings, to a trained shelf."""

from __future__ import annotations

import random
import tomllib
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.cli_shop import Shop
from vitrina.cli.app import app
from vitrina.settings import load_settings

ARTIKEL = "Artikelnr;Bezeichnung;Preis\nA-1;Suppe;1.299,50 €\nA-2;Brot;2,50 €\n"
KLICKS = (
    "Kunde;Artikelnr;Aktion;Wann\n"
    "k1;A-1;Ansicht;2024-05-01 12:00:00\n"
    "k2;A-2;Storno;2024-05-02 12:00:00\n"
)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    (tmp_path / "artikel.csv").write_text(ARTIKEL)
    (tmp_path / "klicks.csv").write_text(KLICKS)
    return Shop(tmp_path)


def files(shop: Shop) -> list[str]:
    return ["--from", str(shop.home / "artikel.csv"), str(shop.home / "klicks.csv")]


def test_the_best_guess_is_taken_and_marked(shop: Shop) -> None:
    result = shop.run("init", *files(shop), "--yes")
    assert result.code == 0, result.err
    assert "Bezeichnung" in result.err
    assert "Storno is unknown" in result.err
    text = shop.config.read_text()
    assert 'timestamp = "Wann"  # no time zone in the file; taken as UTC' in text
    settings = load_settings(shop.config, {})
    (items,), (events,) = settings.lake.items, settings.lake.events
    assert items.files == [str(shop.home / "artikel.csv")]
    assert 'files = ["artikel.csv"]' in text
    assert items.columns["price"].decimal == ","
    assert events.event_types == {"Ansicht": "view"}
    assert settings.events.weights["Storno"] == 0.0


def test_without_a_terminal_the_doubts_are_told(shop: Shop) -> None:
    result = shop.run("init", *files(shop))
    assert result.code == 1
    assert "what the event type 'Storno' of klicks.csv means" in result.err
    assert "--yes" in result.err
    assert not shop.config.exists()


def test_a_person_is_asked(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vitrina.cli.init_from.has_terminal", lambda: True)
    words = ["init", "--config", str(shop.config), *files(shop)]
    answers = "hide\ndismiss\nBerlin\nEurope/Berlin\n"
    result = CliRunner().invoke(app, words, input=answers)
    assert result.exit_code == 0, result.stderr
    assert "'hide' is none of these" in result.stderr
    (events,) = load_settings(shop.config, {}).lake.events
    assert events.event_types == {"Ansicht": "view", "Storno": "dismiss"}
    assert events.columns["timestamp"].zone == "Europe/Berlin"
    columns = shop.config.read_text().partition("[lake.events.columns]")[2].partition("[")[0]
    assert "#" not in columns


def test_a_column_that_nothing_says_anything_about_is_asked_for(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = "x,y,z\n" + "".join(f"p{n % 7},g{n},{1714557600 + n}\n" for n in range(40))
    (shop.home / "log.csv").write_text(log)
    monkeypatch.setattr("vitrina.cli.init_from.has_terminal", lambda: True)
    words = ["init", "--config", str(shop.config), "--from", str(shop.home / "log.csv")]
    result = CliRunner().invoke(app, words, input="x\ny\npurchase\n")
    assert result.exit_code == 0, result.stderr
    print(result.stderr)
    settings = load_settings(shop.config, {})
    assert settings.lake.items[0].columns["item_id"].column == "y"
    events = settings.lake.events[0].columns
    assert (events["user_id"].column, events["item_id"].column) == ("x", "y")
    assert (events["timestamp"].unit, events["event_type"].value) == ("s", "purchase")


def test_the_proposal_can_be_printed(shop: Shop) -> None:
    result = shop.run("init", *files(shop), "--yes", "--print")
    assert tomllib.loads(result.out)["lake"]["items"][0]["columns"]["item_id"] == "Artikelnr"
    assert not shop.config.exists()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["init", "artikel.csv"], "Name the shop's files after --from"),
        (["init", "--from", "nothing.csv"], "nothing.csv"),
    ],
)
def test_what_cannot_be_looked_at_is_a_sentence(
    shop: Shop, words: list[str], sentence: str
) -> None:
    result = shop.run(*words)
    assert result.code == 1
    assert sentence in result.err
    assert "Traceback" not in result.err


def test_a_file_that_is_there_is_kept_and_nothing_is_looked_at(shop: Shop) -> None:
    shop.config.write_text("# mine\n")
    result = shop.run("init", *files(shop), "--yes")
    assert result.code == 1
    assert "is already there" in result.err
    assert "ours" not in result.err


def odd_shop(home: Path) -> None:
    """A shop of sixty goods and fifty people, with names and forms that are nobody's default."""
    chance = random.Random(1)
    kinds = ("Garden", "Kitchen", "Bath")
    goods = ["goods_no|what it is|section|subsection|asking price|units left"]
    for number in range(60):
        kind = kinds[number % 3]
        price = f"$1,{number:03}.50" if number % 2 else f"${number}.25"
        goods.append(f"G{number:04}|{kind} thing {number}|{kind}|{kind} {number % 6}|{price}|9")
    log = ["patron|goods_no|deed|on the clock"]
    for person in range(50):
        moment = datetime(2024, 1, 1) + timedelta(minutes=chance.randrange(10_000))
        for _ in range(24):
            number = 3 * chance.randrange(20) + person % 3
            deed = chance.choice(["looked at", "looked at", "put in basket", "bought"])
            log.append(f"P{person:03}|G{number:04}|{deed}|{moment:%Y-%m-%d %H:%M:%S}")
            moment += timedelta(minutes=chance.randrange(5, 6000))
    (home / "goods.txt").write_text("\n".join(goods) + "\n")
    (home / "log.txt").write_text("\n".join(log) + "\n")


def test_files_of_odd_names_become_a_trained_shelf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd_shop(tmp_path)
    shop = Shop(tmp_path)

    def run(*words: str) -> Any:
        result = shop.run(*words)
        assert result.code == 0, result.err
        return result

    goods, log = tmp_path / "goods.txt", tmp_path / "log.txt"
    run("init", "--from", str(goods), str(log), "--yes")
    columns = load_settings(shop.config, {}).lake.events[0].columns
    assert columns["user_id"].column == "patron"
    monkeypatch.setenv("VITRINA_TRAIN__STEPS", "5")
    monkeypatch.setenv("VITRINA_TRAIN__DIM", "16")
    report = run("ingest", "--json").json
    assert (report["items"]["kept"], report["events"]["kept"]) == (60, 50 * 24)
    assert report["events"]["mapped"][0]["columns"]["item_id"] == "goods_no"
    run("train")
    run("index")
    run("evaluate")
    run("publish", "--promote")
    answer = run("recommend", "--user", "P001", "--json").json
    assert len(answer["items"]) >= 5
    assert answer["served_by"]
    assert answer["items"][0]["price"] > 0
