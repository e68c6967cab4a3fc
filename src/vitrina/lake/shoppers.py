"""Who an event belongs to, as a column expression: `Event.history_key` for frames."""

from __future__ import annotations

import narwhals as nw

from vitrina.schema import anonymous_key


def shopper_key() -> nw.Expr:
    """The history key of each event: its user_id, else the anonymous key of its session."""
    anonymous = nw.concat_str([nw.lit(anonymous_key("")), nw.col("session_id")])
    return nw.coalesce("user_id", anonymous)
