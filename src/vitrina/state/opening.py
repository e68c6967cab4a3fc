"""Which stores a shop's settings ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from vitrina.settings import Settings
from vitrina.state.base import State, VectorCache
from vitrina.state.catalog_changes import CatalogChanges, SqliteCatalogChanges
from vitrina.state.sqlite import SqliteState
from vitrina.state.vector_cache import LruVectorCache

if TYPE_CHECKING:
    from vitrina.state.redis_link import RedisLink
    from vitrina.state.shared_vectors import SharedVectorCache

REDIS_SHARE: Final = 0.1
"""The share of a deadline that a trip to Redis may take: less than a history may, so that there is
time left to ask PostgreSQL for it."""


def has_state(settings: Settings) -> bool:
    """Whether there is anything to open; the embedded store is a file once something was stored."""
    return settings.state.log is not None or settings.paths.state.exists()


def open_state(settings: Settings) -> State:
    """The log, histories and identities of [state], or the embedded ones in `paths.state`.

    Raises DataError when the store is not Vitrina's, MissingExtra when a package is not there.
    """
    return _open_state(settings, _redis_link(settings))


def open_stores(settings: Settings) -> tuple[State, VectorCache]:
    """`open_state`, and user vectors in this process and in [state] redis, for all processes.

    They share the way to Redis: when it hangs, only one of them waits to find out.
    """
    serve, link = settings.serve, _redis_link(settings)
    seconds = serve.cache_ttl_hours * 3600
    near = LruVectorCache(serve.cache_size, seconds)
    if link is None:
        return _open_state(settings, link), near
    from vitrina.state.shared_vectors import SharedVectorCache

    vectors = SharedVectorCache(near, link, seconds)
    return _open_state(settings, link, vectors), vectors


def open_catalog_changes(settings: Settings) -> CatalogChanges:
    """The changes to the catalog: in the database of [state] log, or else in `paths.catalog`.

    Raises DataError when the file is not Vitrina's, MissingExtra when a package is not there.
    """
    if settings.state.log is None:
        return SqliteCatalogChanges(settings.paths.catalog)
    from vitrina.state.postgres_catalog import PostgresCatalogChanges

    return PostgresCatalogChanges(settings.state.log)


def _open_state(
    settings: Settings, link: RedisLink | None, vectors: SharedVectorCache | None = None
) -> State:
    log = settings.state.log
    if log is None:
        return SqliteState(settings.paths.state)
    from vitrina.state.postgres import PostgresState

    if link is None:
        return PostgresState(log)
    from vitrina.state.shared import SharedState

    return SharedState(log, link, vectors)


def _redis_link(settings: Settings) -> RedisLink | None:
    if settings.state.redis is None:
        return None
    from vitrina.state.redis_link import RedisLink

    return RedisLink(settings.state.redis, REDIS_SHARE * settings.serve.deadline_ms)
