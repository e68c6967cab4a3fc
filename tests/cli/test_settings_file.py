"""vitrina.toml: what `init` writes is what the settings are."""

from __future__ import annotations

import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cli.cli_shop import Shop
from vitrina.cli.settings_file import sections, settings_toml, toml_value
from vitrina.settings import Settings, load_settings

Scalars = st.one_of(
    st.booleans(),
    st.integers(-(2**62), 2**62),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(codec="utf-8")),
)


@given(st.one_of(Scalars, st.lists(Scalars)))
def test_a_value_reads_back_as_it_was(value: Any) -> None:
    assert tomllib.loads(f"value = {toml_value(value)}")["value"] == value


def test_the_written_file_holds_the_defaults(tmp_path: Path) -> None:
    written, empty = tmp_path / "vitrina.toml", tmp_path / "empty.toml"
    written.write_text(settings_toml())
    empty.write_text("")
    assert load_settings(written, {}) == load_settings(empty, {})


def test_every_key_is_shown_with_its_description() -> None:
    text = settings_toml()
    for name, section in sections().items():
        part = text.partition(f"[{name}]\n")[2]
        for key, field in section.model_fields.items():
            assert f"\n{key} =" in part or f"\n# {key} =" in part or f"[{name}.{key}]" in part
            assert field.description is not None
            assert field.description.split(" ")[0] in part


def test_values_that_are_not_the_default_are_written(tmp_path: Path) -> None:
    cut = datetime(2017, 12, 1, tzinfo=UTC)
    weights = {"view": 1.0, "kauf (neu)": 5.0}
    file = tmp_path / "vitrina.toml"
    file.write_text(settings_toml({"evaluate": {"cut": cut}, "events": {"weights": weights}}))
    settings = load_settings(file, {})
    assert settings.evaluate.cut == cut
    assert settings.events.weights == weights


def test_sources_with_columns_read_back_as_they_were(tmp_path: Path) -> None:
    sources = [
        "plain.csv",
        {
            "files": ["clicks*.dat"],
            "header": ["session", "moment", "item"],
            "columns": {
                "item_id": "item",
                "timestamp": {"column": "moment", "unit": "ms"},
                "event_type": {"value": "view"},
            },
            "event_types": {"in den Korb": "add_to_cart"},
        },
    ]
    file = tmp_path / "vitrina.toml"
    file.write_text(settings_toml({"lake": {"events": sources, "max_text_chars": 500}}))
    expected = tmp_path / "expected.toml"
    expected.write_text(f"[lake]\nmax_text_chars = 500\nevents = {toml_value(sources)}\n")
    assert load_settings(file, {}) == load_settings(expected, {})
    assert len(load_settings(file, {}).lake.events) == 2


def test_init_writes_a_file_once(tmp_path: Path) -> None:
    shop = Shop(tmp_path / "new")
    assert shop.run("init").code == 0
    assert Settings.model_validate(tomllib.loads(shop.config.read_text())) == Settings()
    shop.config.write_text("# mine\n")
    refused = shop.run("init")
    assert refused.code == 1
    assert "is already there. Replace it with --force" in refused.err
    assert shop.config.read_text() == "# mine\n"
    assert shop.run("init", "--force").code == 0
    assert "[serve]" in shop.config.read_text()


def test_init_can_print_the_file_and_write_nothing(tmp_path: Path) -> None:
    shop = Shop(tmp_path)
    assert shop.run("init", "--print").out == settings_toml()
    assert not shop.config.exists()
