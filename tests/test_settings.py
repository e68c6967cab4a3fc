"""Settings: the file, then the environment, and errors that name the key."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import ValidationError

from vitrina.errors import SettingsError
from vitrina.settings import Settings, load_settings
from vitrina.settings_sources import ColumnMap, Source


def written(folder: Path, text: str) -> Path:
    path = folder / "vitrina.toml"
    path.write_text(text)
    return path


def test_a_variable_goes_over_the_file_and_the_file_over_the_default(tmp_path: Path) -> None:
    file = written(tmp_path, "[serve]\nport = 9000\nhost = '0.0.0.0'\n[train]\ndim = 32\n")
    settings = load_settings(file, {"VITRINA_SERVE__PORT": "9100"})
    assert settings.serve.port == 9100
    assert settings.serve.host == "0.0.0.0"
    assert settings.train.dim == 32
    assert settings.train.seed == Settings().train.seed


@pytest.mark.parametrize(
    ("name", "text", "section", "key", "expected"),
    [
        ("VITRINA_TRAIN__STEPS", "12", "train", "steps", 12),
        ("VITRINA_INDEX__RECALL_TARGET", "0.95", "index", "recall_target", 0.95),
        ("VITRINA_SERVE__HOST", "10.0.0.7", "serve", "host", "10.0.0.7"),
        ("VITRINA_SERVE__HOST", "::1", "serve", "host", "::1"),
        ("VITRINA_TRAIN__ENCODER", "mlp", "train", "encoder", "mlp"),
        (
            "VITRINA_LAKE__EVENTS",
            '["s3://shop/a", {files = "/b", columns = {item_id = "sku"}}]',
            "lake",
            "events",
            [
                Source(files=["s3://shop/a"]),
                Source(files=["/b"], columns={"item_id": ColumnMap(column="sku")}),
            ],
        ),
        ("VITRINA_EVENTS__WEIGHTS", "{view = 1, sale = 2}", "events", "weights", None),
        ("VITRINA_EVALUATE__CUT", "2024-05-01", "evaluate", "cut", datetime(2024, 5, 1)),
        (
            "VITRINA_EVALUATE__CUT",
            "2024-05-01T10:00:00Z",
            "evaluate",
            "cut",
            datetime(2024, 5, 1, 10, tzinfo=UTC),
        ),
    ],
)
def test_variables_are_read_as_what_they_look_like(
    tmp_path: Path, name: str, text: str, section: str, key: str, expected: object
) -> None:
    settings = load_settings(written(tmp_path, ""), {name: text, "HOME": "/", "VITRINA_X": "1"})
    found = getattr(getattr(settings, section), key)
    assert found == ({"view": 1.0, "sale": 2.0} if key == "weights" else expected)


def test_relative_paths_start_at_the_files_folder(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        "[paths]\nlake = 'my/lake'\nruns = '/elsewhere/runs'\n"
        "[lake]\nitems = ['items.csv', '/abs/items.csv', 's3://shop/items.parquet']\n",
    )
    settings = load_settings(file, {})
    assert settings.paths.lake == tmp_path / "my/lake"
    assert settings.paths.runs == Path("/elsewhere/runs")
    assert settings.paths.bundles == tmp_path / "data/bundles"
    assert [source.files for source in settings.lake.items] == [
        [str(tmp_path / "items.csv")],
        ["/abs/items.csv"],
        ["s3://shop/items.parquet"],
    ]


def test_a_source_says_what_its_columns_are(tmp_path: Path) -> None:
    file = written(
        tmp_path,
        """
[[lake.events]]
files = ["clicks.dat", "s3://shop/clicks"]
header = ["session", "at", "item"]
event_types = { pageview = "view" }

[lake.events.columns]
session_id = "session"
item_id = "item"
timestamp = { column = "at", unit = "ms", zone = "Europe/Berlin" }
event_type = { value = "view" }
""",
    )
    (source,) = load_settings(file, {}).lake.events
    assert source.files == [str(tmp_path / "clicks.dat"), "s3://shop/clicks"]
    assert source.columns["session_id"].theirs == ("session",)
    assert source.columns["timestamp"].zone == "Europe/Berlin"
    assert source.columns["event_type"].value == "view"


SOURCE = "[[lake.events]]\nfiles = 'a.csv'\n"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("columns = { price = 'p' }", "a.csv: columns.price: events have no such column"),
        ("columns = { item_id = { zone = 'Europe/Berlin', column = 'i' } }", "for moments"),
        ("columns = { value = { unit = 'ms', column = 'i' } }", "a factor above 0"),
        ("columns = { timestamp = { unit = 'd', column = 'i' } }", "the unit of a moment"),
        ("columns = { timestamp = { zone = 'Berlin', column = 'i' } }", "no time zone 'Berlin'"),
        ("columns = { timestamp = { unit = 's' } }", "one of the two"),
        ("columns = { timestamp = { colum = 's' } }", "events.0.columns.timestamp.colum"),
        ("columns = { value = ['a', 'b'] }", "comes from one column"),
        ("header = ['a', 'a']", "'a' is there twice"),
        ("heading = ['a']", "events.0.heading"),
    ],
)
def test_a_map_that_does_not_fit_is_named(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load_settings(written(tmp_path, SOURCE + text), {})


def test_without_a_file_the_folder_of_work_is_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = load_settings(env={})
    assert settings.paths.lake == tmp_path / "data/lake"
    assert settings.train == Settings().train


@pytest.mark.parametrize(
    ("text", "env", "named"),
    [
        ("[serve]\nprot = 9000\n", {}, "'serve.prot'"),
        ("[sreve]\nport = 9000\n", {}, "'sreve'"),
        ("[train]\nsteps = 0\n", {}, "'train.steps'"),
        ("[train]\nencoder = 'lstm'\n", {}, "'train.encoder'"),
        ("[index]\nrecall_target = 1.5\n", {}, r"'index.recall_target'.*1\.5"),
        ("", {"VITRINA_SERVE__PORT": "many"}, "'serve.port'.*'many'"),
        ("", {"VITRINA_SREVE__PORT": "1"}, "'sreve'"),
        ("serve = 9000\n", {"VITRINA_SERVE__PORT": "1"}, "VITRINA_SERVE__PORT"),
        ("[serve\n", {}, "not valid TOML"),
    ],
)
def test_what_cannot_be_used_is_named(
    tmp_path: Path, text: str, env: dict[str, str], named: str
) -> None:
    with pytest.raises(SettingsError, match=named):
        load_settings(written(tmp_path, text), env)


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    file = tmp_path / "vitrina.toml"
    file.write_bytes("[serve]\nhost = 'é'\n".encode("latin-1"))
    with pytest.raises(SettingsError, match="not valid TOML"):
        load_settings(file, {})


def test_settings_do_not_change_after_they_are_read() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Settings().train.steps = 1
