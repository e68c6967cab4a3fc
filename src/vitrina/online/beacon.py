"""The script that shops put into their pages: it gathers events and sends them together."""

from __future__ import annotations

from importlib import resources

from fastapi import APIRouter, Response


def beacon() -> APIRouter:
    """/beacon.js"""
    router = APIRouter()
    script = (resources.files("vitrina.online") / "beacon.js").read_bytes()

    @router.get("/beacon.js", include_in_schema=False)
    async def beacon_js() -> Response:
        headers = {
            "Cache-Control": "public, max-age=3600",
            "Cross-Origin-Resource-Policy": "cross-origin",
        }
        return Response(script, media_type="text/javascript", headers=headers)

    return router
