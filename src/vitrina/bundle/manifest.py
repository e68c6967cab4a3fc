"""The manifest: what a bundle is, where it comes from, and the checksum of each of its files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
from pydantic import TypeAdapter, ValidationError

from vitrina.bundle.files import sha256_of
from vitrina.errors import BundleError
from vitrina.index.base import IndexInfo as IndexInfo
from vitrina.space import EmbeddingSpace, FloatMatrix, fingerprint

FORMAT: Final = 1
"""The layout of a bundle. It grows when an older Vitrina could misread a newer bundle."""

MANIFEST: Final = "manifest.json"
MANIFEST_SHA256: Final = "manifest.sha256"
ITEM_PREFIX: Final = "items_v"
USER_PREFIX: Final = "user_v"
WAY_OUT: Final = "Publish again or roll back with 'vitrina rollback'."


@dataclass(frozen=True, slots=True)
class Lineage:
    """Where a bundle comes from: enough to make it again.

    data_from, data_until: ISO times of the first and last event trained on. catalog_read_at: when
    the catalog's files were read, in ISO 8601.
    rows: row counts of items, events, users. seeds: each random seed by its purpose.
    """

    code_version: str
    data_from: str | None = None
    data_until: str | None = None
    catalog_read_at: str | None = None
    rows: Mapping[str, int] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileEntry:
    """Checksum and size of one file of the bundle."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """`manifest.json`. `event_types` is in code order; `items` is the number of catalog rows."""

    version: str
    created_at: str
    space: EmbeddingSpace
    user_embedding_version: str
    event_types: Sequence[str]
    max_history: int
    items: int
    index: IndexInfo
    lineage: Lineage
    files: Mapping[str, FileEntry]
    format: int = FORMAT

    def to_json(self) -> bytes:
        """Canonical compact JSON: sorted keys, no spaces, one line."""
        return orjson.dumps(self, option=orjson.OPT_SORT_KEYS)

    @classmethod
    def from_json(cls, text: bytes, source: Path) -> Manifest:
        """Parse and check a manifest; `source` is named in errors. Raises BundleError."""
        try:
            values = orjson.loads(text)
        except orjson.JSONDecodeError as error:
            raise BundleError(f"{source} is not JSON: {error}. {WAY_OUT}") from error
        found = values.get("format") if isinstance(values, dict) else None
        if found != FORMAT:
            raise BundleError(
                f"{source} is of bundle format {found!r}, this Vitrina reads format {FORMAT}. "
                f"Serve it with the Vitrina that wrote it, or publish again with this one."
            )
        try:
            return _MANIFEST.validate_python(values)
        except ValidationError as error:
            problem = error.errors()[0]
            key = ".".join(str(part) for part in problem["loc"])
            raise BundleError(f"{source}: '{key}': {problem['msg']}. {WAY_OUT}") from error


_MANIFEST = TypeAdapter(Manifest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write manifest.json and manifest.sha256 into `folder`."""
    text = manifest.to_json()
    (folder / MANIFEST).write_bytes(text)
    (folder / MANIFEST_SHA256).write_bytes(_digest_line(text))


def read_manifest(folder: Path) -> Manifest:
    """Read a bundle's manifest and check it against manifest.sha256.

    Raises BundleError if either is missing, they disagree, or the format is unknown.
    """
    if not folder.is_dir():
        raise BundleError(f"There is no bundle at {folder}. 'vitrina bundles' lists what exists.")
    try:
        text, digest = ((folder / name).read_bytes() for name in (MANIFEST, MANIFEST_SHA256))
    except OSError as error:
        raise BundleError(
            f"{error.filename} cannot be read ({error.strerror}). {WAY_OUT}"
        ) from error
    if digest != _digest_line(text):
        raise BundleError(
            f"{folder / MANIFEST} has SHA-256 {hashlib.sha256(text).hexdigest()[:12]}…, but "
            f"{MANIFEST_SHA256} beside it says {digest[:12].decode('ascii', 'replace')}…: one of "
            f"the two was changed after publishing. {WAY_OUT}"
        )
    return Manifest.from_json(text, folder / MANIFEST)


def _digest_line(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest().encode() + b"\n"


def define_space(
    item_ids: Sequence[str], values: FloatMatrix, item_tower: Path, created_at: datetime
) -> EmbeddingSpace:
    """The space of a new bundle, named after its moment and fingerprint.

    item_ids: in row order; values float32 [n, dim]: their unit vectors; item_tower: the weights
    that made them. The bundle's version is the space's without `items_v`, such as
    `20261121T101500-3f2a`.
    """
    print_ = fingerprint(item_ids, values, sha256_of(item_tower))
    version = f"{created_at.astimezone(UTC):%Y%m%dT%H%M%S}-{print_[:4]}"
    return EmbeddingSpace(ITEM_PREFIX + version, values.shape[1], print_)
