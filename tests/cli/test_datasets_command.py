"""`vitrina datasets`: from the list to an ingested copy."""

from __future__ import annotations

from pathlib import Path

from cli.cli_shop import Shop, run
from lake.dataset_copy import write_copy
from vitrina.lake.datasets.registry import DATASETS

TOYS = {
    "toys/Toys.txt": "".join(f"{user} 7 3 9\n" for user in range(1, 21)),
    "toys/Toys_item2attributes.json": '{"7": [1, 2]}',
}


def test_the_list_has_every_set_with_terms_and_address() -> None:
    shown = run("datasets")
    assert shown.code == 0
    for dataset in DATASETS.values():
        for text in (dataset.name, dataset.terms, dataset.address):
            assert text in shown.out
    assert [entry["name"] for entry in run("datasets", "--json").json] == list(DATASETS)


def test_one_set_is_shown_with_its_decisions() -> None:
    shown = run("datasets", "show", "retailrocket")
    assert "2.756 million events · 417,053 items · 1.408 million users" in shown.out
    assert "item_properties_part*.csv" in shown.out
    assert "'transaction' is purchase" in shown.out
    assert run("datasets", "show", "hm", "--json").json["events"] == 31_788_324


def test_a_copy_is_set_up_and_ingested(tmp_path: Path) -> None:
    write_copy(tmp_path, TOYS)
    shop = Shop(tmp_path)
    done = run("datasets", "init", "s3rec", str(tmp_path / "toys"), "--config", str(shop.config))
    assert done.code == 0
    assert "There are no moments." in done.err
    assert 'files = ["data/prepared/events.parquet"]' in shop.config.read_text()
    report = shop.run("ingest", "--json").json
    assert (report["items"]["kept"], report["events"]["kept"], report["users"]) == (3, 60, 20)


def test_settings_that_are_there_are_not_touched(tmp_path: Path) -> None:
    write_copy(tmp_path, TOYS)
    config = tmp_path / "vitrina.toml"
    config.write_text("# mine\n")
    words = ("datasets", "init", "s3rec", str(tmp_path / "toys"), "--config", str(config))
    refused = run(*words)
    assert refused.code == 1
    assert "is already there. Replace it with --force" in refused.err
    assert config.read_text() == "# mine\n"
    assert not (tmp_path / "data").exists()
    assert run(*words, "--force").code == 0


def test_an_incomplete_copy_ends_with_exit_code_1(tmp_path: Path) -> None:
    checked = run("datasets", "check", "s3rec", str(write_copy(tmp_path, TOYS) / "toys"))
    assert checked.code == 0
    assert "✓ Toys.txt has the expected form." in checked.out
    missing = run("datasets", "check", "hm", str(tmp_path))
    assert missing.code == 1
    assert "✗ articles.csv is missing." in missing.out


def test_an_unknown_set_is_a_sentence(tmp_path: Path) -> None:
    result = run("datasets", "check", "netflix", str(tmp_path))
    assert result.code == 1
    assert "There is no data set 'netflix'" in result.err
