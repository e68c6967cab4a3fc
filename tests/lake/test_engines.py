"""What every engine promises (`Engine`), and that both read values alike."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import narwhals as nw
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from vitrina.errors import UnreadableFile
from vitrina.lake import values
from vitrina.lake.engine import LIST_SEPARATOR, ROW, DuckDBEngine, Engine
from vitrina.lake.partitions import parquet_files

MOMENT = datetime(2024, 5, 1, 10, 0, 0, 250_000)
TYPED = {
    "text": ["a", None, "ü\U0001f600"],
    "number": [1.5, None, float("inf")],
    "whole": pa.array([1, None, -(2**62)], pa.int64()),
    "flag": [True, None, False],
    "naive": pa.array([MOMENT, None, datetime(1001, 1, 1)], pa.timestamp("us")),
    "zoned": pa.array([MOMENT, None, datetime(1001, 1, 1)], pa.timestamp("us", "UTC")),
}


def test_what_is_kept_is_what_was_given(engine: Engine) -> None:
    given = pa.table(TYPED)
    frame = engine.persist(engine.from_columns(TYPED).with_columns(at=nw.col("naive")))
    found = engine.collect(frame.drop("at"))
    assert found.schema.types == given.schema.types
    assert found.to_pylist() == given.to_pylist()


def test_what_is_written_has_no_leftovers_and_is_read_as_it_was(
    engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "a folder=1 [x]" / "table.parquet"
    engine.write_parquet(engine.from_columns({"n": [3, 1, 2]}).sort("n"), path)
    files = parquet_files(path)
    assert sorted(file for file in path.parent.rglob("*") if file.is_file()) == files
    assert engine.collect(engine.scan_parquet(files).sort("n"))["n"].to_pylist() == [1, 2, 3]
    engine.write_parquet(engine.from_columns({"m": [4]}), path)  # replaces what was there
    assert engine.collect(engine.scan_parquet(parquet_files(path))).to_pydict() == {"m": [4]}


def test_parts_are_written_by_a_column_that_they_lack(engine: Engine, tmp_path: Path) -> None:
    frame = engine.from_columns({"part": [1, 2, 1, 3], "n": [10, 20, 11, 30]})
    paths = {part: tmp_path / "parts" / f"{part}.parquet" for part in (1, 2, 7)}
    engine.write_parts(frame, "part", paths, {})
    files = {part: parquet_files(paths[part]) for part in (1, 2)}
    there = sorted(file for file in (tmp_path / "parts").rglob("*") if file.is_file())
    assert [file for file in there if file.is_relative_to(paths[1])] == files[1]
    found = {
        part: sorted(engine.collect(engine.scan_parquet(each)).to_pylist(), key=str)
        for part, each in files.items()
    }
    assert found == {1: [{"n": 10}, {"n": 11}], 2: [{"n": 20}]}
    assert not (tmp_path / "parts" / "3.parquet").exists()


def test_parts_have_the_texts_that_numbers_stand_for(engine: Engine, tmp_path: Path) -> None:
    texts = ["a", "b", "ü\U0001f600", "d"]
    rows = {
        "part": pa.array([1] * 5, pa.int32()),
        "n": list(range(5)),
        "text": pa.array([2, None, 0, 2, 2], pa.int32()),
        "nothing": pa.nulls(5, pa.int32()),
        "at": pa.array([MOMENT, None, datetime(1001, 1, 1)] + [MOMENT] * 2, pa.timestamp("us")),
    }
    words = engine.from_columns({"text": texts[::-1], "place": pa.array([3, 2, 1, 0], pa.int32())})
    frame, path = engine.from_columns(rows), tmp_path / "parts" / "1.parquet"
    engine.write_parts(frame, "part", {1: path}, {"text": words, "nothing": words})
    found = engine.collect(engine.scan_parquet(parquet_files(path)).sort("n"))
    assert found.schema.types == [*([pa.int64()] + [pa.string()] * 2), pa.timestamp("us", "UTC")]
    assert found["text"].to_pylist() == [texts[2], None, texts[0], texts[2], texts[2]]
    assert found["nothing"].null_count == 5
    assert found["at"].to_pylist() == [
        moment and moment.replace(tzinfo=UTC) for moment in rows["at"].to_pylist()
    ]


def test_what_came_before_is_that_of_rows_that_belong_together(engine: Engine) -> None:
    order = ("whose", "at")
    frame = engine.from_columns(
        {
            "whose": [2, 1, 2, 1, 1, 3],
            "at": [5, 3, 4, 1, 2, 0],
            "value": pa.array([50, None, 40, None, 12, None], pa.int64()),
        }
    )
    rows = engine.arrange(frame, order)
    rows = engine.previous(rows, order, {"before": "at", "value_before": "value"})
    rows = engine.latest(rows, order, "value", "last").filter(nw.col("at") != 4)
    rows = engine.shared(engine.previous(rows, order, {"left": "at"}))
    found = engine.collect(rows.sort(*order)).to_pylist()
    assert [tuple(row.values()) for row in found] == [
        (1, 1, None, None, None, None, None),
        (1, 2, 12, 1, None, 12, 1),
        (1, 3, None, 2, 12, 12, 2),
        (2, 5, 50, 4, 40, 50, None),
        (3, 0, None, None, None, None, None),
    ]


def test_rows_are_handed_out_in_the_order_they_were_arranged_in(engine: Engine) -> None:
    n, order = 500_000, ("whose", "at")
    moments = np.random.default_rng(0).permutation(n)
    rows = engine.arrange(engine.from_columns({"whose": moments % 7, "at": moments}), order)
    rows = engine.shared(engine.previous(rows, order, {"before": "at"}))
    rows = engine.in_order(rows.filter(nw.col("at") >= 7).select("whose", "at", "before"), order)
    found = pa.Table.from_batches(engine.batches(rows))
    whose, at = found["whose"].to_numpy(), found["at"].to_numpy()
    assert len(at) == n - 7
    assert np.array_equal(np.lexsort((at, whose)), np.arange(n - 7))
    assert np.array_equal(found["before"].to_numpy(), at - 7)


def test_a_write_that_fails_leaves_nothing(engine: Engine, tmp_path: Path) -> None:
    source = tmp_path / "source.parquet"
    rows = {"n": list(range(50_000)), "t": [f"text {n * 7919 % 50_000}" for n in range(50_000)]}
    pq.write_table(pa.table(rows), source)
    frame = engine.scan_source(source)
    content = bytearray(source.read_bytes())
    content[100:200_000] = bytes(199_900)
    source.write_bytes(content)
    with pytest.raises(UnreadableFile):
        engine.write_parquet(frame, tmp_path / "out" / "table.parquet")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_foreign_file_is_read_with_its_row_numbers(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "events [1] *.parquet"
    moment = datetime(2024, 5, 1, 10)
    columns = {
        "id with blank": pa.array([f"i{n}" for n in range(5)]).dictionary_encode(),
        "Number": [1.5, None, 2.0, 3.0, 4.0],
        "whole": pa.array([1, 2, 3, None, 5], pa.int16()),
        "day": [date(2024, 5, 1)] * 5,
        "at": pa.array([moment] * 5, pa.timestamp("us", "Europe/Berlin")),
        "ms": pa.array([moment] * 5, pa.timestamp("ms")),
    }
    pq.write_table(pa.table(columns), path, row_group_size=2)
    found = engine.collect(engine.scan_source(path).sort(ROW)).to_pydict()
    assert found[ROW] == [1, 2, 3, 4, 5]
    assert found["id with blank"] == ["i0", "i1", "i2", "i3", "i4"]
    assert (found["Number"], found["whole"]) == ([1.5, None, 2, 3, 4], [1, 2, 3, None, 5])
    assert set(found["day"]) == {date(2024, 5, 1)}
    assert set(found["at"]) == {moment.replace(tzinfo=UTC)}
    assert set(found["ms"]) == {moment}


def test_values_that_only_some_engines_have_become_text_or_wider(
    engine: Engine, tmp_path: Path
) -> None:
    path = tmp_path / "odd.parquet"
    columns = {
        "levels": [["A", "B"], None],
        "counts": [[1, 2], []],
        "object": pa.array([{"a": 1, "b": None}, None]),
        "exact": pa.array([Decimal("12.50"), None], pa.decimal128(30, 2)),
        "unsigned": pa.array([2**63, None], pa.uint64()),
        "small": pa.array([255, None], pa.uint8()),
        "nanos": pa.array([1714557600000000001, None], pa.timestamp("ns")),
        "bytes": pa.array([b"ab", None]),
    }
    pq.write_table(pa.table(columns), path)
    first, second = engine.collect(engine.scan_source(path).sort(ROW)).to_pylist()
    assert first == {
        ROW: 1,
        "levels": LIST_SEPARATOR.join("AB"),
        "counts": LIST_SEPARATOR.join("12"),
        "object": '{"a":1,"b":null}',
        "exact": "12.50",
        "unsigned": str(2**63),
        "small": 255,
        "nanos": datetime(2024, 5, 1, 10),
        "bytes": "ab",
    }
    assert {name for name, value in second.items() if value is not None} == {ROW, "counts"}


@pytest.mark.parametrize("content", [b"", b"PAR1 but no more", b"PAR1" + bytes(100) + b"PAR1"])
def test_a_file_that_is_no_parquet_is_named(engine: Engine, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "torn.parquet"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=r"torn\.parquet"):
        engine.scan_source(path)


def test_what_duckdb_has_read_can_be_adopted(engine: Engine) -> None:
    landed = engine.landing.from_columns(TYPED)
    own = engine.from_columns({"text": ["a"], "more": [7]})
    found = engine.collect(engine.adopt(landed).join(own, on="text").select("number", "more"))
    assert found.to_pylist() == [{"number": 1.5, "more": 7}]


JSON_OBJECTS = {
    '{"a": 1}': True,
    '  {"a": [1, {"b": "NaN, inf,]"}]} ': True,
    '{"a": "\\"NaN"}': True,
    "{}": True,
    "[1]": False,
    '"text"': False,
    "": False,
    '{"a": 1,}': False,
    '{"a": [1, ]}': False,
    '{"a": NaN}': False,
    '{"a": -Infinity}': False,
    "{'a': 1}": False,
    '{"a": 01}': False,
    '{"a": 1} x': False,
    '{"a": 1': False,
}


def test_a_json_object_is_what_the_standard_says(engine: Engine) -> None:
    frame = engine.from_columns({"text": [*JSON_OBJECTS, None]})
    found = engine.collect(engine.mark_json_objects(frame, "text", "is_object"))
    marks = dict(zip(found["text"].to_pylist(), found["is_object"].to_pylist(), strict=True))
    assert marks == {**JSON_OBJECTS, None: None}


ODD_TEXTS = [
    *("", " ", "0", "-0", "+7", "007", "1.", ".5", "-.5e-3", "1e400", "1e-400", "0x10", "1_000"),
    *(
        "12\n",
        "12\r",
        "12\u2028",
        "12\u0085",
        "\u00a012",
        "١٢",
        "1,5",
        "1 000,50 €",
        "NaN",
        "Infinity",
    ),
    *(
        "true",
        "TRUE",
        "Yes",
        "n",
        "tRuE\u2028",
        "\u0130n",
        "in stock",
        "1.5f",
        "1d",
        "9" * 18,
        "9" * 19,
    ),
    *("2024-05-01", "2024-05-01T10", "2024-05-01T10:00", "2024-05-01 10:00:60", "2024-02-29Z"),
    *("2024-05-01T10:00:00.123456789+05:45", "2024-05-01T10:00:00,5Z", "2024-05-01T10:00:00 UTC"),
    *("1000-01-01", "0999-12-31", "8999-12-31T23:59:59.999999-14:00", "9000-01-01"),
    *(
        "1714557600",
        "1714557600.1234567",
        "1714557600000.5",
        "1714557600000000",
        "99999999999999999",
    ),
]
NUMBERS = [0.0, -0.0, 1.5, -1.5, 12.0, 0.1, 1e-7, 2.0**53, 2.0**33 + 0.5, 1e20, 1 / 3, -2.5e-6]


def read_everything(
    engine: Engine, texts: list[str], numbers: list[float]
) -> list[dict[str, object]]:
    """Each value as text, number, integer, yes or no, and moment; times zones and decimal marks."""
    size = max(len(texts), len(numbers))
    frame = engine.from_columns(
        {
            "place": list(range(size)),
            "t": pa.array(texts + [None] * (size - len(texts)), pa.string()),
            "f": pa.array(numbers + [None] * (size - len(numbers)), pa.float64()),
        }
    )
    text, number = nw.String(), nw.Float64()
    frame = values.add_moment(frame, "t", text, "moment")
    frame = values.add_moment(frame, "t", text, "local", zone="Europe/Berlin")
    frame = values.add_moment(frame, "f", number, "counted")
    frame = frame.with_columns(
        text=values.text("t", text),
        number=values.number("t", text),
        price=values.number("t", text, ","),
        integer=values.integer("t", text),
        whole=values.integer("f", number),
        flag=values.boolean("t", text),
        shown=nw.col("f"),
    )
    frame = values.spelled(frame, {"shown": number, "moment": nw.Datetime("us")})
    rows: list[dict[str, object]] = engine.collect(frame.sort("place")).to_pylist()
    return rows


def test_both_engines_read_odd_values_alike(spark: Engine) -> None:
    with DuckDBEngine() as duckdb:
        assert read_everything(spark, ODD_TEXTS, NUMBERS) == read_everything(
            duckdb, ODD_TEXTS, NUMBERS
        )


LIKELY = st.from_regex(r"[+-]?[0-9]{1,4}([-.:, TZ+e][0-9]{1,3}){0,6}[ Z€]?", fullmatch=True)


@settings(
    max_examples=4,
    deadline=None,
    phases=[Phase.generate],  # an example costs Spark seconds
    suppress_health_check=list(HealthCheck),
)
@given(
    texts=st.lists(
        st.one_of(LIKELY, st.text(max_size=12), st.datetimes().map(str)), min_size=50, max_size=200
    ),
    numbers=st.lists(
        st.floats(allow_nan=False).filter(lambda n: abs(n) < 1e300), min_size=50, max_size=200
    ),
)
def test_both_engines_read_any_values_alike(
    spark: Engine, texts: list[str], numbers: list[float]
) -> None:
    texts = [text.replace("\0", "") for text in texts]
    with DuckDBEngine() as duckdb:
        assert read_everything(spark, texts, numbers) == read_everything(duckdb, texts, numbers)
