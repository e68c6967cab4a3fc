"""The statements of the embedded store. Those of the shared one are in `postgres_statements`."""

from __future__ import annotations

from typing import Final

from vitrina.schema import IMPRESSION, PERSONALISATION, REPURCHASE_EVENT, anonymous_key
from vitrina.state.rows import FIELDS

SESSION: Final = anonymous_key("")
YEAR_2020_US: Final = 1_577_836_800_000_000
TRIMMED_AT_ONCE: Final = 5_000

EVENT: Final = ", ".join(FIELDS)
APPEND: Final = f"""
INSERT INTO event_log ({EVENT}, received_at_us) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (event_id) DO NOTHING"""
REMEMBER: Final = """
INSERT INTO history (key, timestamp_us, item_id, event_type) VALUES (?, ?, ?, ?)
ON CONFLICT DO NOTHING"""
WITHHOLD: Final = REMEMBER.replace("history", "withheld")
COUNT_PURCHASE: Final = """
INSERT INTO purchases (key, item_id, count, last_us, recent) VALUES (?, ?, 1, ?, 1.0)
ON CONFLICT (key, item_id) DO UPDATE SET
    count = count + 1,
    last_us = max(last_us, excluded.last_us),
    recent = CASE WHEN excluded.last_us > last_us
        THEN recent * forgetting(excluded.last_us - last_us) + 1.0
        ELSE recent + forgetting(last_us - excluded.last_us) END"""
# A session's events are read as those of the user that it has joined.
OWNER: Final = "coalesce(log.user_id, joined.user_id)"
EVENT_OF_OWNER: Final = EVENT.replace("user_id", OWNER)
JOINED_LOG: Final = "event_log log LEFT JOIN identities joined USING (session_id)"
READ: Final = f"""
SELECT offset, {EVENT_OF_OWNER} FROM {JOINED_LOG} WHERE offset > ? ORDER BY offset LIMIT ?"""
TRIM: Final = """
DELETE FROM event_log WHERE offset IN (
    SELECT offset FROM event_log WHERE offset < ? AND received_at_us < ? LIMIT ?)"""
RECENT: Final = """
SELECT item_id, event_type, timestamp_us FROM history WHERE key = ?
ORDER BY timestamp_us DESC, item_id DESC, event_type DESC LIMIT ?"""
PURCHASES: Final = "SELECT item_id, count, last_us, recent FROM purchases WHERE key = ?"
NEWEST_OFFSET: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'event_log'"
NEXT_KEY: Final = "SELECT min(key) FROM history WHERE key > ?"
JOINED: Final = "SELECT user_id FROM identities WHERE session_id = ?"
ERASED: Final = "SELECT max(erased_at_us) FROM erasures WHERE subject = ?"
ANY_ERASED: Final = "SELECT EXISTS (SELECT 1 FROM erasures)"
ERASURES: Final = """
SELECT subject, receipt_id, erased_at_us FROM erasures ORDER BY erased_at_us, subject"""
MOVE: Final = """
INSERT INTO {table} (key, timestamp_us, item_id, event_type)
SELECT joined.user_id, timestamp_us, item_id, event_type
FROM identities joined JOIN {table} ON key = :session || joined.session_id
WHERE {which} ON CONFLICT DO NOTHING"""
MOVED: Final = """
DELETE FROM {table} WHERE key IN (
    SELECT :session || joined.session_id FROM identities joined WHERE {which})"""
ALL: Final = "true"
OF_SESSION_ID: Final = "joined.session_id = :session_id"
REPLAY_LOG: Final = f"""
INSERT INTO history (key, timestamp_us, item_id, event_type)
SELECT coalesce({OWNER}, '{SESSION}' || session_id), timestamp_us, item_id, event_type
FROM {JOINED_LOG} WHERE instr(purposes, '{PERSONALISATION}') AND event_type != '{IMPRESSION}'
ON CONFLICT DO NOTHING"""
LEAVE_OUT_WITHHELD: Final = """
DELETE FROM history WHERE (key, timestamp_us, item_id, event_type) IN (SELECT * FROM withheld)"""
COUNT_PURCHASES: Final = """
INSERT INTO purchases (key, item_id, count, last_us, recent)
SELECT key, item_id, count(*), max(timestamp_us),
    -- By way of a moment between, which cancels out: one pass, the newest not yet known.
    forgetting(max(timestamp_us) - :between) * sum(forgetting(:between - timestamp_us))
FROM history WHERE event_type = :purchase {of} GROUP BY key, item_id"""
COUNTED: Final = {"purchase": REPURCHASE_EVENT, "between": YEAR_2020_US}
OF_ONE: Final = "AND key = :key"
SESSIONS: Final = "SELECT session_id FROM identities WHERE user_id = ? ORDER BY session_id"
# Of whom an event is: a user's, by name or by a session that has joined them; or of a session.
OF_USER: Final = f"{OWNER} = :key"
OF_SESSION: Final = f"{OWNER} IS NULL AND session_id = :key"
