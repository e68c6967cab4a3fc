"""OpenAPI for routes that read their request themselves: the same models, none of the cost."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, TypeAdapter

from vitrina.online.answers import ProblemDetails
from vitrina.online.problems import Problem, problem_content

PROBLEM: dict[str, Any] = TypeAdapter(ProblemDetails).json_schema()

_REFUSALS: dict[int, str] = {
    400: "The body is not JSON.",
    401: "There is no API key with the request, or it is not (or no longer) known.",
    403: "The API key lacks a scope; `detail` names it.",
    404: "Nothing is known by this id.",
    409: "It cannot be so beside what is known already; `detail` says why.",
    413: "The body is too large.",
    429: "Too many requests: ask again after the seconds in Retry-After.",
    422: "Something in the request cannot be used; `errors` names what.",
    503: "The service cannot do this now; `detail` says why.",
}


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The model's JSON schema with every reference resolved in place."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    resolved: dict[str, Any] = _resolve(schema, definitions)
    return resolved


def json_body(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    """`openapi_extra` for a route with a JSON body."""
    content = {"application/json": {"schema": schema, "example": example}}
    return {"requestBody": {"required": True, "content": content}}


def one_or_several(model: type[BaseModel], name: str) -> dict[str, Any]:
    """The schema of a body that holds one of a model, a list of them, or {name: [...]}."""
    one = schema_of(model)
    several = {"type": "array", "items": one}
    named = {"type": "object", "properties": {name: several}, "required": [name]}
    return {"oneOf": [one, several, named]}


def query_parameters(model: type[BaseModel], leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """`openapi_extra` for a route whose query string holds the model's fields."""
    properties = schema_of(model)["properties"]
    return {
        "parameters": [
            {
                "name": name,
                "in": "query",
                "required": False,
                "schema": schema,
                "description": schema.get("description", ""),
            }
            for name, schema in properties.items()
            if name not in leave_out
        ]
    }


def with_header(
    extra: dict[str, Any], name: str, schema: dict[str, Any], description: str
) -> dict[str, Any]:
    """`openapi_extra` of a route that reads a request header, too."""
    header = {
        "name": name,
        "in": "header",
        "required": False,
        "schema": schema,
        "description": description,
    }
    return {**extra, "parameters": [*extra.get("parameters", ()), header]}


def answers(shape: Any, example: Any, *problems: int) -> dict[int | str, dict[str, Any]]:
    """`responses` of a route: what it answers, with an example, and the refusals it may give."""
    return {
        200: {"model": shape, "content": {"application/json": {"example": example}}},
        **{int(status): refusal for status, refusal in refusals(*problems).items()},
    }


def refusals(*problems: int) -> dict[str, dict[str, Any]]:
    """The part of `responses` that says which refusals a route may give."""
    return {str(status): _refusal(status) for status in problems}


def _refusal(status: int) -> dict[str, Any]:
    description = _REFUSALS[status]
    example = problem_content(Problem(status, description))
    content = {"application/problem+json": {"schema": PROBLEM, "example": example}}
    return {"description": description, "content": content}


def _resolve(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, dict):
        if "$ref" in node:
            return _resolve(definitions[node["$ref"].rpartition("/")[2]], definitions)
        return {key: _resolve(value, definitions) for key, value in node.items()}
    if isinstance(node, list):
        return [_resolve(value, definitions) for value in node]
    return node
