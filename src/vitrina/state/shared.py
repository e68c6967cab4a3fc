"""PostgreSQL with Redis before it: what is true is in the one, what is asked for in the other."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

from vitrina.errors import StateError, Unconfirmed, VitrinaError
from vitrina.schema import History, Purchases, anonymous_key
from vitrina.state.base import Receipt
from vitrina.state.hot_histories import COPY_SECONDS, HotHistories
from vitrina.state.postgres import PostgresState
from vitrina.state.redis_link import RedisLink
from vitrina.state.shared_vectors import SharedVectorCache


class SharedState(PostgresState):
    """`PostgresState` whose histories and purchases are read from copies in Redis.

    Without Redis, everything is read from PostgreSQL and stays right. Raises as `PostgresState`.
    """

    def __init__(
        self, address: str, link: RedisLink, vectors: SharedVectorCache | None = None
    ) -> None:
        """vectors: the cache whose vectors come along with histories."""
        self._link = link
        self._hot = HotHistories(link, self, vectors)
        super().__init__(address, on_commit=self._hot.apply)
        with suppress(StateError):
            # A process that was killed while Redis was away may have left copies behind.
            since_us = time.time_ns() // 1000 - COPY_SECONDS * 1_000_000
            self._hot.drop(self.keys_since(since_us))

    def recent(self, key: str, limit: int) -> History:
        """The newest `limit` events by timestamp, oldest first; empty for an unknown key."""
        return self._hot.shopper(key, limit)[0]

    def purchases(self, key: str) -> Purchases:
        """Everything the shopper has bought, by item; empty for an unknown key."""
        return self._hot.shopper(key, 1)[1]

    def shopper(self, key: str, limit: int) -> tuple[History, Purchases]:
        """`recent` and `purchases` in one trip."""
        return self._hot.shopper(key, limit)

    def identify(self, session_id: str, user_id: str) -> bool:
        """Let a session's events, past and to come, be the user's; False if they were already."""
        joined = super().identify(session_id, user_id)
        self._hot.drop([anonymous_key(session_id), user_id])
        return joined

    def erase(self, key: str) -> Receipt:
        """Delete a person everywhere, and remember that, so that nothing brings them back.

        Should the answer of PostgreSQL get lost, or this process end, their copies are gone all the
        same, and there are none for an hour: whoever reads meanwhile is told what is true.
        """
        keys = self.keys_of(key)
        self._hot.shut(keys)
        try:
            receipt = super().erase(key)
        except Unconfirmed:
            raise
        except VitrinaError:  # nothing was deleted
            self._hot.opened(keys)
            raise
        self._hot.opened({*keys, *receipt.keys})
        return receipt

    def load_histories(
        self,
        keys: Sequence[str],
        item_ids: Sequence[str],
        event_types: Sequence[str],
        timestamps_us: Sequence[int],
    ) -> None:
        """Replace the imported histories by these columns of one length; all or nothing."""
        super().load_histories(keys, item_ids, event_types, timestamps_us)
        try:
            self._hot.drop_all()
        except StateError as error:
            raise StateError(
                f"The histories are loaded, but copies of the old ones are left: {error} They go "
                f"within {COPY_SECONDS // 60} minutes, or when you run this again."
            ) from error

    def close(self) -> None:
        """Close all connections; the store cannot be used afterwards."""
        self._link.close()
        super().close()
