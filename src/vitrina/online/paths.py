"""Paths with an id in them: any text, slashes and line ends included, as events may bring it."""

from __future__ import annotations

from typing import Final

from starlette.convertors import Convertor, register_url_convertor


class _AnyText(Convertor[str]):
    """Starlette's own `path` stops at a line end."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("id", _AnyText())

ITEM: Final = "/items/{item_id:id}"
USER: Final = "/users/{user_id:id}"
