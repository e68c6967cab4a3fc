"""`vitrina ingest`: from a shop's files to histories that the shop's bundle answers to."""

from __future__ import annotations

import pytest

from cli.cli_shop import EVENTS, REGULARS, Shop, make_shop
from vitrina.schema import Event
from vitrina.state.sqlite import SqliteState


def test_ingest_fills_the_lake_and_the_histories(shop: Shop) -> None:
    result = shop.run("ingest", "--json")
    assert result.code == 0
    assert result.json["items"]["kept"] == 3
    assert result.json["events"]["kept"] == 24
    assert result.json["histories"] == 24
    state = SqliteState(shop.home / "data/state.sqlite")
    ann, visitor = state.recent("ann", 10), state.recent("session:s3", 10)
    assert ann.item_ids == ("soup", "soup")
    assert ann.event_types == ("view", "purchase")
    assert state.purchases("ann").item_ids == ("soup",)
    assert visitor.item_ids == ("milk",)
    state.close()


def test_the_tables_say_what_was_set_apart_and_why(shop: Shop) -> None:
    result = shop.run("ingest")
    assert result.code == 0
    assert "timestamp: not a timestamp" in result.out
    assert "24 events are in the shoppers' histories." in result.err


def test_histories_can_be_left_alone(shop: Shop) -> None:
    result = shop.run("ingest", "--no-histories", "--json")
    assert result.json["histories"] is None
    assert not (shop.home / "data/state.sqlite").exists()


def test_ingesting_again_replaces_the_histories(shop: Shop) -> None:
    shop.run("ingest")
    (shop.home / "events.csv").write_text(EVENTS.replace("ann,", "eve,") + REGULARS)
    assert shop.run("ingest").code == 0
    state = SqliteState(shop.home / "data/state.sqlite")
    assert len(state.recent("ann", 10)) == 0
    assert len(state.recent("eve", 10)) == 2
    state.close()


@pytest.mark.parametrize(
    ("items", "sentence", "code"),
    [
        ("title\nsoup\n", "items.csv has no column 'item_id'", 1),
        ("", "items.csv is empty", 1),
        ("item_id\n", "There are no items to learn from", 2),
    ],
)
def test_files_of_no_use_end_in_a_sentence(
    shop: Shop, items: str, sentence: str, code: int
) -> None:
    result = make_shop(shop.home, items=items).run("ingest")
    assert result.code == code
    assert sentence in result.err
    assert "Traceback" not in result.err
    assert result.out == ""


def test_a_mistyped_setting_is_named(shop: Shop) -> None:
    shop.config.write_text("[lake]\nitem = []\n")
    result = shop.run("ingest")
    assert result.code == 1
    assert "'lake.item'" in result.err


def test_a_settings_file_that_is_not_there_is_named(shop: Shop) -> None:
    shop.config.unlink()
    result = shop.run("ingest")
    assert result.code == 1
    assert f"No settings file at {shop.config}" in result.err


def test_a_folder_that_cannot_be_written_is_a_sentence(shop: Shop) -> None:
    (shop.home / "data").write_text("a file where a folder should be")
    result = shop.run("ingest")
    assert result.code == 1
    assert str(shop.home / "data") in result.err
    assert "Traceback" not in result.err


def test_data_that_cannot_make_a_recommender_is_exit_code_2(shop: Shop) -> None:
    shop.run("ingest")
    result = make_shop(shop.home, events=EVENTS).run("ingest", "--json")
    assert result.code == 2
    assert result.out == ""
    assert (
        "Only 3 shoppers did something that teaches; a recommender needs at least 10" in result.err
    )
    assert shop.run("lake report", "--json").json["shoppers"]["members"] == 13, "the last good ones"


def test_ingesting_again_reads_what_is_new_unless_everything_is_asked_for(shop: Shop) -> None:
    assert shop.run("ingest", "--json").json["rebuilt"] is not None
    again = shop.run("ingest", "--json").json
    assert (again["rebuilt"], again["events"]["read_now"]) == (None, 0)
    full = shop.run("ingest", "--full")
    assert "all files of events were read: a full run was asked for" in full.out


def test_what_the_server_has_stored_comes_into_the_lake_by_command(shop: Shop) -> None:
    nothing = shop.run("lake compact")
    assert nothing.code == 1
    assert "There is no event log" in nothing.err
    kept = shop.run("ingest", "--json").json["events"]["kept"]
    state = SqliteState(shop.home / "data/state.sqlite")
    state.append([Event("live", "soup", "view", 1_714_730_400_000_000, user_id="ann")])
    state.close()
    done = shop.run("lake compact", "--json").json
    assert (done["landed"], done["trimmed"]) == (1, 0)
    assert done["ingest"]["events"]["kept"] == kept + 1
    assert "0 new events" in shop.run("lake compact").err
