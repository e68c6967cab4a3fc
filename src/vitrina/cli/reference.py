"""The reference pages that are made from the code: settings, commands and the data contract.

python -m vitrina.cli.reference docs/reference
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from vitrina.cli.settings_file import sections, toml_value
from vitrina.settings_sources import Addend, ColumnMap, Source

SETTINGS_PAGE: Final = "settings.md"
COMMANDS_PAGE: Final = "cli.md"
CONTRACT_PAGE: Final = "contract.md"
SOURCE_TABLES: Final[Mapping[str, type[BaseModel]]] = {
    "[[lake.items]] and [[lake.events]]": Source,
    "Columns of a source": ColumnMap,
    "Addends of a moment": Addend,
}
"""What is written inside `lake.items` and `lake.events`."""
WRITTEN_AS: Final = {"Source": "text or table", "ColumnMap": "text, list or table"}
"""Tables that have a short form."""
MADE_BY: Final = "<!-- Made from the code: `python -m vitrina.cli.reference docs/reference` -->"


def settings_page() -> str:
    """Every section and key of `vitrina.toml`, in Markdown."""
    parts = [
        f"{MADE_BY}\n\n# Settings\n",
        "`vitrina.toml` holds all settings, one table a section. `vitrina init` writes it with "
        "every key, its default and its description; a key left out has its default, an unknown "
        "one is an error. Relative paths start at the folder of the file.\n",
        "An environment variable overrides its key: `VITRINA_`, the section, two underscores, the "
        "key. Values are written as in TOML, texts without quotes:\n",
        "```sh\nVITRINA_SERVE__PORT=9000 VITRINA_LAKE__EVENTS='[\"clicks/*.csv\"]' vitrina serve\n"
        "```\n",
    ]
    for name, section in sections().items():
        parts.append(f"## [{name}]\n\n{(section.__doc__ or '').strip()}\n")
        parts.append(_keys(section))
        if name == "lake":
            for title, table in SOURCE_TABLES.items():
                parts.append(f"### {title}\n\n{(table.__doc__ or '').strip()}\n")
                parts.append(_keys(table))
    return "\n".join(parts)


def commands_page() -> str:
    """Every command with its help, arguments and options, in Markdown."""
    parts = [
        f"{MADE_BY}\n\n# Commands\n",
        "`vitrina COMMAND --help` prints the same. Results go to stdout (tables, or with `--json` "
        "one JSON value and nothing else), progress and messages to stderr.\n",
        "| exit code | meaning |\n|---|---|\n| 0 | done |\n"
        "| 1 | refused or failed; stderr says what was found and what to do |\n"
        "| 2 | the command line cannot be understood, or the data cannot make a recommender |\n"
        "| 130 | stopped by Ctrl-C |\n",
    ]
    for name, command in all_commands():
        parts.append(f"## vitrina {name}\n\n{(command.help or '').strip()}\n")
        parts.append(_parameters(command))
    return "\n".join(parts)


def all_commands() -> Iterator[tuple[str, Any]]:
    """Each command by its full name, a group before its commands."""
    import typer.main

    from vitrina.cli.app import app

    def below(group: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for name, command in group.commands.items():
            yield prefix + name, command
            if hasattr(command, "commands"):
                yield from below(command, f"{prefix}{name} ")

    return below(typer.main.get_command(app), "")


def contract_page() -> str:
    """Every column of the lake's inputs and what it has to be, in Markdown."""
    from vitrina.lake.contract import COLUMNS, REQUIRED, RULES

    parts = [
        f"{MADE_BY}\n\n# The data contract\n",
        "What items and events have to be, after `columns` in `[lake]` has made the shop's columns "
        "ours. A rule takes out the *row*, if it cannot be used, or only the *value*; each time "
        "the quarantine table says which file, row and column, and why. Rows read are rows kept, "
        "quarantined, and duplicates. The first rule that takes out a row is its reason.\n",
    ]
    for table, columns in COLUMNS.items():
        needed = [" or ".join(f"`{name}`" for name in choice) for choice in REQUIRED[table]]
        parts.append(f"## {table}\n\nA file must have {', '.join(needed)}.\n")
        rows = ["| column | type | broken when | takes out |", "|---|---|---|---|"]
        for name, kind in columns.items():
            rules = [rule for rule in RULES[table] if rule.column == name]
            rows += [f"| `{name}` | {kind} | {rule.reason} | {rule.takes} |" for rule in rules]
            if not rules:
                rows.append(f"| `{name}` | {kind} | | |")
        parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


def write_pages(folder: Path) -> None:
    """Write all pages into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SETTINGS_PAGE).write_text(settings_page(), encoding="utf-8")
    (folder / COMMANDS_PAGE).write_text(commands_page(), encoding="utf-8")
    (folder / CONTRACT_PAGE).write_text(contract_page(), encoding="utf-8")


def _keys(section: type[BaseModel]) -> str:
    schema = section.model_json_schema()["properties"]
    rows = ["| key | default | values | what it is |", "|---|---|---|---|"]
    for key, field in section.model_fields.items():
        required = field.is_required()
        default = None if required else field.get_default(call_default_factory=True)
        cells = (
            f"`{key}`",
            "required" if required else _default(default),
            _values(schema[key]),
            field.description or "",
        )
        rows.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(rows) + "\n"


def _default(value: Any) -> str:
    if value is None:
        return "not set"
    if value == {}:
        return "none"
    if isinstance(value, dict):
        return ", ".join(f"`{key} = {toml_value(held)}`" for key, held in value.items())
    return f"`{toml_value(value)}`"


def _values(schema: dict[str, Any]) -> str:
    """What a key may hold, from its JSON schema."""
    if "$ref" in schema:
        return WRITTEN_AS.get(schema["$ref"].rpartition("/")[2], "table")
    if "enum" in schema:
        return " or ".join(f"`{toml_value(value)}`" for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_values(one) for one in schema["anyOf"] if one.get("type") != "null")
    if schema["type"] == "array":
        return f"list of {_values(schema['items'])}"
    if schema["type"] == "object":
        return f"table of {_values(schema['additionalProperties'])}"
    words = {"path": "path", "date-time": "date and time"}
    types = {"string": "text", "integer": "whole number", "number": "number", "boolean": "boolean"}
    bounds = (
        ("exclusiveMinimum", "above"),
        ("minimum", "from"),
        ("exclusiveMaximum", "below"),
        ("maximum", "to"),
    )
    limits = [f"{word} {schema[bound]:,g}" for bound, word in bounds if bound in schema]
    return " ".join([words.get(schema.get("format", ""), types[schema["type"]]), *limits])


def _parameters(command: Any) -> str:
    rows = ["| option | what it does | default |", "|---|---|---|"]
    for parameter in command.params:
        argument = parameter.param_type_name == "argument"
        names = [parameter.name.upper()] if argument else parameter.opts + parameter.secondary_opts
        shown = ", ".join(f"`{name}`" for name in names)
        rows.append(f"| {shown} | {parameter.help or ''} | {_shown_default(parameter)} |")
    return "\n".join(rows) + "\n"


def _shown_default(parameter: Any) -> str:
    if parameter.required:
        return "required"
    shown = parameter.show_default
    if isinstance(shown, str):
        return shown
    default = parameter.default
    if default is None or default is False:
        return ""
    if default is True:
        return f"`{parameter.opts[0]}`"
    return f"`{default}`"


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
