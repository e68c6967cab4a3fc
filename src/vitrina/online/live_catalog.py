"""The shop's changes to its catalog, in the next answer of every server.

A change is a tiny release: the bundle in service is amended and takes its own place, so that a
request works with one state of the catalog from its beginning to its end.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from vitrina.bundle.amend import amend
from vitrina.bundle.bundle import Bundle
from vitrina.errors import DataError, StateError
from vitrina.online.problems import Problem
from vitrina.online.recommender import Recommender
from vitrina.online.releases import Releases
from vitrina.state.catalog_changes import CatalogChanges

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 0.05
"""How often a server looks for changes that another one was sent."""


class LiveCatalog:
    """Keeps the bundle in service amended by all changes, its own and those of other servers."""

    def __init__(self, changes: CatalogChanges, releases: Releases) -> None:
        self._changes = changes
        self._releases = releases
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="vitrina-catalog", daemon=True)

    def start(self) -> None:
        self._watcher.start()

    def stop(self) -> None:
        self._stop.set()
        if self._watcher.is_alive():
            self._watcher.join()
        self._changes.close()

    def put(self, items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Set fields of items (`CatalogChanges.put`), durably and in the next answer.

        Says how many were taken, and which of them wait for the next bundle to be shown. Raises
        Problem (503) if the disk takes none.
        """
        self._store(lambda: self._changes.put(items))
        recommender = self._releases.recommender
        known = {} if recommender is None else recommender.bundle.row_of_item
        ids = [item["item_id"] for item in items]
        return {"accepted": len(ids), "waiting": [one for one in ids if one not in known]}

    def delete(self, item_ids: Sequence[str]) -> dict[str, Any]:
        """Delete items, durably and from the next answer on. Raises Problem (503) as `put`."""
        self._store(lambda: self._changes.delete(item_ids))
        return {"accepted": len(item_ids)}

    def over(self, bundle: Bundle) -> Bundle:
        """A bundle just loaded, with all changes that it does not hold.

        Where these cannot be read the bundle serves as it is: they are looked for again at once.
        """
        try:
            return amend(bundle, self._changes.after(0))
        except StateError:
            log.exception("Changes to the catalog cannot be read; the bundle serves without them.")
            return bundle

    def up_to_date(self, recommender: Recommender) -> Recommender:
        """The recommender itself, or one whose bundle has the changes that it has not seen."""
        changes = self._changes.after(recommender.bundle.catalog.sequence)
        return recommender.over(amend(recommender.bundle, changes)) if changes else recommender

    def refresh(self) -> None:
        """Amend the bundle in service by the changes that it has not seen."""
        with self._lock:
            while (serving := self._releases.recommender) is not None:
                successor = self.up_to_date(serving)
                if successor is serving or self._releases.exchange(serving, successor):
                    return  # else another bundle was swapped in meanwhile: amend that one

    def _store(self, write: Callable[[], None]) -> None:
        try:
            write()
        except (StateError, DataError) as error:
            log.exception("Changes to the catalog could not be stored.")
            raise Problem(503, f"Nothing was changed: {error} Send it again.") from error
        self.refresh()

    def _watch(self) -> None:
        failed = False
        while not self._stop.wait(LOOK_SECONDS):
            try:
                self.refresh()
            except Exception:
                if not failed:
                    log.exception("Changes to the catalog cannot be read; trying on.")
                failed = True
            else:
                failed = False
