"""The two clients: the same calls, one by one or in asyncio."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, Self, Unpack

import httpx

import vitrina
from vitrina.client import calls
from vitrina.client.answers import Acknowledged, Erased, Item, Recommendations, Shown
from vitrina.client.calls import Call, Event, ItemChange, T, Wanted
from vitrina.client.retries import Retries, ServiceError

TIMEOUT_SECONDS: Final = 2.0
"""A shop's page does not wait longer for its shelf."""


class Client:
    """The service at `url`, for one program; safe to use from many threads.

    key: an API key, if the service has any. timeout: seconds until a try is given up. Every call
    raises ServiceError when it is refused, or when the service cannot be reached.
    """

    def __init__(
        self,
        url: str,
        key: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        retries: Retries | None = None,
    ) -> None:
        self._http = httpx.Client(base_url=url, headers=_headers(key), timeout=timeout)
        self._retries = retries or Retries()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; the client cannot be used afterwards."""
        self._http.close()

    def record(self, *events: Event) -> Acknowledged:
        """Record what shoppers did. When it returns, the events are on disk, and the next answer
        knows of them."""
        return self._send(calls.record(events))

    def recommend(self, **wanted: Unpack[Wanted]) -> Recommendations:
        """Items for a shopper, a session, or somebody nobody knows yet."""
        return self._send(calls.recommend(wanted))

    def recommend_batch(self, requests: Sequence[Wanted]) -> list[Recommendations | ServiceError]:
        """Several requests at once: for each, in their order, its answer or why it has none."""
        return self._send(calls.recommend_batch(requests))

    def similar(self, item_id: str, k: int = 20) -> list[Shown]:
        """Available items near an item, nearest first."""
        return self._send(calls.similar(item_id, k))

    def item(self, item_id: str) -> Item:
        """An item as the catalog has it now."""
        return self._send(calls.item(item_id))

    def put_items(self, *items: ItemChange) -> list[str]:
        """Change items, or add them. Returns the ids that wait for the next bundle."""
        return self._send(calls.put_items(items))

    def delete_items(self, *item_ids: str) -> None:
        """Delete items: from the next answer on they are nowhere to be seen."""
        self._send(calls.delete_items(item_ids))

    def identify(self, session_id: str, user_id: str) -> None:
        """Say who a session's visitor is, when they sign in."""
        self._send(calls.identify(session_id, user_id))

    def export(self, user_id: str) -> Mapping[str, Any]:
        """Everything that is held of a person."""
        return self._send(calls.export(user_id))

    def erase(self, user_id: str) -> Erased:
        """Forget a person; returns the receipt."""
        return self._send(calls.erase(user_id))

    def _send(self, call: Call[T]) -> T:
        asked = 0
        while True:
            try:
                return _read(call, self._http.request(**_request(call)))
            except httpx.TransportError as error:
                refusal = _unreachable(self._http.base_url, error)
            except ServiceError as error:
                refusal = error
            pause = self._retries.pause(asked, refusal)
            if pause is None:
                raise refusal
            time.sleep(pause)
            asked += 1


class AsyncClient:
    """`Client` for asyncio: the same calls, to be awaited."""

    def __init__(
        self,
        url: str,
        key: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        retries: Retries | None = None,
    ) -> None:
        self._http = httpx.AsyncClient(base_url=url, headers=_headers(key), timeout=timeout)
        self._retries = retries or Retries()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections; the client cannot be used afterwards."""
        await self._http.aclose()

    async def record(self, *events: Event) -> Acknowledged:
        """Record what shoppers did. When it returns, the events are on disk, and the next answer
        knows of them."""
        return await self._send(calls.record(events))

    async def recommend(self, **wanted: Unpack[Wanted]) -> Recommendations:
        """Items for a shopper, a session, or somebody nobody knows yet."""
        return await self._send(calls.recommend(wanted))

    async def recommend_batch(
        self, requests: Sequence[Wanted]
    ) -> list[Recommendations | ServiceError]:
        """Several requests at once: for each, in their order, its answer or why it has none."""
        return await self._send(calls.recommend_batch(requests))

    async def similar(self, item_id: str, k: int = 20) -> list[Shown]:
        """Available items near an item, nearest first."""
        return await self._send(calls.similar(item_id, k))

    async def item(self, item_id: str) -> Item:
        """An item as the catalog has it now."""
        return await self._send(calls.item(item_id))

    async def put_items(self, *items: ItemChange) -> list[str]:
        """Change items, or add them. Returns the ids that wait for the next bundle."""
        return await self._send(calls.put_items(items))

    async def delete_items(self, *item_ids: str) -> None:
        """Delete items: from the next answer on they are nowhere to be seen."""
        await self._send(calls.delete_items(item_ids))

    async def identify(self, session_id: str, user_id: str) -> None:
        """Say who a session's visitor is, when they sign in."""
        await self._send(calls.identify(session_id, user_id))

    async def export(self, user_id: str) -> Mapping[str, Any]:
        """Everything that is held of a person."""
        return await self._send(calls.export(user_id))

    async def erase(self, user_id: str) -> Erased:
        """Forget a person; returns the receipt."""
        return await self._send(calls.erase(user_id))

    async def _send(self, call: Call[T]) -> T:
        asked = 0
        while True:
            try:
                return _read(call, await self._http.request(**_request(call)))
            except httpx.TransportError as error:
                refusal = _unreachable(self._http.base_url, error)
            except ServiceError as error:
                refusal = error
            pause = self._retries.pause(asked, refusal)
            if pause is None:
                raise refusal
            await asyncio.sleep(pause)
            asked += 1


def _headers(key: str | None) -> dict[str, str]:
    headers = {"User-Agent": f"vitrina-client/{vitrina.__version__}"}
    if key is not None:
        headers["Authorization"] = f"Bearer {key}"
    return headers


def _request(call: Call[T]) -> dict[str, Any]:
    return {"method": call.method, "url": call.path, "json": call.json, "params": call.params}


def _read(call: Call[T], response: httpx.Response) -> T:
    if response.is_success:
        return call.parse(response.json())
    raise ServiceError.of(response)


def _unreachable(url: httpx.URL, error: httpx.TransportError) -> ServiceError:
    what = str(error) or type(error).__name__
    return ServiceError(f"The service at {url} did not answer: {what}.")
