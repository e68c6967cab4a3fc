"""The tables of the shared store, and its statements. They mean what those of SQLite mean."""

from __future__ import annotations

from typing import Final

from vitrina.schema import (
    IMPRESSION,
    PERSONALISATION,
    RECENT_DAYS,
    REPURCHASE_EVENT,
    anonymous_key,
)
from vitrina.state.base import LIVE_US
from vitrina.state.rows import FIELDS

FORMAT: Final = 1
SESSION: Final = anonymous_key("")
AFTER_SESSIONS: Final = SESSION[:-1] + chr(ord(SESSION[-1]) + 1)

# Held by whoever writes, to the end of the transaction. Sequences alone do not give offsets in the
# order in which transactions end, and a reader of the log would miss what ends later.
LOCK: Final = f"SELECT pg_advisory_xact_lock({0x56697472})"

# "C": texts are ordered by their bytes, as SQLite and Redis have it.
TABLES: Final = f"""
CREATE SCHEMA IF NOT EXISTS vitrina;
CREATE TABLE vitrina.about (log_id text NOT NULL, format int NOT NULL);
INSERT INTO vitrina.about VALUES (
    substr(md5(random()::text || clock_timestamp()::text || pg_backend_pid()), 1, 16), {FORMAT}
);
CREATE TABLE vitrina.event_log (
    "offset" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id text NOT NULL UNIQUE,
    item_id text NOT NULL,
    event_type text NOT NULL,
    timestamp_us bigint NOT NULL,
    user_id text,
    session_id text,
    device_type text,
    value double precision,
    request_id text,
    position bigint,
    purposes text NOT NULL,
    received_at_us bigint NOT NULL
);
CREATE INDEX event_log_of_user ON vitrina.event_log (user_id);
CREATE INDEX event_log_of_session ON vitrina.event_log (session_id) WHERE user_id IS NULL;
CREATE TABLE vitrina.history (
    key text COLLATE "C" NOT NULL,
    timestamp_us bigint NOT NULL,
    item_id text COLLATE "C" NOT NULL,
    event_type text COLLATE "C" NOT NULL,
    PRIMARY KEY (key, timestamp_us, item_id, event_type)
);
CREATE TABLE vitrina.withheld (LIKE vitrina.history INCLUDING ALL);
CREATE TABLE vitrina.purchases (
    key text COLLATE "C" NOT NULL,
    item_id text COLLATE "C" NOT NULL,
    count bigint NOT NULL,
    last_us bigint NOT NULL,
    recent double precision NOT NULL,
    PRIMARY KEY (key, item_id)
);
CREATE TABLE vitrina.identities (
    session_id text PRIMARY KEY,
    user_id text NOT NULL,
    joined_at_us bigint NOT NULL
);
CREATE INDEX identities_of_user ON vitrina.identities (user_id);
CREATE TABLE vitrina.erasures (
    subject text NOT NULL,
    erased_at_us bigint NOT NULL,
    receipt_id text NOT NULL,
    PRIMARY KEY (subject, erased_at_us)
);
-- e to the power of less than -700 is no number for PostgreSQL, but an error.
CREATE FUNCTION vitrina.forgetting(age_us bigint) RETURNS double precision
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    AS 'SELECT exp(greatest(-age_us / {RECENT_DAYS * 86_400e6}::float8, -700))';
"""

_EVENT: Final = ", ".join(FIELDS)
_TYPES: Final = {"timestamp_us": "bigint", "position": "bigint", "value": "float8"}
_ARRAYS: Final = ", ".join(f"%({name})s::{_TYPES.get(name, 'text')}[]" for name in FIELDS)
_PERSONAL: Final = f"""
('{PERSONALISATION}' = ANY (string_to_array(purposes, ',')) AND event_type <> '{IMPRESSION}')"""
_COUNTED: Final = f"""
SELECT key, item_id, count(*) AS count, max(timestamp_us) AS last_us,
    sum(vitrina.forgetting(newest - timestamp_us)) AS recent
FROM (
    SELECT *, max(timestamp_us) OVER (PARTITION BY key, item_id) AS newest
    FROM {{history}} WHERE event_type = '{REPURCHASE_EVENT}' {{of}}
) AS bought GROUP BY key, item_id ORDER BY key, item_id"""

_SINCE_ERASED: Final = """
CASE WHEN timestamp_us <= erased_at_us
    THEN erased_at_us + 1 + timestamp_us / 1000 %% 86400000 ELSE timestamp_us END AS timestamp_us"""

# Answers with two kinds of rows: new events (event_id set; event_type only if it is in the
# history), and purchases as they are counted now.
#
# The clock is that of the server which received the events, when they stop waiting for the lock: an
# erasure that they have waited for has its moment before that (`base.after_erasure`).
APPEND: Final = f"""
WITH arrived AS (
    SELECT *, (
        SELECT max(erased_at_us) FROM vitrina.erasures WHERE erasures.subject = arrived.subject
    ) AS erased_at_us, %(received_us)s::bigint
        + (extract(epoch FROM clock_timestamp() - transaction_timestamp()) * 1e6)::bigint AS now_us
    FROM unnest({_ARRAYS}, %(subject)s::text[]) WITH ORDINALITY
        AS arrived ({_EVENT}, subject, place)
), sent AS (
    SELECT {_EVENT.replace("timestamp_us", _SINCE_ERASED)}, place FROM arrived
    WHERE erased_at_us IS NULL OR timestamp_us > erased_at_us
        OR now_us < erased_at_us AND timestamp_us >= now_us - {LIVE_US}
), logged AS (
    INSERT INTO vitrina.event_log ({_EVENT}, received_at_us)
    SELECT {_EVENT}, %(received_us)s FROM sent ORDER BY place
    ON CONFLICT (event_id) DO NOTHING RETURNING *
), owned AS (
    SELECT coalesce(logged.user_id, joined.user_id, '{SESSION}' || session_id) AS key,
        timestamp_us, item_id, event_type, event_id, {_PERSONAL} AS personal
    FROM logged LEFT JOIN vitrina.identities joined USING (session_id)
), remembered AS (
    INSERT INTO vitrina.history
    SELECT key, timestamp_us, item_id, event_type FROM owned WHERE personal
    ON CONFLICT DO NOTHING RETURNING *
), withheld AS (
    INSERT INTO vitrina.withheld
    SELECT key, timestamp_us, item_id, event_type FROM owned
    WHERE NOT personal AND event_type <> '{IMPRESSION}'
    ON CONFLICT DO NOTHING
), counted AS (
    INSERT INTO vitrina.purchases AS held (key, item_id, count, last_us, recent)
    {_COUNTED.format(history="remembered", of="")}
    ON CONFLICT (key, item_id) DO UPDATE SET
        count = held.count + excluded.count,
        last_us = greatest(held.last_us, excluded.last_us),
        recent =
            held.recent * vitrina.forgetting(greatest(excluded.last_us - held.last_us, 0))
            + excluded.recent * vitrina.forgetting(greatest(held.last_us - excluded.last_us, 0))
    RETURNING *
)
SELECT event_id, key, item_id, CASE WHEN personal THEN event_type END, timestamp_us, NULL, NULL
FROM owned
UNION ALL SELECT NULL, key, item_id, NULL, last_us, count, recent FROM counted"""

_OWNER: Final = "coalesce(log.user_id, joined.user_id)"
EVENT_OF_OWNER: Final = _EVENT.replace("user_id", _OWNER)
JOINED_LOG: Final = "vitrina.event_log log LEFT JOIN vitrina.identities joined USING (session_id)"
READ: Final = f"""
SELECT "offset", {EVENT_OF_OWNER} FROM {JOINED_LOG}
WHERE "offset" > %s ORDER BY "offset" LIMIT %s"""
TRIM: Final = """
DELETE FROM vitrina.event_log WHERE "offset" IN (
    SELECT "offset" FROM vitrina.event_log
    WHERE "offset" < %s AND received_at_us < %s ORDER BY "offset" LIMIT %s
)"""
EVENT_ID: Final = 'SELECT event_id FROM vitrina.event_log WHERE "offset" = %s'
NEWEST_OFFSET: Final = """
SELECT coalesce(pg_sequence_last_value(
    pg_get_serial_sequence('vitrina.event_log', 'offset')::regclass
), 0)"""
RECENT_KEYS: Final = f"""
SELECT DISTINCT coalesce({_OWNER}, '{SESSION}' || session_id) FROM {JOINED_LOG}
WHERE received_at_us > %s"""
ERASURES: Final = """
SELECT subject, receipt_id, erased_at_us FROM vitrina.erasures ORDER BY erased_at_us, subject"""

OWNER: Final = f"""
coalesce((
    SELECT user_id FROM vitrina.identities WHERE '{SESSION}' || session_id = %(key)s
        AND session_id = substr(%(key)s, {len(SESSION) + 1})
), %(key)s)"""
RECENT: Final = f"""
SELECT item_id, event_type, timestamp_us FROM vitrina.history WHERE key = {OWNER}
ORDER BY timestamp_us DESC, item_id DESC, event_type DESC LIMIT %(limit)s"""
PURCHASES: Final = f"""
SELECT item_id, count, last_us, recent FROM vitrina.purchases WHERE key = {OWNER}
ORDER BY item_id"""
NEXT_KEY: Final = """
SELECT key FROM vitrina.history WHERE key > %s AND key < %s ORDER BY key LIMIT 1"""

JOIN: Final = """
INSERT INTO vitrina.identities VALUES (%s, %s, %s) ON CONFLICT DO NOTHING"""
JOINED: Final = "SELECT user_id FROM vitrina.identities WHERE session_id = %s"
SESSIONS: Final = """
SELECT session_id FROM vitrina.identities WHERE user_id = %s ORDER BY session_id COLLATE "C" """
MOVE: Final = f"""
WITH moved AS (
    DELETE FROM vitrina.{{table}} rows USING vitrina.identities joined
    WHERE rows.key = '{SESSION}' || joined.session_id AND {{which}}
    RETURNING joined.user_id, timestamp_us, item_id, event_type
)
INSERT INTO vitrina.{{table}} SELECT * FROM moved ON CONFLICT DO NOTHING"""
ALL: Final = "true"
OF_SESSION_ID: Final = "joined.session_id = %(session_id)s"
COUNT_PURCHASES: Final = """
INSERT INTO vitrina.purchases (key, item_id, count, last_us, recent)""" + _COUNTED.format(
    history="vitrina.history", of="{of}"
)
OF_ONE: Final = "AND key = %(key)s"
OF_USER: Final = f"{_OWNER} = %(name)s"
OF_SESSION: Final = f"{_OWNER} IS NULL AND session_id = %(name)s"
REPLAY_LOG: Final = f"""
INSERT INTO vitrina.history
SELECT coalesce({_OWNER}, '{SESSION}' || session_id), timestamp_us, item_id, event_type
FROM {JOINED_LOG} WHERE {_PERSONAL} ON CONFLICT DO NOTHING"""
LEAVE_OUT_WITHHELD: Final = """
DELETE FROM vitrina.history USING vitrina.withheld
WHERE (history.key, history.timestamp_us, history.item_id, history.event_type)
    = (withheld.key, withheld.timestamp_us, withheld.item_id, withheld.event_type)"""
