"""All settings, gathered from `vitrina.toml` and `VITRINA_*` variables.

The sections are in `settings_sections`. A variable overrides its key with two
underscores between section and key: `VITRINA_SERVE__PORT=9000`. `vitrina init` writes a file
with every key and its description, and a test keeps the reference page equal to them.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from vitrina.errors import SettingsError
from vitrina.settings_sections import EvaluateSettings as EvaluateSettings
from vitrina.settings_sections import EventSettings as EventSettings
from vitrina.settings_sections import IndexSettings as IndexSettings
from vitrina.settings_sections import LakeSettings as LakeSettings
from vitrina.settings_sections import PathSettings as PathSettings
from vitrina.settings_sections import Section
from vitrina.settings_sections import ServeSettings as ServeSettings
from vitrina.settings_sections import SparkSettings as SparkSettings
from vitrina.settings_sections import StateSettings as StateSettings
from vitrina.settings_sections import TrainSettings as TrainSettings
from vitrina.settings_sources import Source, hide_passwords

SETTINGS_FILE = "vitrina.toml"
ENV_PREFIX = "VITRINA_"


class Settings(Section):
    """Everything in `vitrina.toml`."""

    paths: PathSettings = Field(default_factory=PathSettings)
    state: StateSettings = Field(default_factory=StateSettings)
    lake: LakeSettings = Field(default_factory=LakeSettings)
    spark: SparkSettings = Field(default_factory=SparkSettings)
    events: EventSettings = Field(default_factory=EventSettings)
    train: TrainSettings = Field(default_factory=TrainSettings)
    index: IndexSettings = Field(default_factory=IndexSettings)
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings)
    serve: ServeSettings = Field(default_factory=ServeSettings)


def load_settings(file: Path | None = None, env: dict[str, str] | None = None) -> Settings:
    """Read settings from `file` (default: ./vitrina.toml if there is one), then the environment.

    Relative paths in [paths] and [lake] become absolute, starting at the file's folder.
    Raises SettingsError, naming the key, for anything unknown or out of range.
    """
    path = file or Path(SETTINGS_FILE)
    if file is not None and not file.exists():
        raise SettingsError(f"No settings file at {file}. Write one with 'vitrina init'.")
    values: dict[str, Any] = {}
    if path.exists():
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise SettingsError(f"{path} is not valid TOML: {error}.") from error
    _apply_environment(values, dict(os.environ) if env is None else env)
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "value_error":  # a sentence of ours, complete
            raise SettingsError(f"{path}: '{key}': {problem['ctx']['error']}.") from error
        found = hide_passwords(repr(problem.get("input")))
        raise SettingsError(
            f"{path}: '{key}' {problem['msg'][0].lower()}{problem['msg'][1:]} "
            f"(found {found}). 'vitrina init --print' shows every key."
        ) from error
    return _anchored(settings, path.resolve().parent)


def _apply_environment(values: dict[str, Any], env: dict[str, str]) -> None:
    """Put VITRINA_SECTION__KEY variables over the file's values; TOML where it parses."""
    for name, text in env.items():
        if not name.startswith(ENV_PREFIX) or "__" not in name:
            continue
        section, _, key = name.removeprefix(ENV_PREFIX).lower().partition("__")
        table = values.setdefault(section, {})
        if not isinstance(table, dict):
            raise SettingsError(f"{name} sets a key of [{section}], but that is no table.")
        table[key] = _parse_scalar(text)


def _parse_scalar(text: str) -> Any:
    """TOML value if it reads as one (numbers, lists, true), else the text itself."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _anchored(settings: Settings, folder: Path) -> Settings:
    paths = {
        name: folder / getattr(settings.paths, name) for name in type(settings.paths).model_fields
    }
    lake = {
        name: [_anchored_source(source, folder) for source in getattr(settings.lake, name)]
        for name in ("items", "events")
    }
    serve = {
        name: folder / value
        for name in ("tls_certificate", "tls_key")
        if (value := getattr(settings.serve, name)) is not None
    }
    return settings.model_copy(
        update={
            "serve": settings.serve.model_copy(update=serve),
            "paths": settings.paths.model_copy(update=paths),
            "lake": settings.lake.model_copy(update=lake),
        }
    )


def _anchored_source(source: Source, folder: Path) -> Source:
    files = [_anchored_address(address, folder) for address in source.files]
    return source.model_copy(update={"files": files})


def _anchored_address(address: str, folder: Path) -> str:
    return address if "://" in address else str(folder / address)
