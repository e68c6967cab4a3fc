"""Which stores a shop's settings ask for."""

from __future__ import annotations

from vitrina.settings import Settings
from vitrina.state.base import State, VectorCache
from vitrina.state.catalog_changes import CatalogChanges, SqliteCatalogChanges
from vitrina.state.sqlite import SqliteState
from vitrina.state.vector_cache import LruVectorCache


def has_state(settings: Settings) -> bool:
    """Whether there is anything to open; the embedded store is a file once something was stored."""
    return settings.state.log is not None or settings.paths.state.exists()


def open_state(settings: Settings) -> State:
    """The log, histories and identities of [state], or the embedded ones in `paths.state`.

    Raises DataError when the store is not Vitrina's, MissingExtra when a package is not there.
    """
    shared = settings.state
    if shared.log is None:
        return SqliteState(settings.paths.state)
    from vitrina.state.postgres import PostgresState

    if shared.redis is None:
        return PostgresState(shared.log)
    from vitrina.state.redis_link import RedisLink
    from vitrina.state.shared import SharedState

    return SharedState(shared.log, RedisLink(shared.redis, shared.redis_timeout_ms))


def open_cache(settings: Settings) -> VectorCache:
    """User vectors in this process, and in [state] redis, if there is one, for all processes."""
    serve, shared = settings.serve, settings.state
    seconds = serve.cache_ttl_hours * 3600
    near = LruVectorCache(serve.cache_size, seconds)
    if shared.redis is None:
        return near
    from vitrina.state.redis_link import RedisLink
    from vitrina.state.shared_vectors import SharedVectorCache

    return SharedVectorCache(near, RedisLink(shared.redis, shared.redis_timeout_ms), seconds)


def open_catalog_changes(settings: Settings) -> CatalogChanges:
    """The changes to the catalog: in the database of [state] log, or else in `paths.catalog`.

    Raises DataError when the file is not Vitrina's, MissingExtra when a package is not there.
    """
    if settings.state.log is None:
        return SqliteCatalogChanges(settings.paths.catalog)
    from vitrina.state.postgres_catalog import PostgresCatalogChanges

    return PostgresCatalogChanges(settings.state.log)
