"""Connections to PostgreSQL: few, used again, and given up at once when they break.

psycopg's own pool waits for a server that is away; here whoever asks is told at once what is
wrong, for a shopper's request has no time to wait.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

from vitrina.errors import MissingExtra, StateError, Unconfirmed
from vitrina.settings_sources import hide_passwords
from vitrina.state.watchdog import Watchdog

if TYPE_CHECKING:
    from psycopg import Connection

MOST: Final = 8
"""Connections of one process at the same time."""

CONNECT_SECONDS: Final = 2
STATEMENT_SECONDS: Final = 5
"""How long the server lets a statement take; imports and erasures have no such limit."""

ANSWER_SECONDS: Final = 7.0
"""How long anything else waits for a server that may have stopped, or a network that swallows what
is sent: then the connection is given up. Longer than a statement that the server itself ends."""

ERASURE_SECONDS: Final = 60.0
"""The same for an erasure, which may have to wait behind an import."""

SILENT_SECONDS: Final = 1.0
"""For so long nobody asks a server again that has not answered somebody in time."""

_SESSION: Final = (
    f"SET statement_timeout = '{STATEMENT_SECONDS}s'",
    # Whoever holds the lock of the writers, and is not heard of any more, loses it.
    f"SET idle_in_transaction_session_timeout = '{STATEMENT_SECONDS}s'",
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

    answer_seconds: float = ANSWER_SECONDS

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
        self._watchdog = Watchdog()
        self._silent_until = 0.0
        self._closed = False

    @property
    def name(self) -> str:
        """The server's address without its password."""
        return hide_passwords(self._address)

    def use(self, work: Callable[[Connection[Any]], _T], seconds: float | None = None) -> _T:
        """`work` with a connection in autocommit mode, within `seconds`; None: `answer_seconds`.

        A connection that turns out to be dead is replaced, and the work done once more; so it has
        to be such as may be done twice. Raises StateError when the server is away or refuses,
        Unconfirmed when it may have done the work all the same.
        """
        if time.monotonic() < self._silent_until:
            raise StateError(f"{self.name}: it did not answer in time, and is asked again soon.")
        if not self._slots.acquire(timeout=STATEMENT_SECONDS):
            raise StateError(f"{self.name}: all {MOST} connections are busy.")
        try:
            return self._attempt(work, self.answer_seconds if seconds is None else seconds)
        finally:
            self._slots.release()

    def close(self) -> None:
        """Close what is idle; what is in use is closed when it comes back."""
        self._closed = True
        self._watchdog.close()
        self._close_idle()

    def _attempt(self, work: Callable[[Connection[Any]], _T], seconds: float) -> _T:
        lost = False
        try:
            while True:
                try:
                    connection, known = self._idle.pop(), True
                except IndexError:
                    connection, known = self._connect(), False
                try:
                    with self._watchdog.watching(connection.fileno(), seconds):
                        return work(connection)
                except (self._psycopg.Error, TimeoutError) as error:
                    well = self._is_well(connection)
                    lost |= not well
                    if well or not known or isinstance(error, TimeoutError):
                        raise
                    # Those that were made before it are dead, too: the server has been restarted.
                    self._close_idle()
                finally:
                    if self._is_well(connection) and not self._closed:
                        self._idle.append(connection)
                    else:
                        connection.close()
        except (self._psycopg.errors.ConnectionTimeout, TimeoutError) as error:
            self._silent_until = time.monotonic() + SILENT_SECONDS
            self._close_idle()
            raise self._described(error, Unconfirmed if lost else StateError) from None
        except (self._psycopg.DataError, self._psycopg.IntegrityError) as error:
            raise self._described(error, RefusedData) from None
        except self._psycopg.Error as error:
            raise self._described(error, Unconfirmed if lost else StateError) from None

    def _connect(self) -> Connection[Any]:
        connection = self._psycopg.connect(
            self._address, autocommit=True, connect_timeout=CONNECT_SECONDS
        )
        try:
            with self._watchdog.watching(connection.fileno(), self.answer_seconds):
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

    def _is_well(self, connection: Connection[Any]) -> bool:
        """Whether all that it was asked has been answered: nothing is open, nothing on its way."""
        pq, wire = self._psycopg.pq, connection.pgconn
        idle: bool = wire.transaction_status == pq.TransactionStatus.IDLE
        return idle and wire.pipeline_status == pq.PipelineStatus.OFF

    def _close_idle(self) -> None:
        idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def _described(self, error: Exception, kind: type[StateError]) -> StateError:
        """The error to raise in its place, without its cause: that may spell out the address,
        password and all."""
        said = hide_passwords((str(error).strip() or type(error).__name__).splitlines()[0])
        return kind(f"{self.name}: {said}.")
