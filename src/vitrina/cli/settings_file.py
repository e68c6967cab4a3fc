"""`vitrina.toml` as text, with every key and its description, made from `settings.py`."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from vitrina.settings import Section, Settings

WIDTH = 96


def settings_toml(values: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The text of a settings file. values: by section and key, those that are not the default."""
    parts = [
        "# Settings of Vitrina. A variable overrides its key: VITRINA_SERVE__PORT=9000.\n"
        "# Relative paths start at the folder of this file.\n"
    ]
    for name, section in sections().items():
        parts.append(_section_text(name, section, (values or {}).get(name, {})))
    return "\n".join(parts)


def sections() -> dict[str, type[Section]]:
    """The tables of the file, in order."""
    found: dict[str, type[Section]] = {}
    for name, field in Settings.model_fields.items():
        section = field.annotation
        assert isinstance(section, type)
        assert issubclass(section, Section)
        found[name] = section
    return found


def toml_value(value: Any) -> str:
    """A setting's value in TOML."""
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case str() | Path():
            # TOML's basic strings are JSON's, but for DEL.
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
        case list():
            return f"[{', '.join(toml_value(entry) for entry in value)}]"
        case _:
            raise TypeError(f"no TOML for {type(value).__name__}")


def _section_text(name: str, section: type[Section], values: Mapping[str, Any]) -> str:
    lines = [f"# {(section.__doc__ or '').strip()}", f"[{name}]"]
    tables: list[str] = []
    for key, field in section.model_fields.items():
        comment = textwrap.wrap(
            field.description or "", WIDTH, initial_indent="# ", subsequent_indent="# "
        )
        value = values.get(key, field.get_default(call_default_factory=True))
        if isinstance(value, Mapping):
            tables += ["", *comment, f"[{name}.{key}]"]
            tables += [f"{_key(entry)} = {toml_value(held)}" for entry, held in value.items()]
        elif value is None:  # TOML has no null: the key is shown, but not set
            lines += [*comment, f"# {key} ="]
        else:
            lines += [*comment, f"{key} = {toml_value(value)}"]
    return "\n".join(lines + tables) + "\n"


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)
