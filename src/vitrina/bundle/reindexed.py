"""A bundle with another index: all else is as it was, its space included."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from vitrina.bundle import bundle as layout
from vitrina.bundle.files import complete_or_absent
from vitrina.bundle.manifest import read_manifest, write_manifest
from vitrina.bundle.writer import file_entry
from vitrina.index.base import IndexInfo, VectorIndex
from vitrina.index.opening import index_file
from vitrina.space import require_same_space


def reindexed(
    bundle: Path, folder: Path, index: VectorIndex, info: IndexInfo, notes: Mapping[str, bytes]
) -> str:
    """Write to `folder` what `bundle` holds, with this index; return the new version.

    notes: files of `layout.OPTIONAL` and their content. The version is the bundle's own and a
    number after it, because what answers otherwise is another release.
    Raises SpaceMismatch for an index of other vectors, BundleError if `folder` exists.
    """
    manifest = read_manifest(bundle)
    require_same_space(index.space, manifest.space, "index", "bundle")
    before = index_file(manifest.index.kind)
    with complete_or_absent(folder) as partial:
        for name in layout.files_of(manifest):
            if name != before and name not in notes:
                shutil.copyfile(bundle / name, partial / name)
        index.save(partial / index_file(info.kind))
        for name, content in notes.items():
            (partial / name).write_bytes(content)
        files = {path.name: file_entry(path) for path in sorted(partial.iterdir())}
        version = _next(manifest.version)
        write_manifest(partial, replace(manifest, version=version, index=info, files=files))
    return version


def _next(version: str) -> str:
    """`20260105T090000-3f2a` → `20260105T090000-3f2a.1` → `….2`."""
    made, _, number = version.partition(".")
    return f"{made}.{int(number or 0) + 1}"
