"""The routes of the catalog: items, what is like them, and the shop's changes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from vitrina.bundle.bundle import Bundle
from vitrina.online import examples
from vitrina.online.deadline import DEADLINE, HEADER, deadline_ms
from vitrina.online.item_requests import ItemIdsIn, ItemIn, parse_item_ids, parse_items
from vitrina.online.openapi import answers, json_body, one_or_several, schema_of, with_header
from vitrina.online.problems import Problem, json_response, read_json
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
            "Fields left out stay as they are. Items that the serving bundle lacks are kept for "
            "the next one and listed in `waiting`. If any item cannot be used, none is changed."
        ),
        responses=answers(examples.ITEMS_ANSWER, 400, 413, 422, 503),
        openapi_extra=json_body(one_or_several(ItemIn, "items"), examples.ITEMS_CHANGE),
    )
    async def put_items(request: Request) -> Response:
        items = parse_items(await read_json(request))
        return json_response(await run_in_threadpool(service.catalog.put, items))

    @router.post(
        "/items:delete",
        tags=["catalog"],
        summary="Delete items: from the next answer on they are nowhere to be seen.",
        description="PUT an item to have it back. Ids that nobody knows are taken, too.",
        responses=answers(examples.DELETED, 400, 413, 422, 503),
        openapi_extra=json_body(schema_of(ItemIdsIn), examples.ITEM_IDS),
    )
    async def delete_items(request: Request) -> Response:
        item_ids = parse_item_ids(await read_json(request))
        return json_response(await run_in_threadpool(service.catalog.delete, item_ids))

    @router.delete(
        "/items/{item_id:path}",
        tags=["catalog"],
        summary="Delete one item.",
        responses=answers(examples.DELETED, 503),
    )
    def delete_item(item_id: str) -> Response:
        return json_response(service.catalog.delete([item_id]))

    @router.get(
        "/items/{item_id:path}/similar",
        tags=["recommendations"],
        summary="Available items that are near this one.",
        responses=answers(examples.SIMILAR, 404, 422, 503),
        openapi_extra=with_header({}, *DEADLINE),
    )
    async def get_similar(
        request: Request, item_id: str, k: Annotated[int, Query(ge=1, le=100)] = 20
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
        response = json_response(
            {
                "item_id": item_id,
                "degraded": stages.degraded,
                "item_embedding_version": bundle.space.version,
                "bundle": bundle.manifest.version,
                "items": items,
            }
        )
        response.headers.update(server_timing(stages.finish()))
        return response

    @router.get(
        "/items/{item_id:path}",
        tags=["lookups"],
        summary="An item as the shop's catalog has it now.",
        responses=answers(examples.ITEM, 404, 503),
    )
    def get_item(item_id: str) -> Response:
        bundle = service.recommender.bundle
        blob = bundle.catalog.blob(_row(bundle, item_id))
        return Response(blob, media_type="application/json")

    return router


def _row(bundle: Bundle, item_id: str) -> int:
    row = bundle.row_of_item.get(item_id)
    if row is None or not bundle.catalog.row_listed(row):
        raise Problem(404, f"Bundle {bundle.manifest.version} has no item '{item_id[:200]}'.")
    return row
