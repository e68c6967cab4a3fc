"""Writes vitrina.ts, the TypeScript client, from the OpenAPI of the service.

python clients/typescript/generate.py
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from vitrina.online.app import create_app
from vitrina.settings import PathSettings, Settings

FILE: Final = Path(__file__).with_name("vitrina.ts")
RUNTIME: Final = Path(__file__).with_name("runtime.ts")
"""What no description says: how to send a request, and when to send it again."""

_PLAIN: Final = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean"}
_INDENT: Final = "  "


def openapi() -> dict[str, Any]:
    """The description of the service as it stands."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / name for name in ("bundles", "state", "catalog", "keys")}
        return create_app(Settings(paths=PathSettings(**paths))).openapi()


def client(document: Mapping[str, Any]) -> str:
    """The text of vitrina.ts."""
    schemas = document["components"]["schemas"]
    methods = "\n\n".join(_methods(document["paths"]))
    runtime = RUNTIME.read_text(encoding="utf-8")
    before, found, after = runtime.partition(f"{_INDENT}// Calls\n")
    assert found, f"{RUNTIME} does not say where the calls go"
    return "\n".join(
        [
            "// Made from the service's OpenAPI: python clients/typescript/generate.py\n",
            *(_interface(name, schema) for name, schema in sorted(schemas.items())),
            before + methods + "\n" + after,
        ]
    )


def _interface(name: str, schema: Mapping[str, Any]) -> str:
    return f"{_comment(schema.get('description'))}export interface {name} {_object(schema, '')}\n"


def _methods(paths: Mapping[str, Any]) -> Iterator[str]:
    for path, operations in paths.items():
        for method, operation in operations.items():
            yield _method(method.upper(), path, operation)


def _method(method: str, path: str, operation: Mapping[str, Any]) -> str:
    name = _camel(re.split(r"_v1_|(?<=z)_|(?<=metrics)_", operation["operationId"])[0])
    arguments, given = [], []
    in_query = [entry for entry in operation.get("parameters", ()) if entry["in"] == "query"]
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            arguments.append(f"{_camel(parameter['name'])}: string")
    place = re.sub(r"\{(\w+)\}", lambda m: f"${{encodeURIComponent({_camel(m[1])})}}", path)
    if body := operation.get("requestBody"):
        schema = body["content"]["application/json"]["schema"]
        arguments.append(f"body: {_type(schema, _INDENT)}")
        given.append("body")
    if in_query:
        fields = {entry["name"]: entry["schema"] for entry in in_query}
        required = [entry["name"] for entry in in_query if entry.get("required")]
        query = _object({"properties": fields, "required": required}, _INDENT)
        arguments.append(f"query: {query}{'' if required else ' = {}'}")
        given.append("query")
    answer = "string"
    content = operation["responses"]["200"]["content"]
    if "application/json" in content:
        answer = _type(content["application/json"]["schema"], _INDENT)
    options = f", {{ {', '.join(given)} }}" if given else ""
    return (
        f"{_comment(operation['summary'], _INDENT)}"
        f"{_INDENT}{name}({', '.join(arguments)}): Promise<{answer}> {{\n"
        f'{_INDENT}{_INDENT}return this.call("{method}", `{place}`{options})\n'
        f"{_INDENT}}}"
    )


def _type(schema: Mapping[str, Any], indent: str) -> str:
    """A schema as a type."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if "const" in schema:
        return json.dumps(schema["const"])
    if "enum" in schema:
        return " | ".join(json.dumps(value) for value in schema["enum"])
    for choice in ("anyOf", "oneOf"):
        if choice in schema:
            return " | ".join(dict.fromkeys(_type(one, indent) for one in schema[choice]))
    kind = schema.get("type")
    if kind == "null":
        return "null"
    if kind == "array":
        items = _type(schema.get("items", {}), indent)
        return f"({items})[]" if " | " in items else f"{items}[]"
    if kind == "object" and "properties" not in schema:
        values = schema.get("additionalProperties", {})
        of = _type(values, indent) if isinstance(values, Mapping) and values else "unknown"
        return f"Record<string, {of}>"
    if kind == "object":
        return _object(schema, indent)
    return _PLAIN.get(str(kind), "unknown")


def _object(schema: Mapping[str, Any], indent: str) -> str:
    inner = indent + _INDENT
    required = schema.get("required", ())
    lines = []
    for name, field in schema.get("properties", {}).items():
        mark = "" if name in required else "?"
        key = name if re.fullmatch(r"[A-Za-z_]\w*", name) else json.dumps(name)
        lines.append(_comment(field.get("description"), inner))
        lines.append(f"{inner}{key}{mark}: {_type(field, inner)}\n")
    if schema.get("additionalProperties") is True:
        lines.append(f"{inner}[field: string]: unknown\n")
    return "{\n" + "".join(lines) + indent + "}"


def _comment(text: str | None, indent: str = "") -> str:
    words = " ".join((text or "").split()).replace("*/", "* /")
    return f"{indent}/** {words} */\n" if words else ""


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


if __name__ == "__main__":
    FILE.write_text(client(openapi()), encoding="utf-8")
