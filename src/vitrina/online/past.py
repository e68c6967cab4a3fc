"""What is known of a shopper when a request arrives."""

from __future__ import annotations

from dataclasses import dataclass, field

from vitrina.schema import REPURCHASE_EVENT, History, Purchases
from vitrina.state.base import forgetting


@dataclass(frozen=True, slots=True)
class Past:
    """A history and the purchases of all time.

    stored: whether it is what the store has of them, so that their vector is worth keeping.
    """

    history: History = field(default_factory=History)
    purchases: Purchases = field(default_factory=Purchases)
    stored: bool = False


def purchases_in(history: History) -> Purchases:
    """The purchases of a history that is not in the store, by item."""
    moments: dict[str, list[int]] = {}
    for item_id, event_type, moment in zip(
        history.item_ids, history.event_types, history.timestamps_us, strict=True
    ):
        if event_type == REPURCHASE_EVENT:
            moments.setdefault(item_id, []).append(moment)
    newest = {item_id: max(times) for item_id, times in moments.items()}
    return Purchases(
        item_ids=list(moments),
        counts=[len(times) for times in moments.values()],
        last_us=list(newest.values()),
        recent=[
            sum(forgetting(newest[item_id] - moment) for moment in times)
            for item_id, times in moments.items()
        ],
    )
