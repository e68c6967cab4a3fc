"""What a shop may send of its catalog, checked and in the form that the catalog keeps it in."""

from __future__ import annotations

from typing import Annotated, Any, Final

import orjson
from pydantic import AfterValidator, BeforeValidator, Field, ValidationError

from vitrina.online.problems import MAX_ERRORS, Problem, field_errors
from vitrina.online.requests import Id, Price, StrictIn
from vitrina.schema import CATEGORY_SEPARATOR

MAX_TEXT: Final = 20_000
MAX_LEVELS: Final = 20


def _split_path(path: Any) -> Any:
    return path.split(CATEGORY_SEPARATOR.strip()) if isinstance(path, str) else path


def _clean_path(path: list[str]) -> list[str]:
    return [level for part in path if (level := part.strip())]


def _storable(attributes: dict[str, Any]) -> dict[str, Any]:
    try:
        orjson.dumps(attributes)
    except orjson.JSONEncodeError as error:
        raise ValueError(f"cannot be kept: {error}") from error
    return attributes


Text = Annotated[str, Field(max_length=MAX_TEXT)]
Name = Annotated[str, Field(max_length=512)]
CategoryPath = Annotated[
    list[Name],
    Field(max_length=MAX_LEVELS),
    BeforeValidator(_split_path, json_schema_input_type=list[str] | str),
    AfterValidator(_clean_path),
]


class ItemIn(StrictIn):
    """Fields of one item. Those left out stay as they are; null takes a value away."""

    item_id: Id
    title: Text | None = None
    description: Text | None = None
    category_path: CategoryPath | None = Field(
        None, description="Levels, broadest first, or one text: 'A > B > C'."
    )
    price: Price | None = None
    currency: Name | None = None
    brand: Name | None = None
    location: Name | None = None
    condition: Name | None = None
    image_url: Text | None = None
    available: bool | None = Field(None, description="False: sold out. Null: to be had.")
    attributes: Annotated[dict[str, Any], AfterValidator(_storable)] | None = Field(
        None, description="A JSON object."
    )


def parse_items(content: Any) -> list[dict[str, Any]]:
    """One item, a list of them, or {"items": [...]}, as fields to be set, each with its item_id.

    Refuses (422) all of them when any cannot be used, naming index and field.
    """
    if isinstance(content, dict) and "items" in content:
        content = content["items"]
    elif isinstance(content, dict):
        content = [content]
    if not isinstance(content, list):
        raise Problem(422, "Send one item, a list of them, or {'items': [...]}.")
    items: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for index, values in enumerate(content):
        if len(errors) >= MAX_ERRORS:
            break
        try:
            items.append(ItemIn.model_validate(values).model_dump(exclude_unset=True))
        except ValidationError as error:
            errors += field_errors(error, index)
    if errors:
        raise Problem(
            422, f"Nothing was changed: {len(errors)} problems in {len(content)} items.", errors
        )
    return items


class ItemIdsIn(StrictIn):
    """Items by their ids."""

    item_ids: list[Id] = Field(min_length=1, max_length=100_000)


def parse_item_ids(content: Any) -> list[str]:
    """The ids in {"item_ids": [...]}. Refuses (422) anything else."""
    try:
        return ItemIdsIn.model_validate(content).item_ids
    except ValidationError as error:
        raise Problem(422, "Nothing was deleted.", field_errors(error)) from error
