"""API keys: who may ask for what. A small JSON file, written by `vitrina keys`, read by servers.

The file holds the SHA-256 of each key and never the key. A key is 256 random bits, so nobody can
guess what a hash was made of; salt and slow hashes protect passwords, which people choose, and
would cost every request milliseconds.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Literal

import orjson
from pydantic import TypeAdapter, ValidationError

from vitrina.bundle.files import replace_file
from vitrina.errors import KeysError

log = logging.getLogger(__name__)

AllowedScope = Literal["events:write", "recommend:read", "catalog:write", "admin"]

EVENTS_WRITE: Final = "events:write"
RECOMMEND_READ: Final = "recommend:read"
CATALOG_WRITE: Final = "catalog:write"
ADMIN: Final = "admin"
SCOPES: Final[tuple[AllowedScope, ...]] = (EVENTS_WRITE, RECOMMEND_READ, CATALOG_WRITE, ADMIN)

PREFIX: Final = "vtr"
"""What every key begins with, so that people and scanners for leaked secrets know one."""

LOOK_SECONDS: Final = 1.0
"""How soon a server notices that the file has changed, at most."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is kept of a key. sha256: hex, of the whole key; expires_at: None is never."""

    key_id: str
    name: str
    scopes: tuple[AllowedScope, ...]
    sha256: str
    created_at: datetime
    expires_at: datetime | None = None

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and datetime.now(UTC) >= self.expires_at

    @property
    def is_public(self) -> bool:
        """Whether it may stand in a web page: it can record events, and read nothing."""
        return self.scopes == (EVENTS_WRITE,)

    def may(self, needed: frozenset[str]) -> bool:
        """Whether it opens a route that needs all of these scopes; `admin` opens all."""
        return needed.issubset(self.scopes) or ADMIN in self.scopes


@dataclass(frozen=True, slots=True)
class _Contents:
    """keys.json."""

    keys: tuple[ApiKey, ...] = ()


_CONTENTS = TypeAdapter(_Contents)


class KeyRing:
    """The keys that hold at one moment."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._by_id = {key.key_id: key for key in keys}

    def find(self, presented: str) -> ApiKey | None:
        """The key that somebody presents; None if it is none of these, or has expired."""
        key = self._by_id.get(presented[len(PREFIX) + 1 :].partition("_")[0])
        if key is None or key.expired:
            return None
        return key if hmac.compare_digest(_sha256(presented), key.sha256) else None


class KeyFile:
    """keys.json. Changes take a file lock and replace the file at once; readers need none.

    Methods raise KeysError for a file that cannot be read and for names that do not fit.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Sequence[ApiKey]:
        """All keys, oldest first; none where there is no file."""
        try:
            return _CONTENTS.validate_json(self.path.read_bytes()).keys
        except FileNotFoundError:
            return ()
        except ValidationError as error:
            raise KeysError(
                f"{self.path} is no file of keys ({error.errors()[0]['msg']}). Bring back a copy, "
                f"or remove it and make new keys with 'vitrina keys make'."
            ) from error

    def make(self, name: str, scopes: Sequence[str]) -> tuple[ApiKey, str]:
        """Add a key; returns what is kept of it, and the key itself, which is kept nowhere."""
        if unknown := [scope for scope in scopes if scope not in SCOPES]:
            raise KeysError(f"There is no scope '{unknown[0]}'. There are: {', '.join(SCOPES)}.")
        with self._changing() as keys:
            if any(key.name == name for key in keys):
                raise KeysError(
                    f"There is a key '{name}' already. Take another name, or give it a new secret "
                    f"with 'vitrina keys rotate {name}'."
                )
            key, secret = _new_key(name, tuple(s for s in SCOPES if s in scopes))
            keys.append(key)
        return key, secret

    def rotate(self, name: str, overlap: timedelta) -> tuple[ApiKey, str]:
        """A new key in the place of `name`; the old one is taken for `overlap` longer."""
        until = datetime.now(UTC) + overlap
        with self._changing() as keys:
            old = self._named(keys, name)
            key, secret = _new_key(name, old[-1].scopes)
            for known in old:
                if known.expires_at is None or known.expires_at > until:
                    keys[keys.index(known)] = replace(known, expires_at=until)
            keys.append(key)
        return key, secret

    def revoke(self, name: str) -> int:
        """Take back all keys of a name; returns how many they were."""
        with self._changing() as keys:
            old = self._named(keys, name)
            keys[:] = [key for key in keys if key.name != name]
        return len(old)

    def _named(self, keys: Sequence[ApiKey], name: str) -> list[ApiKey]:
        found = [key for key in keys if key.name == name]
        if not found:
            names = ", ".join(sorted({key.name for key in keys})) or "none"
            raise KeysError(f"{self.path} has no key '{name}'. There are: {names}.")
        return found

    @contextmanager
    def _changing(self) -> Iterator[list[ApiKey]]:
        """The keys, to be changed and written back; the expired ones are dropped."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.with_name(f".{self.path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # released when the file is closed, also by a kill
            keys = [key for key in self.read() if not key.expired]
            yield keys
            contents = orjson.dumps(_Contents(tuple(keys)), option=orjson.OPT_INDENT_2)
            replace_file(self.path, contents + b"\n")


class WatchedKeys:
    """The key ring of a running server, read again when the file has changed.

    Raises KeysError at the start for a file that cannot be read. Later such a file changes
    nothing but the log, and one that is gone shuts everybody out: what was once locked does not
    come open by accident.
    """

    def __init__(self, path: Path) -> None:
        self._file = KeyFile(path)
        self._seen = self._stamp()
        self._looked = time.monotonic()
        self._ring = None if self._seen is None else KeyRing(self._file.read())

    def ring(self) -> KeyRing | None:
        """The keys that hold now; None as long as no key has ever been made."""
        now = time.monotonic()
        if now - self._looked > LOOK_SECONDS:
            self._looked = now
            self._look()
        return self._ring

    def _look(self) -> None:
        stamp = self._stamp()
        if stamp == self._seen:
            return
        self._seen = stamp
        try:
            self._ring = KeyRing(self._file.read())
        except (KeysError, OSError) as error:
            log.error("The keys stay as they were: %s", error)
        else:
            log.info("The API keys have changed.")

    def _stamp(self) -> tuple[int, int] | None:
        """What changes when the file does; None if there is none."""
        try:
            status = self._file.path.stat()
        except FileNotFoundError:
            return None
        return status.st_mtime_ns, status.st_ino


def _new_key(name: str, scopes: tuple[AllowedScope, ...]) -> tuple[ApiKey, str]:
    key_id = secrets.token_hex(4)
    secret = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(32)}"
    now = datetime.now(UTC).replace(microsecond=0)
    return ApiKey(key_id, name, scopes, _sha256(secret), now), secret


def _sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
