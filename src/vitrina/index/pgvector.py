"""PostgreSQL with pgvector behind the `VectorStore` protocol: a table a space, HNSW over it.

The table lies in the first schema of the connection's search path; its comment is its stamp. A
filter is SQL, so that PostgreSQL chooses between the indexes of the columns, which are exact, and
HNSW, which is asked for more until enough rows pass (an iterative scan). Where that ends with
fewer than k, the query is answered by a scan of what passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from vitrina.errors import MissingExtra, SourceError
from vitrina.filters import (
    EVERYTHING,
    Among,
    Available,
    ItemAttributes,
    NotAmong,
    PriceBetween,
    Selection,
    Term,
)
from vitrina.index.base import Found, IndexStats, RowArray
from vitrina.index.checks import new_rows, query_values
from vitrina.index.stamps import Stamp, absent, collection_name, known_terms, nothing_found, put
from vitrina.settings_sources import hide_passwords
from vitrina.space import EmbeddingSpace, FloatMatrix, Vectors

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.pq.abc import PGresult
    from psycopg.sql import SQL, Composable, Composed

CONNECT_SECONDS: Final = 2
SEARCH_SECONDS: Final = 5
"""How long the server works at most on one query; whoever asked has gone long before."""
EF_SEARCH: Final = (100, 1000)
"""Least and most candidates that HNSW keeps: else twice as many as are asked for."""
ROWS_AT_ONCE: Final = 20_000
"""Rows of one transaction: some 10 MB."""

COLUMNS: Final = {
    "item_id": "text",
    "price": "real",
    "available": "boolean",
    "category": "text[]",
    "brand": "text",
    "condition": "text",
    "location": "text",
    "tag": "text[]",
}
INDEXED: Final = {
    "item_id": "btree",
    "price": "btree",
    "category": "gin",
    "brand": "btree",
    "location": "btree",
    "tag": "gin",
}

EXTENSION: Final = "CREATE EXTENSION IF NOT EXISTS vector"
CREATE: Final = """
    CREATE TABLE IF NOT EXISTS {table} (row bigint PRIMARY KEY, embedding {vector}, {columns})
"""
STAGE: Final = """
    CREATE TEMP TABLE staged (place bigint, row bigint, embedding {vector}) ON COMMIT DROP
"""
COPY: Final = "COPY staged FROM STDIN (FORMAT binary)"
UPSERT: Final = """
    INSERT INTO {table} (row, embedding, {names})
    SELECT row, embedding, {names} FROM staged JOIN
        ROWS FROM (json_to_recordset(%s) AS ({columns})) WITH ORDINALITY AS found ({names}, place)
        USING (place)
    ON CONFLICT (row) DO UPDATE SET embedding = excluded.embedding, {changed}
"""
CONFIGURE: Final = """
    SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true),
        set_config('hnsw.ef_search', %s, true),
        set_config('statement_timeout', %s, true),
        set_config('enable_indexscan', %s, true)
"""
# Materialized, for else the text of a query is read again for each item.
SEARCH: Final = """
    WITH queries AS MATERIALIZED (
        SELECT text::vector AS query, place
        FROM unnest(%s::text[]) WITH ORDINALITY AS asked (text, place))
    SELECT best.rows, best.scores FROM queries CROSS JOIN LATERAL (
        SELECT array_agg(row) AS rows, array_agg(score::real) AS scores
        FROM (SELECT row, -(embedding <#> query) AS score FROM {table} WHERE {passes}
              ORDER BY embedding <#> query LIMIT %s) AS nearest) AS best
    ORDER BY place
"""

_T = TypeVar("_T")


class PgVectorStore:
    """A collection in PostgreSQL. Safe to use from many threads: each takes a connection.

    address: postgresql://…, in which `options=-csearch_path=…` may name the schema.
    """

    def __init__(self, address: str, space: EmbeddingSpace) -> None:
        """Connects when first used. Raises MissingExtra without psycopg."""
        try:
            import psycopg
        except ImportError as error:
            raise MissingExtra("psycopg", "pgvector", why="The index is in PostgreSQL. ") from error
        self.space = space
        self._psycopg = psycopg
        self._address = address
        self._idle: list[Connection[Any]] = []
        self._stamp = Stamp(space)
        self._table = collection_name(space)
        self._name = f"Table {self._table} of {hide_passwords(address)}"

    @classmethod
    def create(cls, address: str, space: EmbeddingSpace) -> Self:
        """Open the table of this space to write to it, making it if there is none."""
        store = cls(address, space)
        try:
            store._stamp = store._use(store._make)
        except BaseException:
            store.close()
            raise
        return store

    @classmethod
    def attach(cls, address: str, space: EmbeddingSpace) -> Self:
        """Open the sealed table of this space to search it."""
        store = cls(address, space)
        try:
            store._stamp = store._use(store._stamped)
            store._stamp.require(space, store._name, complete=True)
        except BaseException:
            store.close()
            raise
        return store

    def search(self, queries: Vectors, k: int, allowed: Selection = EVERYTHING) -> Found:
        """The k best rows a query, of those that pass the filters."""
        values = query_values(queries, self.space, k)
        passes, parameters = self._condition(known_terms(allowed.filters, self._stamp.fields))
        statement = self._sql(SEARCH, passes=passes)

        def nearest(values: FloatMatrix, *, exact: bool) -> Found:
            asked = [_text(query) for query in values]
            found = nothing_found(len(values), k)
            answer = self._use(
                lambda db: _ask(db, statement, (asked, *parameters, k), k, exact=exact)
            )
            for place in range(len(values)):
                rows, scores = (answer.get_value(place, column) for column in (0, 1))
                put(found, place, _array(scores, ">f4"), _array(rows, ">i8"))
            return found

        scores, rows = nearest(values, exact=False)
        short = rows[:, -1] < 0
        if short.any():
            scores[short], rows[short] = nearest(values[short], exact=True)
        return scores, rows

    def upsert(self, rows: RowArray, vectors: Vectors, attributes: ItemAttributes) -> None:
        """Set vectors and attributes of rows, new ones or known ones; found by the next search."""
        rows = new_rows(rows, vectors, self.space)
        stamp = self._stamp.with_fields(attributes.facets)
        if stamp != self._stamp:
            self._use(lambda db: self._write(db, stamp))
        for first in range(0, len(rows), ROWS_AT_ONCE):
            part = slice(first, first + ROWS_AT_ONCE)
            copied = _binary_rows(rows[part], vectors.values[part])
            documents = orjson.dumps(attributes.documents(part)).decode()
            self._use(partial(self._upsert, copied, documents))

    def delete(self, rows: RowArray) -> None:
        """Remove rows; rows not present are ignored."""
        statement = self._sql("DELETE FROM {table} WHERE row = ANY(%s)")
        self._use(lambda db: db.execute(statement, (np.asarray(rows).tolist(),)))

    def seal(self) -> None:
        """Build the indexes, and let the table be attached to."""
        identifier = self._psycopg.sql.Identifier
        indexes = {"embedding": "hnsw (embedding vector_ip_ops)"}
        indexes |= {column: f"{method} ({column})" for column, method in INDEXED.items()}

        def build(db: Connection[Any]) -> None:
            for column, index in indexes.items():
                name = identifier(f"{self._table}_{column}")
                statement = f"CREATE INDEX IF NOT EXISTS {{name}} ON {{table}} USING {index}"
                db.execute(self._sql(statement, name=name))
            db.execute(self._sql("ANALYZE {table}"))
            self._write(db, self._stamp.sealed())

        self._use(build)

    def stats(self) -> IndexStats:
        """Items, and bytes on disk."""
        size = "pg_total_relation_size(to_regclass(%s))"
        count = self._sql(f"SELECT count(*), {size} FROM {{table}}")  # noqa: S608
        ((items, occupied),) = self._use(lambda db: db.execute(count, (self._table,)).fetchall())
        return IndexStats("hnsw", items, occupied)

    def drop(self) -> None:
        """Remove the table."""
        self._use(lambda db: db.execute(self._sql("DROP TABLE IF EXISTS {table}")))

    def close(self) -> None:
        """Give connections back."""
        while self._idle:
            self._idle.pop().close()

    def _make(self, db: Connection[Any]) -> Stamp:
        """The table's stamp, of one that is made here or was there before."""
        with db.transaction():
            db.execute(EXTENSION)
            if not self._exists(db):
                db.execute(self._sql(CREATE, columns=_columns()))
                self._write(db, self._stamp)
        stamp = self._stamped(db)
        stamp.require(self.space, self._name, complete=False)
        return stamp

    def _exists(self, db: Connection[Any]) -> bool:
        return db.execute("SELECT to_regclass(%s)", (self._table,)).fetchall() != [(None,)]

    def _stamped(self, db: Connection[Any]) -> Stamp:
        if not self._exists(db):
            raise absent(self._name)
        comment = "SELECT obj_description(to_regclass(%s), 'pg_class')"
        ((text,),) = db.execute(comment, (self._table,)).fetchall()
        return Stamp.from_json(text, self._name)

    def _write(self, db: Connection[Any], stamp: Stamp) -> None:
        text = self._psycopg.sql.Literal(stamp.to_json())
        db.execute(self._sql("COMMENT ON TABLE {table} IS {text}", text=text))
        self._stamp = stamp

    def _upsert(self, copied: bytes, documents: str, db: Connection[Any]) -> None:
        names = ", ".join(COLUMNS)
        changed = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS)
        upsert = UPSERT.format(table="{table}", names=names, columns=_columns(), changed=changed)
        with db.transaction(), db.cursor() as cursor:
            cursor.execute(self._sql(STAGE))
            with cursor.copy(COPY) as copy:
                copy.write(copied)
            cursor.execute(self._sql(upsert), (documents,))

    def _condition(self, asked: Sequence[Term]) -> tuple[Composed, list[Any]]:
        """SQL that is true of what passes, and its parameters."""
        sql = self._psycopg.sql
        conditions: list[SQL] = [sql.SQL("true")]
        parameters: list[Any] = []
        for term in asked:
            match term:
                case Available():
                    conditions.append(sql.SQL("available"))
                case PriceBetween(low, high):
                    bounds = ((">=", low), ("<=", high))
                    for comparison, bound in bounds:
                        if bound is not None:
                            conditions.append(sql.SQL(f"price {comparison} %s"))
                            parameters.append(bound)
                case Among(field, values) | NotAmong(field, values):
                    several = COLUMNS[field].endswith("[]")
                    among = f"{field} && %s::text[]" if several else f"{field} = ANY(%s)"
                    unlike = " IS NOT TRUE" if isinstance(term, NotAmong) else ""
                    conditions.append(sql.SQL(f"({among}){unlike}"))
                    parameters.append(list(values))
        return sql.SQL(" AND ").join(conditions), parameters

    def _sql(self, statement: str, **parts: Composable | str) -> Composed:
        """A statement of ours about this table."""
        sql = self._psycopg.sql
        composed = {
            name: sql.SQL(part) if isinstance(part, str) else part for name, part in parts.items()
        }
        vector = sql.SQL(f"vector({self.space.dim})")
        table = sql.Identifier(self._table)
        found: Composed = sql.SQL(statement).format(table=table, vector=vector, **composed)
        return found

    def _use(self, work: Callable[[Connection[Any]], _T]) -> _T:
        """`work` with a connection in autocommit mode; done once more if that one was dead.

        Raises SourceError, without its cause: that may spell out the address, password and all.
        """
        try:
            while True:
                db, known = self._connection()
                try:
                    result = work(db)
                except BaseException:
                    broken = db.broken
                    db.close()
                    if not (known and broken):
                        raise
                    self.close()  # those made before it are dead, too: the server was restarted
                else:
                    self._idle.append(db)
                    return result
        except self._psycopg.Error as error:
            said = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise SourceError(f"{self._name}: {hide_passwords(said)}.") from None

    def _connection(self) -> tuple[Connection[Any], bool]:
        """A connection, and whether it was there before."""
        try:
            return self._idle.pop(), True
        except IndexError:
            return self._psycopg.connect(
                self._address, autocommit=True, connect_timeout=CONNECT_SECONDS
            ), False


def _ask(
    db: Connection[Any], statement: Composed, parameters: Sequence[Any], k: int, *, exact: bool
) -> PGresult:
    """The answer to one search, in PostgreSQL's binary format, after one trip to the server."""
    candidates = min(max(2 * k, EF_SEARCH[0]), EF_SEARCH[1])
    limit = f"{SEARCH_SECONDS * len(parameters[0])}s"
    with db.pipeline():
        db.execute("BEGIN READ ONLY")
        db.execute(CONFIGURE, (str(candidates), limit, "off" if exact else "on"))
        cursor = db.cursor(binary=True)
        # Not prepared: which index is best depends on the values.
        cursor.execute(statement, parameters, prepare=False)
        db.execute("COMMIT")
    assert cursor.pgresult is not None
    return cursor.pgresult


def _text(vector: NDArray[np.float32]) -> str:
    """As pgvector reads one, with as many digits as bring the same float32 back."""
    return orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY).decode()


def _columns() -> str:
    return ", ".join(f"{name} {kind}" for name, kind in COLUMNS.items())


def _binary_rows(rows: RowArray, values: FloatMatrix) -> bytes:
    """What COPY reads: place, row and vector of each, with the length in bytes before each."""
    dim = values.shape[1]
    record = np.dtype(
        [
            ("columns", ">i2"),
            ("place_bytes", ">i4"),
            ("place", ">i8"),
            ("row_bytes", ">i4"),
            ("row", ">i8"),
            ("vector_bytes", ">i4"),
            ("dim", ">i2"),
            ("unused", ">i2"),
            ("vector", ">f4", (dim,)),
        ]
    )
    records = np.zeros(len(rows), record)
    records["columns"], records["place_bytes"], records["row_bytes"] = 3, 8, 8
    records["place"], records["row"] = np.arange(1, len(rows) + 1), rows
    records["vector_bytes"], records["dim"], records["vector"] = 4 + 4 * dim, dim, values
    return b"PGCOPY\n\xff\r\n\0" + bytes(8) + records.tobytes() + b"\xff\xff"


def _array(binary: bytes | None, kind: str) -> NDArray[Any]:
    """An array of one dimension without NULLs, in the binary format; None: of no elements."""
    if binary is None:
        return np.zeros(0, kind)
    elements = np.frombuffer(binary, [("bytes", ">i4"), ("value", kind)], offset=20)
    return elements["value"]
