"""Shoppers' histories in Redis: copies of what PostgreSQL holds, for whoever is shopping now.

    hist:<log id>:<history key>     a sorted set, all there is of one shopper
        score ≥ 0     an event: its moment (µs); item, type and moment
        score −1      purchases: a JSON list of columns; an item's largest count is the newest
        score −2      whose copy it is: of a session that has joined a user, the user's key
    lease:<log id>:<history key>    who may write the copy that is missing; `shut`: nobody

A copy is made by the reader that misses it, kept up to date by whoever commits events, and gone
after an hour, come what may. Between a reader's look at PostgreSQL and their writing of the copy
an event may come: whoever commits takes the lease away, and the copy is not written. Every change
may be told twice and in any order, so that processes need not take turns. While somebody is being
erased, and for an hour if it is not known whether they have been, there are no copies of theirs.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final

import orjson

from vitrina.errors import StateError
from vitrina.schema import History, Purchases
from vitrina.state.postgres import Changes, PostgresState
from vitrina.state.postgres_statements import SESSION
from vitrina.state.redis_link import RedisLink

if TYPE_CHECKING:
    from redis import Redis
    from redis.client import Pipeline

    from vitrina.state.shared_vectors import SharedVectorCache

HELD_EVENTS: Final = 1_000
"""Events in a copy when it is made; whoever asks for more asks PostgreSQL."""

COPY_SECONDS: Final = 3_600
LEASE_MS: Final = 5_000
_SHUT: Final = "shut"

# What else is read in the same trip has the third name, if there is one.
_READ: Final = """
local along = KEYS[3] and redis.call('GET', KEYS[3]) or false
if redis.call('EXISTS', KEYS[1]) == 0 then
    local taken = redis.pcall('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3])
    return {taken and not taken.err and 1 or 0, along}
end
local copy, others = KEYS[1], redis.call('ZRANGEBYSCORE', KEYS[1], -2, -1)
if string.sub(others[1], 1, 1) == '@' then
    local owners = ARGV[4] .. string.sub(others[1], 2)
    if redis.call('EXISTS', owners) == 1 then
        copy, others = owners, redis.call('ZRANGEBYSCORE', owners, -2, -1)
    end
end
return {
    redis.call('ZREVRANGEBYSCORE', copy, '+inf', 0, 'LIMIT', 0, ARGV[1]), along, others
}"""
_FILL: Final = """
if redis.call('GET', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
redis.call('ZADD', KEYS[1], unpack(ARGV, 3))
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1"""
# Where there is no room for the event, the copy goes.
_ADD: Final = f"""
if redis.call('GET', KEYS[2]) ~= '{_SHUT}' then redis.call('DEL', KEYS[2]) end
if redis.call('EXISTS', KEYS[1]) == 1 then
    local added = redis.pcall('ZADD', KEYS[1], unpack(ARGV))
    if type(added) == 'table' then redis.call('DEL', KEYS[1]) end
end
return 1"""
_DROP: Final = f"""
redis.call('UNLINK', KEYS[1])
if redis.call('GET', KEYS[2]) ~= '{_SHUT}' then redis.call('DEL', KEYS[2]) end"""
_MEMBERS_AT_ONCE: Final = 2_000
"""Lua's `unpack` takes so many, and a copy that is made has fewer."""

_OWN: Final = b"."
_OTHERS: Final = b"@"


class HotHistories:
    """What Redis knows of histories, over a source that knows all. Safe to use from many threads.

    Its copies are as new as the last acknowledged event, whichever process took it. Only after
    Redis has been away for a process and not for another may they be older: until the former has
    deleted those that it could not bring up to date.
    """

    def __init__(
        self, link: RedisLink, source: PostgresState, vectors: SharedVectorCache | None = None
    ) -> None:
        """vectors: what comes along with a history."""
        self._link = link
        self._source = source
        self._vectors = vectors

    def shopper(self, key: str, limit: int) -> tuple[History, Purchases]:
        """The newest `limit` events, and all purchases: one trip where there is a copy."""
        if limit > HELD_EVENTS:
            return self._source.stored(key, limit)
        names, token = [*self._names(key)], secrets.token_bytes(8)
        vector = None if self._vectors is None else self._vectors.wanted(key)
        if vector is not None:
            names.append(vector)
        arguments = (limit, token, LEASE_MS, self._names("")[0])

        def read(redis: Redis) -> tuple[Any, bytes | None, list[Any]]:
            found, along, *others = redis.eval(_READ, len(names), *names, *arguments)
            return found, along, others

        try:
            found, along, others = self._link.trip(read)
        except StateError:
            return self._source.stored(key, limit)
        if self._vectors is not None and vector is not None:
            self._vectors.bring(key, vector, along)
        if not others:
            return self._fill(key, token, limit) if found == 1 else self._source.stored(key, limit)
        (held,) = others
        if held[0].startswith(_OTHERS):
            return self.shopper(held[0][1:].decode(), limit)
        return _history(found), _purchases(held[1:])

    def apply(self, changes: Changes) -> None:
        """Bring the copies up to date with what has just been committed."""
        self.drop(changes.retold)
        keys = changes.seen.keys() | changes.bought.keys()

        def tell(redis: Redis) -> None:
            pipeline = redis.pipeline(transaction=False)
            for key in keys:
                members = _members(changes.seen.get(key, ()), changes.bought.get(key, ()))
                for start in range(0, len(members), _MEMBERS_AT_ONCE):
                    part = members[start : start + _MEMBERS_AT_ONCE]
                    pipeline.eval(_ADD, 2, *self._names(key), *part)
            pipeline.execute()

        if keys:
            self._link.change([name for key in keys for name in self._names(key)], tell)

    def drop(self, keys: Iterable[str]) -> None:
        """Delete copies, and let none be written that is being made from what was there before."""
        self._change(keys, lambda pipeline, names: pipeline.eval(_DROP, 2, *names))

    def shut(self, keys: Iterable[str]) -> None:
        """Delete copies, and let none be written for an hour, or until they are `opened`."""

        def tell(pipeline: Pipeline, names: tuple[str, str]) -> None:
            copy, lease = names
            pipeline.set(lease, _SHUT, ex=COPY_SECONDS)
            pipeline.unlink(copy)

        self._change(keys, tell)

    def opened(self, keys: Iterable[str]) -> None:
        """Delete copies, and let them be written again."""
        self._change(keys, lambda pipeline, names: pipeline.unlink(*names))

    def drop_all(self) -> None:
        """Delete all copies. Raises StateError if Redis is away."""

        def delete(redis: Redis) -> None:
            for prefix in self._names("*"):
                for name in redis.scan_iter(match=prefix, count=1000):
                    redis.unlink(name)

        self._link.trip(delete)

    def _change(
        self, keys: Iterable[str], tell: Callable[[Pipeline, tuple[str, str]], object]
    ) -> None:
        """`tell` with the names of each, in one trip."""
        changed = [self._names(key) for key in keys]

        def work(redis: Redis) -> None:
            pipeline = redis.pipeline(transaction=False)
            for names in changed:
                tell(pipeline, names)
            pipeline.execute()

        if changed:
            self._link.change([name for names in changed for name in names], work)

    def _fill(self, key: str, token: bytes, limit: int) -> tuple[History, Purchases]:
        """Read the source, and leave a copy for the next one who asks."""
        owner = self._source.owner(key) if key.startswith(SESSION) else key
        if owner != key:
            members: list[Any] = [-2, _OTHERS + owner.encode()]
            history, purchases = self._source.stored(owner, limit)
        else:
            history, purchases = self._source.stored(key, HELD_EVENTS)
            seen = zip(history.timestamps_us, history.item_ids, history.event_types, strict=True)
            bought = zip(
                purchases.item_ids,
                purchases.counts,
                purchases.last_us,
                purchases.recent,
                strict=True,
            )
            members = [-2, _OWN, *_members(list(seen), list(bought))]
        arguments = (*self._names(key), token, COPY_SECONDS, *members)
        self._link.later(lambda pipeline: pipeline.eval(_FILL, 2, *arguments))
        return _newest(history, limit), purchases

    def _names(self, key: str) -> tuple[str, str]:
        """Of the copy, and of the lease."""
        log_id = self._source.log_id()
        return f"hist:{log_id}:{key}", f"lease:{log_id}:{key}"


def _members(
    seen: Sequence[tuple[int, str, str]], bought: Sequence[tuple[str, int, int, float]]
) -> list[Any]:
    """Scores and members, in turn."""
    members: list[Any] = []
    for moment, item_id, event_type in seen:
        members += (moment, f"{item_id}\0{event_type}\0{moment}")
    if bought:
        members += (-1, orjson.dumps(list(zip(*bought, strict=True))))
    return members


def _history(members: Sequence[bytes]) -> History:
    """A history from members, newest first."""
    rows = [member.decode().rsplit("\0", 2) for member in reversed(members)]
    if not rows:
        return History()
    item_ids, event_types, moments = zip(*rows, strict=True)
    return History(item_ids, event_types, tuple(map(int, moments)))


def _purchases(members: Sequence[bytes]) -> Purchases:
    """Purchases from the members that hold some."""
    if len(members) == 1:
        return Purchases(*map(tuple, orjson.loads(members[0])))
    newest: dict[str, Sequence[Any]] = {}
    for member in members:
        for row in zip(*orjson.loads(member), strict=True):
            if row[0] not in newest or newest[row[0]][1] < row[1]:
                newest[row[0]] = row
    return Purchases(*zip(*map(newest.get, sorted(newest)), strict=True)) if newest else Purchases()


def _newest(history: History, limit: int) -> History:
    newest = slice(max(0, len(history) - limit), None)
    return History(
        history.item_ids[newest], history.event_types[newest], history.timestamps_us[newest]
    )
