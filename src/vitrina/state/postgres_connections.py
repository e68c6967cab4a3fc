"""Connections to PostgreSQL: few, used again, and given up at once when they break.

psycopg's own pool waits for a server that is away; here whoever asks is told at once what is
wrong, for a shopper's request has no time to wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from vitrina.errors import MissingExtra, StateError
from vitrina.settings_sources import hide_passwords

if TYPE_CHECKING:
    from psycopg import Connection

MOST: Final = 8
"""Connections of one process at the same time."""

CONNECT_SECONDS: Final = 2
STATEMENT_SECONDS: Final = 5
"""How long a statement may take; imports and erasures have no such limit."""

_SESSION: Final = (
    f"SET statement_timeout = '{STATEMENT_SECONDS}s'",
    # What is acknowledged is on disk, whatever the server's own setting.
    "SELECT set_config('synchronous_commit', 'on', false) "
    "WHERE current_setting('synchronous_commit') = 'off'",
)

_T = TypeVar("_T")


class RefusedData(StateError):
    """The server is well, and these values are not."""


class Connections:
    """A bounded stack of connections to one server. Safe to use from many threads.

    address: postgresql://…; prepare: what to do with the first connection ever made, once. Raises
    MissingExtra without psycopg.
    """

    def __init__(self, address: str, prepare: Callable[[Connection[Any]], None]) -> None:
        try:
            import psycopg
        except ImportError as error:
            raise MissingExtra(
                "psycopg", "postgres", why=f"[state] log is {hide_passwords(address)}. "
            ) from error
        self._psycopg = psycopg
        self._address = address
        self._prepare = prepare
        self._prepared = False
        self._preparing = threading.Lock()
        self._idle: list[Connection[Any]] = []
        self._slots = threading.BoundedSemaphore(MOST)
        self._closed = False

    @property
    def name(self) -> str:
        """The server's address without its password."""
        return hide_passwords(self._address)

    def use(self, work: Callable[[Connection[Any]], _T]) -> _T:
        """`work` with a connection in autocommit mode.

        A connection that turns out to be dead is replaced, and the work done once more; so it has
        to be such as may be done twice. Raises StateError when the server is away or refuses.
        """
        if not self._slots.acquire(timeout=STATEMENT_SECONDS):
            raise StateError(f"{self.name}: all {MOST} connections are busy.")
        try:
            return self._attempt(work)
        except self._psycopg.Error as error:
            # Without its cause: that may spell out the address, password and all.
            said = hide_passwords((str(error).strip() or type(error).__name__).splitlines()[0])
            faulty = isinstance(error, self._psycopg.DataError | self._psycopg.IntegrityError)
            raise (RefusedData if faulty else StateError)(f"{self.name}: {said}.") from None
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def _attempt(self, work: Callable[[Connection[Any]], _T]) -> _T:
        while True:
            try:
                connection, known = self._idle.pop(), True
            except IndexError:
                connection, known = self._connect(), False
            try:
                return work(connection)
            except self._psycopg.OperationalError:
                # Those that were made before it are dead, too: the server has been restarted.
                if not known or not connection.closed:
                    raise
                while self._idle:
                    self._idle.pop().close()
            finally:
                if connection.closed or connection.broken or self._closed:
                    connection.close()
                else:
                    self._idle.append(connection)

    def _connect(self) -> Connection[Any]:
        connection = self._psycopg.connect(
            self._address, autocommit=True, connect_timeout=CONNECT_SECONDS
        )
        try:
            for statement in _SESSION:
                connection.execute(statement)
            with self._preparing:
                if not self._prepared:
                    self._prepare(connection)
                    self._prepared = True
        except BaseException:
            connection.close()
            raise
        return connection
