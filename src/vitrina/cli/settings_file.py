"""`vitrina.toml` as text, with every key and its description, made from `settings.py`."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from vitrina.bundle.files import replace_file
from vitrina.errors import SettingsError
from vitrina.settings import Settings
from vitrina.settings_sections import Section

WIDTH = 96


@dataclass(frozen=True, slots=True)
class Noted:
    """A value of a source, or of one of its tables, with a comment for people beside it."""

    value: Any
    note: str


def settings_toml(values: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """The text of a settings file. values: by section and key, those that are not the default."""
    parts = [
        "# Settings of Vitrina. A variable overrides its key: VITRINA_SERVE__PORT=9000.\n"
        "# Relative paths start at the folder of this file.\n"
    ]
    for name, section in sections().items():
        parts.append(_section_text(name, section, (values or {}).get(name, {})))
    return "\n".join(parts)


def write_settings_file(file: Path, text: Callable[[], str], *, force: bool) -> None:
    """Write a settings file, whole or not at all. `text` is asked for only if it will be written.

    Raises SettingsError when the file is there and may not be replaced.
    """
    if file.exists() and not force:
        raise SettingsError(
            f"{file} is already there. Replace it with --force, or compare it with what "
            f"'vitrina init --print' shows."
        )
    content = text().encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, content)


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
        case list() | tuple():
            return f"[{', '.join(toml_value(entry) for entry in value)}]"
        case Mapping():
            pairs = ", ".join(f"{_key(name)} = {toml_value(held)}" for name, held in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
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
        elif isinstance(value, list) and any(isinstance(entry, Mapping) for entry in value):
            tables += ["", *comment, *_array_of_tables(f"{name}.{key}", value)][:-1]
        elif value is None:  # TOML has no null: the key is shown, but not set
            lines += [*comment, f"# {key} ="]
        else:
            lines += [*comment, f"{key} = {toml_value(value)}"]
    return "\n".join(lines + tables).rstrip() + "\n"


def _array_of_tables(name: str, entries: Sequence[Any]) -> Iterator[str]:
    """`[[name]]` for each entry, its tables below it; a plain address is one of only files."""
    for entry in entries:
        table = entry if isinstance(entry, Mapping) else {"files": [entry]}
        yield f"[[{name}]]"
        for key, held in table.items():
            if not isinstance(held, Mapping):
                yield _line(key, held)
        for key, held in table.items():
            if isinstance(held, Mapping) and held:
                yield f"[{name}.{_key(key)}]"
                yield from (_line(inner, value) for inner, value in held.items())
        yield ""


def _line(key: str, held: Any) -> str:
    value, note = (held.value, held.note) if isinstance(held, Noted) else (held, "")
    return f"{_key(key)} = {toml_value(value)}" + (f"  # {note}" if note else "")


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else toml_value(name)
