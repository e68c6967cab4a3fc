"""A typed client of the service, for Python programs: `Client`, and `AsyncClient` for asyncio.

    from vitrina.client import Client, Event

    with Client("https://recommend.shop.example", key=KEY) as vitrina:
        vitrina.record(Event("1082185", "view", user_id="1024"))
        for item in vitrina.recommend(user_id="1024", k=10).items:
            print(item.title, item.price)

Needs the extra `client`, and nothing else of Vitrina.
"""

from importlib.util import find_spec

from vitrina.errors import MissingExtra

if find_spec("httpx") is None:
    raise MissingExtra("httpx", "client")

from vitrina.client.answers import Acknowledged, Erased, Item, Recommendations, Shown
from vitrina.client.calls import Event, HistoryEvent, ItemChange, Wanted
from vitrina.client.clients import AsyncClient, Client
from vitrina.client.retries import Retries, ServiceError

__all__ = [
    "Acknowledged",
    "AsyncClient",
    "Client",
    "Erased",
    "Event",
    "HistoryEvent",
    "Item",
    "ItemChange",
    "Recommendations",
    "Retries",
    "ServiceError",
    "Shown",
    "Wanted",
]
