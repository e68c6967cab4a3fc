"""The routes of the catalog: items, what is like them, and the shop's changes."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from vitrina.bundle.bundle import Bundle
from vitrina.online import examples
from vitrina.online.answers import Item, ItemsDeleted, ItemsTaken, SimilarItems
from vitrina.online.conditional import IF_NONE_MATCH, NOT_MODIFIED, conditional
from vitrina.online.deadline import DEADLINE, HEADER, deadline_ms
from vitrina.online.item_requests import ItemIdsIn, ItemIn, parse_item_ids, parse_items
from vitrina.online.openapi import answers, json_body, one_or_several, schema_of, with_header
from vitrina.online.paths import ITEM
from vitrina.online.problems import Problem, json_response, read_json
from vitrina.online.requests import Id
from vitrina.online.service import Service
from vitrina.online.stages import server_timing


def item_routes(service: Service) -> APIRouter:
    """Everything under /v1/items."""
    router = APIRouter(prefix="/v1")

    @router.put(
        "/items",
        tags=["catalog"],
        summary="Change items, or add them: one item, a list, or {items: [...]}.",
        description=(
            "When this answers, the changes are on disk, and the next recommendation shows and "
            "filters by them. They last until a bundle is made of files that were read later. "
            "Fields left out stay as they are. Items that the serving bundle lacks are placed by "
            "their content; those that cannot be are kept for the next bundle and listed in "
            "`waiting`. If any item cannot be used, none is changed."
        ),
        responses=answers(ItemsTaken, examples.ITEMS_ANSWER, 400, 413, 422, 503),
        openapi_extra=json_body(one_or_several(ItemIn, "items"), examples.ITEMS_CHANGE),
    )
    async def put_items(request: Request) -> Response:
        content = await read_json(request)
        return json_response(
            await run_in_threadpool(lambda: service.catalog.put(parse_items(content)))
        )

    @router.post(
        "/items:delete",
        tags=["catalog"],
        summary="Delete items: from the next answer on they are nowhere to be seen.",
        description="PUT an item to have it back. Ids that nobody knows are taken, too.",
        responses=answers(ItemsDeleted, examples.DELETED, 400, 413, 422, 503),
        openapi_extra=json_body(schema_of(ItemIdsIn), examples.ITEM_IDS),
    )
    async def delete_items(request: Request) -> Response:
        item_ids = parse_item_ids(await read_json(request))
        return json_response(await run_in_threadpool(service.catalog.delete, item_ids))

    @router.delete(
        ITEM,
        tags=["catalog"],
        summary="Delete one item.",
        responses=answers(ItemsDeleted, examples.DELETED, 422, 503),
    )
    def delete_item(item_id: Id) -> Response:
        return json_response(service.catalog.delete([item_id]))

    @router.get(
        f"{ITEM}/similar",
        tags=["recommendations"],
        summary="Available items that are near this one.",
        responses=answers(SimilarItems, examples.SIMILAR, 404, 422, 503) | NOT_MODIFIED,
        openapi_extra=with_header(with_header({}, *DEADLINE), *IF_NONE_MATCH),
    )
    async def get_similar(
        request: Request, item_id: Id, k: Annotated[int, Query(ge=1, le=100)] = 20
    ) -> Response:
        recommender = service.recommender
        bundle = recommender.bundle
        row = _row(bundle, item_id)
        deadline = deadline_ms(request.headers.get(HEADER), service.settings.serve.deadline_ms)
        items, stages = await service.deadlines.keep(
            lambda stages: recommender.similar(row, k, stages),
            recommender.breakers,
            deadline / 1e3,
        )
        body = orjson.dumps(
            {
                "item_id": item_id,
                "degraded": stages.degraded,
                "item_embedding_version": bundle.space.version,
                "bundle": bundle.manifest.version,
                "items": items,
            }
        )
        response = conditional(request, body)
        response.headers.update(server_timing(stages.finish()))
        return response

    @router.get(
        ITEM,
        tags=["lookups"],
        summary="An item as the shop's catalog has it now.",
        responses=answers(Item, examples.ITEM, 404, 422, 503) | NOT_MODIFIED,
        openapi_extra=with_header({}, *IF_NONE_MATCH),
    )
    def get_item(request: Request, item_id: Id) -> Response:
        bundle = service.recommender.bundle
        blob = bundle.catalog.blob(_row(bundle, item_id))
        return conditional(request, blob)

    return router


def _row(bundle: Bundle, item_id: str) -> int:
    row = bundle.row_of_item.get(item_id)
    if row is None or not bundle.catalog.row_listed(row):
        raise Problem(404, f"Bundle {bundle.manifest.version} has no item '{item_id[:200]}'.")
    return row
