"""A downloaded copy, looked at: what is missing, damaged or not what it should be, and why."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from lake.dataset_copy import write_copy
from vitrina.errors import DataError
from vitrina.lake.datasets.check import Finding, check
from vitrina.lake.datasets.registry import dataset_named
from vitrina.lake.datasets.set_up import set_up

BEAUTY = Path(__file__).parents[3].parent / "shared/data/amazon-s3rec/Beauty.txt.gz"
RATINGS = "userId,movieId,rating,timestamp\n"
MOVIES = "movieId,title,genres\n"


def findings(name: str, place: Path) -> dict[str, Finding]:
    return {finding.file: finding for finding in check(dataset_named(name), place)}


def test_a_whole_copy_is_counted(tmp_path: Path) -> None:
    copy = write_copy(
        tmp_path, {"ml-100k/u.data": "1\t2\t3\t4\n" * 100_000, "u.item": "1|a" + "|" * 22 + "\n"}
    )
    found = findings("movielens-100k", copy)
    assert found["u.data"] == Finding("u.data", True, "is complete: 100,000 rows.", 100_000)
    assert not found["u.item"].ok
    assert found["u.item"].sentence.startswith("has 1 rows; 1,682 were published. The copy is cut")


def test_a_missing_file_is_named_with_the_archive_that_may_hold_it(tmp_path: Path) -> None:
    copy = write_copy(tmp_path, {"ml-25m.zip": b"PK"})
    found = findings("movielens-25m", copy)
    assert {name: finding.sentence for name, finding in found.items()} == {
        "ratings.csv": "is missing. Unpack ml-25m.zip.",
        "movies.csv": "is missing. Unpack ml-25m.zip.",
    }


@pytest.mark.parametrize(
    ("name", "file", "content", "sentence"),
    [
        (
            "movielens-20m",
            "ratings.csv",
            "user,movieId,rating,timestamp\n1,2,3,4\n",
            "lacks the column 'userId'; its first line is: user,movieId,rating,timestamp",
        ),
        (
            "diginetica",
            "train-item-views.csv",
            "1;NA;81766;526309;2016-05-09\n",
            "lacks the column 'sessionId', 'userId', 'itemId', 'timeframe', 'eventdate'; "
            "its first line is: 1;NA;81766;526309;2016-05-09",
        ),
        (
            "movielens-1m",
            "movies.dat",
            "1::Toy Story (1995)\n",
            "has 2 fields in its first line where 3 are expected (movieId, title, genres).",
        ),
        ("otto", "train.jsonl", '{"session": 1}\n', "lacks the key 'events' in its first line."),
        (
            "amazon-2018",
            "Books.json",
            "{'asin': 'x'}\n",
            "does not begin with a JSON object on one line. Take the JSON Lines form.",
        ),
        ("hm", "articles.csv", "", "is empty. Download it again."),
    ],
)
def test_another_form_than_the_mapping_expects(
    tmp_path: Path, name: str, file: str, content: str, sentence: str
) -> None:
    finding = findings(name, write_copy(tmp_path, {file: content}))[file]
    assert (finding.ok, finding.sentence) == (False, sentence)


def test_a_truncated_archive_is_a_finding_and_no_traceback(tmp_path: Path) -> None:
    whole = gzip.compress((RATINGS + "1,2,3,4\n" * 5000).encode())
    (tmp_path / "ratings.csv.gz").write_bytes(whole[: len(whole) // 2])
    finding = findings("movielens-32m", tmp_path)["ratings.csv.gz"]
    assert not finding.ok
    assert finding.sentence.startswith("cannot be read: ")


@pytest.mark.skipif(not BEAUTY.exists(), reason="needs ../shared/data")
def test_a_real_copy_without_a_header_is_whole() -> None:
    assert findings("s3rec", BEAUTY)["Beauty.txt.gz"].sentence == "is complete: 22,363 rows."


def test_what_the_mapping_can_do_without_is_no_fault(tmp_path: Path) -> None:
    found = findings("s3rec", write_copy(tmp_path, {"Toys.txt": "1 2 3\n"}))
    assert all(finding.ok for finding in found.values())


def test_setting_up_an_incomplete_copy_names_the_file(tmp_path: Path) -> None:
    copy = write_copy(tmp_path / "copy", {"ratings.csv": RATINGS})
    with pytest.raises(DataError, match=r"has no movies\.csv\. 'vitrina datasets check"):
        set_up(dataset_named("movielens-20m"), copy, tmp_path / "prepared")
    with pytest.raises(DataError, match=r"There is no .*nowhere"):
        set_up(dataset_named("movielens-20m"), tmp_path / "nowhere", tmp_path / "prepared")
    with pytest.raises(DataError, match=r"download it from https://grouplens\.org"):
        set_up(dataset_named("movielens-20m"), None, tmp_path / "prepared")


def test_a_file_that_cannot_be_parsed_leaves_nothing_behind(tmp_path: Path) -> None:
    files = {"movies.dat": "1::A::B\n", "ratings.dat": "one::two::three::four\n"}
    with pytest.raises(DataError, match=r"cannot be read: .*'vitrina datasets check movielens-1m"):
        set_up(
            dataset_named("movielens-1m"), write_copy(tmp_path / "copy", files), tmp_path / "out"
        )
    assert not (tmp_path / "out" / "events.parquet").exists()
    assert not list((tmp_path / "out").glob(".*"))
