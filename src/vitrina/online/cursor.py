"""Pages of one list: a token that says what was shown, so that any server can go on from there.

A cursor holds a short code of each item shown so far, in the order shown, and a checksum. Codes are
made of item ids alone, so that a cursor outlives the server that gave it, and the bundle: whichever
server has whichever bundle by then, what was shown is left out. Nothing in it is secret, and a
forged one hides items from nobody but its sender.
"""

from __future__ import annotations

import binascii
import zlib
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint64]

CODE_BYTES: Final = 5
"""2^40 codes: of a million items, one in two thousand is kept back by mistake from a shopper who
has paged through five hundred."""

MAX_CHARS: Final = 40_000
"""More than the longest list that paging can go through (`serve.candidates`) takes."""

_FORMAT: Final = b"\x01"
_CHECK_BYTES: Final = 4


def item_codes(item_ids: Sequence[str]) -> Codes:
    """The code of each item, [n]: the first 40 bits of the id's BLAKE2b."""
    digests = b"".join(
        blake2b(item_id.encode(), digest_size=CODE_BYTES).digest() for item_id in item_ids
    )
    return _codes(digests)


def encode_cursor(shown: Codes) -> str:
    """The token for the page after these items [n], in the order shown."""
    digests = shown.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :CODE_BYTES].tobytes()
    content = _FORMAT + digests
    return urlsafe_b64encode(content + _checksum(content)).decode().rstrip("=")


def decode_cursor(cursor: str) -> Codes:
    """The codes of the items shown so far. Raises ValueError for what is no cursor of ours."""
    try:
        token = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    except (binascii.Error, ValueError):  # not base64, not ASCII
        token = b""
    content, checksum = token[:-_CHECK_BYTES], token[-_CHECK_BYTES:]
    digests = content.removeprefix(_FORMAT)
    if len(digests) % CODE_BYTES or content[:1] != _FORMAT or checksum != _checksum(content):
        raise ValueError("is not a cursor of an earlier answer, or was cut; ask without one")
    return _codes(digests)


def _codes(digests: bytes) -> Codes:
    parts = np.frombuffer(digests, np.uint8).reshape(-1, CODE_BYTES)
    padded = np.zeros((len(parts), 8), np.uint8)
    padded[:, :CODE_BYTES] = parts
    return padded.view("<u8")[:, 0].astype(np.uint64)


def _checksum(content: bytes) -> bytes:
    return zlib.crc32(content).to_bytes(_CHECK_BYTES, "little")
