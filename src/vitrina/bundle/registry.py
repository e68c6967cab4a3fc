"""Where releases live: a directory with one folder a version and one pointer to the current one."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal

import orjson
from pydantic import TypeAdapter, ValidationError

from vitrina.bundle import bundle as layout
from vitrina.bundle.bundle import load_bundle
from vitrina.bundle.files import complete_or_absent, remove_partials, replace_file
from vitrina.bundle.manifest import MANIFEST, read_manifest, write_manifest
from vitrina.bundle.writer import file_entry
from vitrina.errors import BundleError
from vitrina.index.base import IndexInfo

POINTER: Final = "current.json"
SHADOW: Final = "shadow.json"
LOCK: Final = ".lock"
FAILED_GATES: Final = "failed_gates"
"""Key of metrics.json: sentences on the evaluation gates that the bundle failed."""


@dataclass(frozen=True, slots=True)
class Promotion:
    """One change of the current version. `forced`: promoted although a gate failed."""

    version: str
    at: str
    reason: str | None = None
    action: Literal["promote", "rollback"] = "promote"
    forced: bool = False


@dataclass(frozen=True, slots=True)
class BundleSummary:
    """What a list of bundles shows of one. `problem` says why its manifest cannot be read."""

    version: str
    current: bool
    created_at: str | None = None
    items: int | None = None
    index: IndexInfo | None = None
    metrics: Mapping[str, Any] | None = None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class _Pointer:
    """`current.json`: the version to serve, and every change so far, oldest first."""

    version: str | None = None
    history: tuple[Promotion, ...] = ()


@dataclass(frozen=True, slots=True)
class ShadowRelease:
    """`shadow.json`: the version that answers a share (0 … 1) of the requests, unseen."""

    version: str
    share: float


_POINTER = TypeAdapter(_Pointer)
_SHADOW = TypeAdapter(ShadowRelease)


class Registry:
    """The bundles in folder `root`. Readers need no lock: each change is one rename.

    Changes take a file lock, so that two people who promote at once do not lose an entry of the
    history.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def publish(self, draft: Path, metrics: Mapping[str, Any], card: str = "") -> str:
        """Copy the bundle in folder `draft` in, with its evaluation results; return its version.

        card: Markdown on those results; it ends the model card, if the draft has one.
        Raises BundleError if the draft is damaged or its version is published already.
        """
        manifest = load_bundle(draft).manifest
        with self._lock():
            remove_partials(self.root)
            with complete_or_absent(self.root / manifest.version) as folder:
                names = layout.files_of(manifest)
                for name in names:
                    shutil.copyfile(draft / name, folder / name)
                (folder / layout.METRICS).write_bytes(
                    orjson.dumps(metrics, option=orjson.OPT_SERIALIZE_NUMPY)
                )
                if layout.CARD in names:
                    with (folder / layout.CARD).open("a", encoding="utf-8") as file:
                        file.write(card)
                files = {name: file_entry(folder / name) for name in names}
                write_manifest(folder, replace(manifest, files=files))
                load_bundle(folder)  # the copy, not the draft, is what will be served
        return manifest.version

    def promote(self, version: str, reason: str | None = None, force: bool = False) -> None:
        """Make `version` the current one.

        Raises BundleError for an unknown or damaged bundle, and for one that failed a gate
        unless `force` is set and a `reason` given; both are recorded.
        """
        bundle = load_bundle(self.path(version))
        failed = _failed_gates(bundle.manifest.index, bundle.metrics)
        if failed and not (force and reason):
            raise BundleError(
                f"Bundle {version} failed its gates: {' '.join(failed)} Publish a better one, or "
                f"promote it with --force and a --reason, which will be recorded."
            )
        with self._lock():
            self._point_to(Promotion(version, _now(), reason, "promote", forced=bool(failed)))

    def rollback(self, reason: str | None = None) -> str:
        """Return to the version that was current before this one, and return that version.

        Raises BundleError if there is none, or if it is damaged.
        """
        with self._lock():
            stack = _promoted(self._read_pointer().history)
            if len(stack) < 2:
                raise BundleError(
                    f"Nothing was promoted in {self.root} before the current bundle "
                    f"({stack[-1] if stack else 'there is none'}). {self._existing()}"
                )
            version = stack[-2]
            load_bundle(self.path(version))
            self._point_to(Promotion(version, _now(), reason, "rollback"))
        return version

    def shadow(self, version: str, share: float) -> None:
        """Let `version` answer a share of the requests beside the current one, unseen.

        Raises BundleError for an unknown or damaged bundle, and for the current one.
        """
        load_bundle(self.path(version))
        if version == self.current():
            raise BundleError(f"Bundle {version} is the current one: it cannot be its own shadow.")
        with self._lock():
            replace_file(self.root / SHADOW, orjson.dumps(ShadowRelease(version, share)))

    def end_shadow(self) -> None:
        """Let no bundle answer in the shadow any more."""
        with self._lock():
            (self.root / SHADOW).unlink(missing_ok=True)

    def shadow_release(self) -> ShadowRelease | None:
        """What answers in the shadow; None: nothing. Raises BundleError if that is unreadable."""
        path = self.root / SHADOW
        try:
            return _SHADOW.validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise BundleError(
                f"{path} is damaged ({error.errors()[0]['msg']}). 'vitrina shadow' writes it again."
            ) from error

    def list(self) -> Sequence[BundleSummary]:
        """Every bundle, oldest first; one whose manifest is unreadable has its problem named."""
        current = self.current()
        return [self._summary(version, version == current) for version in self._versions()]

    def current(self) -> str | None:
        """The promoted version, or None before the first promotion."""
        return self._read_pointer().version

    def earlier(self) -> Sequence[str]:
        """The versions that can be rolled back to, the newest first."""
        return _promoted(self.history())[-2::-1]

    def history(self) -> tuple[Promotion, ...]:
        """Every promotion and rollback so far, oldest first."""
        return self._read_pointer().history

    def path(self, version: str) -> Path:
        """The folder of a version. Raises BundleError, listing those that exist, if unknown."""
        if version not in self._versions():
            raise BundleError(f"There is no bundle {version} in {self.root}. {self._existing()}")
        return self.root / version

    def _summary(self, version: str, current: bool) -> BundleSummary:
        path = self.root / version
        try:
            manifest = read_manifest(path)
            metrics = orjson.loads((path / layout.METRICS).read_bytes())
        except (BundleError, OSError, orjson.JSONDecodeError) as error:
            return BundleSummary(version, current, problem=str(error))
        return BundleSummary(
            version, current, manifest.created_at, manifest.items, manifest.index, metrics
        )

    def _versions(self) -> Sequence[str]:
        # Versions start with their UTC time, so the order of names is the order of making.
        return sorted(p.parent.name for p in self.root.glob(f"[!.]*/{MANIFEST}"))

    def _existing(self) -> str:
        versions = self._versions()
        if not versions:
            return "It holds no bundle yet; 'vitrina publish' adds one."
        return f"It holds: {', '.join(versions)}."

    def _read_pointer(self) -> _Pointer:
        pointer = self.root / POINTER
        try:
            return _POINTER.validate_json(pointer.read_bytes())
        except FileNotFoundError:
            return _Pointer()
        except ValidationError as error:
            raise BundleError(
                f"{pointer} is damaged ({error.errors()[0]['msg']}). Remove it and promote a "
                f"bundle again. {self._existing()}"
            ) from error

    def _point_to(self, change: Promotion) -> None:
        pointer = _Pointer(change.version, (*self._read_pointer().history, change))
        replace_file(self.root / POINTER, orjson.dumps(pointer))

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / LOCK).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed, also by a kill
            yield


def _promoted(history: tuple[Promotion, ...]) -> list[str]:
    """Versions promoted and not rolled back, oldest first; the last one is current."""
    stack: list[str] = []
    for change in history:
        if change.action == "rollback":
            stack.pop()
        elif change.version != (stack[-1] if stack else None):
            stack.append(change.version)
    return stack


def _failed_gates(index: IndexInfo, metrics: Mapping[str, Any]) -> list[str]:
    failed = [str(sentence) for sentence in metrics.get(FAILED_GATES, ())]
    if index.recall_at_500 < index.recall_target:
        failed.append(
            f"The index finds {index.recall_at_500:.4f} of exact search's {index.k} best, its "
            f"target is {index.recall_target:.4f}."
        )
    return failed


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
