"""Hot swap: serve the promoted bundle, notice the next one, keep the old one when that is bad."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from vitrina.bundle.bundle import Bundle, load_bundle
from vitrina.bundle.registry import Registry
from vitrina.memory import give_back_free_memory
from vitrina.online.recommender import Recommender
from vitrina.online.shadow import Shadow

log = logging.getLogger(__name__)

RETRY_SECONDS = 60.0
"""A refused bundle is looked at again after this long: a disk may have been away."""


class Releases:
    """The recommender in service, kept in step with the registry's `current`.

    A new bundle is loaded, verified and warmed up beside the old one, then takes its place by one
    assignment: a request works with the recommender it started with, so none is dropped. A
    bundle that cannot be loaded changes nothing but `problem`.
    """

    def __init__(
        self,
        registry: Registry,
        make_recommender: Callable[[Bundle], Recommender],
        reload_seconds: float,
        shadow: Shadow,
    ) -> None:
        self._registry = registry
        self._make_recommender = make_recommender
        self._reload_seconds = reload_seconds
        self._shadow = shadow
        self._stop = threading.Event()
        self._watcher: threading.Thread | None = None
        self._swap = threading.Lock()
        self._refused: tuple[str, float] | None = None
        self.recommender: Recommender | None = None
        self.problem: str | None = None
        """Why the promoted bundle is not the one being served; None while it is."""

    @property
    def serving(self) -> str | None:
        """The version of the bundle in service."""
        recommender = self.recommender
        return recommender.bundle.manifest.version if recommender else None

    def start(self) -> None:
        """Load the current bundle, if there is one, and watch the registry in the background."""
        self.check()
        self._watcher = threading.Thread(target=self._watch, name="vitrina-releases", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Stop watching."""
        self._stop.set()
        if self._watcher is not None:
            self._watcher.join()

    def check(self) -> None:
        """Look at the registry once and swap if another bundle is current."""
        try:
            version = self._registry.current()
        except Exception as error:
            self._report(f"The registry cannot be read: {error}")
            return
        serving = self.serving
        if version is None:
            if serving is None:
                self.problem = (
                    "No bundle has been promoted yet. Make one with 'vitrina demo', or train, "
                    "'vitrina publish' and 'vitrina promote' your own; this server notices."
                )
            return
        if version == serving:
            self.problem = self._refused = None
            return
        if self._recently_refused(version):
            return
        try:
            self._serve(version)
        except Exception as error:
            self._refused = (version, time.monotonic())
            if serving is None:
                self._serve_earlier()
            kept = f"Serving {self.serving} on" if self.serving else "Nothing is served"
            self._report(f"Bundle {version} was refused: {error} {kept}.")
            return
        self.problem = self._refused = None

    def _serve(self, version: str) -> None:
        """Load, warm up and swap in a version. Raises whatever keeps it from being served."""
        recommender = self._make_recommender(load_bundle(self._registry.path(version)))
        give_back_free_memory()  # what reading took beside the bundle
        recommender.warm_up()
        before = self.serving
        with self._swap:
            self.recommender = recommender
        log.info("Serving bundle %s (before: %s).", version, before)

    def _serve_earlier(self) -> None:
        """A server that starts with a bad bundle serves the newest one before it that is good."""
        for version in self._registry.earlier():
            try:
                self._serve(version)
            except Exception:
                log.warning("Bundle %s cannot be served either.", version, exc_info=True)
            else:
                return

    def exchange(self, serving: Recommender, successor: Recommender) -> bool:
        """Put a successor in the place of what serves; False if that is something else by now."""
        with self._swap:
            if self.recommender is not serving:
                return False
            self.recommender = successor
            return True

    def _recently_refused(self, version: str) -> bool:
        if self._refused is None or self._refused[0] != version:
            return False
        return time.monotonic() - self._refused[1] < RETRY_SECONDS

    def _report(self, problem: str) -> None:
        if problem != self.problem:
            log.error("%s", problem)
        self.problem = problem

    def _watch(self) -> None:
        while not self._stop.wait(self._reload_seconds):
            self.check()
            self._shadow.check(self.serving)
