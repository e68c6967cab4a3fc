"""A bundle in the shadow: it answers beside the one in service, and only the difference is kept.

What a new bundle would change is seen on real requests, before anybody is shown it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from vitrina.bundle.bundle import Bundle, load_bundle
from vitrina.bundle.registry import Registry, ShadowRelease
from vitrina.online.recommender import Recommendation, Recommender
from vitrina.online.telemetry import Telemetry

log = logging.getLogger(__name__)


class Shadow:
    """Follows the registry's shadow release, and repeats a share of the requests with its bundle.

    One at a time, in a thread of its own, after the answer has been given: a shopper does not
    wait for it, and while it is busy, requests pass it by. make_recommender: has to do without a
    cache, which is that of the bundle in service; up_to_date: the same recommender with the
    catalog as the shop says now.
    """

    def __init__(
        self,
        registry: Registry,
        make_recommender: Callable[[Bundle], Recommender],
        up_to_date: Callable[[Recommender], Recommender],
        telemetry: Telemetry,
    ) -> None:
        self._registry = registry
        self._make_recommender = make_recommender
        self._up_to_date = up_to_date
        self._telemetry = telemetry
        self._busy = threading.Semaphore()
        self._thread = ThreadPoolExecutor(1, "vitrina-shadow")
        self._release: ShadowRelease | None = None
        self._recommender: Recommender | None = None
        self._problem: str | None = None

    def status(self) -> dict[str, Any] | None:
        """Version, share and, if it cannot be loaded, problem of the shadow; None without one."""
        release = self._release
        if release is None:
            return None
        return {"version": release.version, "share": release.share, "problem": self._problem}

    def check(self, serving: str | None) -> None:
        """Look at the registry once: load, change or drop the shadow of the bundle `serving`."""
        try:
            wanted = self._registry.shadow_release()
        except Exception as error:
            log.warning("The registry's shadow release cannot be read: %s", error)
            return
        if wanted is not None and wanted.version == serving:
            wanted = None  # promoted by now
        before, self._release = self._release, wanted
        if wanted is None:
            self._recommender = self._problem = None
        elif before is None or before.version != wanted.version:
            self._load(wanted.version)

    def offer(self, answer: Recommendation) -> None:
        """Repeat the request of an answer in the shadow, if it is one of the share."""
        release, recommender = self._release, self._recommender
        if release is None or recommender is None or random.random() >= release.share:  # noqa: S311
            return
        if self._busy.acquire(blocking=False):
            self._thread.submit(self._compare, answer, recommender)
        else:
            self._telemetry.shadow.labels("passed_by").inc()

    def stop(self) -> None:
        """Begin no more comparisons."""
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _load(self, version: str) -> None:
        self._recommender = self._problem = None
        try:
            recommender = self._make_recommender(load_bundle(self._registry.path(version)))
            recommender.warm_up()
        except Exception as error:
            self._problem = f"Bundle {version} cannot be loaded: {error}"
            log.error("The shadow is not followed. %s", self._problem)
            return
        self._recommender = recommender
        log.info("Bundle %s answers in the shadow.", version)

    def _compare(self, answer: Recommendation, recommender: Recommender) -> None:
        try:
            current = self._up_to_date(recommender)
            if current is not recommender and self._recommender is recommender:
                self._recommender = current
            started = time.perf_counter()
            other = current.recommend(answer.request)
            self._telemetry.shadowed(
                overlap_at_k(answer, other), time.perf_counter() - started, len(other.degraded) > 0
            )
        except Exception:
            self._telemetry.shadow.labels("failed").inc()
            log.warning("A request failed in the shadow.", exc_info=True)
        finally:
            self._busy.release()


def overlap_at_k(answer: Recommendation, other: Recommendation) -> float:
    """The share of an answer's items that another one shows, too: 0 … 1; 1 if both are empty."""
    shown, beside = set(answer.item_ids), set(other.item_ids)
    return len(shown & beside) / len(shown) if shown else float(not beside)
