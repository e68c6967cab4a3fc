"""Where the shop's data comes from, and what its columns are called: `[[lake.items]]` and
`[[lake.events]]` of `vitrina.toml`.

A source is written as an address ("clicks/*.csv") or as a table. Without `columns`, a file's
columns are matched with ours by name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from vitrina.schema import EVENT_COLUMNS, ITEM_INPUTS

KINDS: Final[Mapping[str, str]] = {**ITEM_INPUTS, **EVENT_COLUMNS}
"""The type of each of our columns, of whichever table."""
MOMENT_UNITS: Final = ("s", "ms", "us", "iso", "dmy", "mdy", "ymd")
PASSWORD: Final = re.compile(
    r"(\w://[^\s:/?#@'\"]*):(?!\d*(?:[/?\s'\"]|$))(?:[^\s?'\"]*@|[^\s'\"]*@)"
)
"""`user:password@` of an address; a port is no password."""
PASSWORD_FIELD: Final = re.compile(r"((?:^|[?&\s])(?:ssl)?password=)[^&\s'\"]*")
NUMBERS: Final = ("float64", "int64")


class _Table(BaseModel):
    """A table of `vitrina.toml`. Unknown keys are errors: a typo must not pass for a setting."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Addend(_Table):
    """A second column of a moment: how long after it the thing happened."""

    column: str = Field(description="Their column.")
    unit: Literal["s", "ms", "us"] = Field("s", description="What it counts.")


class ColumnMap(_Table):
    """Where one of our columns comes from. A text or a list of texts stands for `column`."""

    column: str | list[str] | None = Field(
        None,
        description="Their column. Of several, category levels are joined by ' > ', other texts "
        'by a blank. In JSON Lines dots reach into objects: "properties.sku".',
    )
    value: bool | int | float | str | None = Field(
        None, description="The same value for every row, where no column has it."
    )
    unit: float | str | None = Field(
        None,
        description='Of a moment: "s", "ms" or "us" since 1970, "iso", or the order of its day '
        '("dmy", "mdy", "ymd"); default: ISO 8601, or since 1970 in the unit that its size tells. '
        "Of a number: what it is multiplied by (0.01 for cents).",
    )
    zone: str = Field(
        "UTC", description="Time zone (IANA, Europe/Berlin) of moments that do not name one."
    )
    separator: str | None = Field(
        None, min_length=1, description="What stands between the category levels of one column."
    )
    decimal: Literal[".", ","] | None = Field(
        None,
        description="The decimal mark of prices as people write them: currency signs and "
        'thousands separators are taken off. Default: plain numbers ("1299.5").',
    )
    add: Addend | None = Field(
        None, description="A column of a duration, added to the moment of `column`."
    )

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, written: Any) -> Any:
        return {"column": written} if isinstance(written, str | list) else written

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        try:
            ZoneInfo(zone)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(
                f"there is no time zone {zone!r}; write an IANA name such as Europe/Berlin"
            ) from error
        return zone

    @model_validator(mode="after")
    def _one_origin(self) -> ColumnMap:
        if (self.value is None) == (not self.theirs):
            raise ValueError("name their column, or a value for every row: one of the two")
        return self

    @property
    def theirs(self) -> tuple[str, ...]:
        """Their columns that are joined into ours, in order; empty for a constant."""
        if self.column is None:
            return ()
        return (self.column,) if isinstance(self.column, str) else tuple(self.column)

    @property
    def needs(self) -> tuple[str, ...]:
        """All of their columns that are read, the addend's included."""
        return self.theirs + ((self.add.column,) if self.add else ())

    def problem(self, ours: str) -> str | None:
        """What of this map our column `ours` cannot use, as a clause; None if all fits."""
        kind = KINDS[ours]
        if kind == "timestamp":
            if self.unit is not None and self.unit not in MOMENT_UNITS:
                units = ", ".join(f'"{unit}"' for unit in MOMENT_UNITS)
                return f"the unit of a moment is one of {units}"
        elif self.zone != "UTC" or self.add:
            return "zone and add are for moments"
        elif self.unit is not None and kind not in NUMBERS:
            return "unit is for moments and numbers"
        elif self.unit is not None and (isinstance(self.unit, str) or not self.unit > 0):
            return "the unit of a number is a factor above 0, such as 0.01"
        if self.decimal and kind not in NUMBERS:
            return "decimal is for numbers"
        if self.separator and ours != "category_path":
            return "separator is for category_path"
        if len(self.theirs) > 1 and kind in (*NUMBERS, "bool"):
            return "it comes from one column"
        return None


class Source(_Table):
    """Files, or tables of a database, that share their columns. A text stands for `files`."""

    files: list[str] = Field(
        min_length=1,
        description="Files, folders, globs, s3://… or postgresql://… addresses.",
    )
    header: list[str] | None = Field(
        None, min_length=1, description="Names of the columns where files have no header line."
    )
    delimiter: str | None = Field(
        None,
        min_length=1,
        max_length=4,
        description="What stands between fields. Default: detected.",
    )
    encoding: str | None = Field(
        None,
        description="Of text files: latin-1, cp1252, utf-16-le … Default: UTF-8, or what the "
        "file's first bytes say.",
    )
    columns: dict[str, ColumnMap] = Field(
        default_factory=dict,
        description="Our column → theirs. Those not named here are matched by name.",
    )
    event_types: dict[str, str] = Field(
        default_factory=dict, description="Their event type → ours. Others stay as they are."
    )
    unnest: str | None = Field(
        None,
        description="JSON Lines: one row for each element of this list, its fields beside the "
        'outer ones. Dots reach into objects: "properties.products".',
    )

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, written: Any) -> Any:
        if isinstance(written, str):
            return {"files": [written]}
        if isinstance(written, Mapping) and isinstance(written.get("files"), str):
            return {**written, "files": [written["files"]]}
        return written

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, encoding: str | None) -> str | None:
        try:
            "".encode(encoding or "utf-8")
        except LookupError as error:
            raise ValueError(
                f"there is no encoding {encoding!r}; write a name such as latin-1 or cp1252"
            ) from error
        return encoding

    @field_validator("header")
    @classmethod
    def _each_once(cls, header: list[str] | None) -> list[str] | None:
        for name in header or ():
            if (header or []).count(name) > 1:
                raise ValueError(f"{name!r} is there twice")
        return header

    def check(self, table: str, ours: Collection[str]) -> None:
        """Raise ValueError if the map names a column that `table` lacks, or cannot be used."""
        for problem in self._problems(table, ours):
            raise ValueError(f"{hide_passwords(self.files[0])}: {problem}")

    def _problems(self, table: str, ours: Collection[str]) -> Iterator[str]:
        for name, column in self.columns.items():
            if name not in ours:
                yield f"columns.{name}: {table} have no such column; theirs are {', '.join(ours)}"
            elif problem := column.problem(name):
                yield f"columns.{name}: {problem}"
        if self.event_types and table != "events":
            yield f"event_types: {table} have none"


def checked_sources(table: str, sources: list[Source]) -> list[Source]:
    """The sources of "items" or "events". Raises ValueError for a map that does not fit."""
    ours = ITEM_INPUTS if table == "items" else EVENT_COLUMNS
    for source in sources:
        source.check(table, ours)
    return sources


def hide_passwords(text: str) -> str:
    """An address, or a sentence with addresses in it, without their passwords."""
    return PASSWORD_FIELD.sub(r"\1***", PASSWORD.sub(r"\1@", text))
