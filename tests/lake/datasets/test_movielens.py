"""MovieLens in the three forms that GroupLens publishes."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lake.dataset_copy import events_of, ingest_copy, items_of, write_copy

# As published: tabs and bars, a flag for each of 19 genres, Latin-1, one film without anything.
U_DATA = "196\t242\t3\t881250949\n186\t267\t3\t891717742\n22\t1\t1\t878887116\n"
U_ITEM = (
    "1|Toy Story (1995)|01-Jan-1995||http://us.imdb.com/M/title-exact?Toy%20Story%20(1995)"
    "|0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
    "242|Misérables, Les (1995)|01-Jan-1995||http://us.imdb.com/M/title-exact?Mis%E9rables"
    "|0|0|0|0|0|0|0|0|1|0|0|0|1|0|0|0|0|0|0\n"
    "267|unknown||||1|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
)


def test_100k_has_tabs_bars_and_a_flag_a_genre(tmp_path: Path) -> None:
    copy = write_copy(tmp_path / "ml-100k", {"u.data": U_DATA, "u.item": U_ITEM.encode("latin-1")})
    report = ingest_copy(tmp_path, "movielens-100k", copy)
    items = items_of(tmp_path)
    assert items["1"]["title"] == "Toy Story (1995)"
    assert items["1"]["category_path"] == "Animation > Children's > Comedy"
    assert items["1"]["created_at"] == datetime(1995, 1, 1, tzinfo=UTC)
    assert items["242"]["title"] == "Misérables, Les (1995)"
    assert items["242"]["category_path"] == "Drama > Musical"
    assert "created_at" not in items["267"]
    assert events_of(tmp_path, "user_id", "item_id", "event_type", "value", "timestamp") == [
        ("22", "1", "view", 1.0, datetime(1997, 11, 7, 7, 18, 36, tzinfo=UTC)),
        ("196", "242", "view", 3.0, datetime(1997, 12, 4, 15, 55, 49, tzinfo=UTC)),
        ("186", "267", "view", 3.0, datetime(1998, 4, 4, 19, 22, 22, tzinfo=UTC)),
    ]
    assert report.events.quarantined == report.items.quarantined == {}


@pytest.mark.parametrize(
    ("name", "encoding"), [("movielens-1m", "latin-1"), ("movielens-10m", "utf-8")]
)
def test_1m_and_10m_have_two_colons(tmp_path: Path, name: str, encoding: str) -> None:
    movies = (
        "1::Toy Story (1995)::Animation|Children's|Comedy\n"
        "260::Star Wars: Episode IV - A New Hope (1977)::Action|Adventure|Sci-Fi\n"
        '73::Misérables, Les: "Le film" (1995)::Drama\n'
    )
    ratings = "1::260::5::978300760\n1::1::3.5::978302109\n2::73::3::978301968\n"
    copy = write_copy(
        tmp_path / "ml", {"movies.dat": movies.encode(encoding), "ratings.dat": ratings}
    )
    ingest_copy(tmp_path, name, copy)
    items = items_of(tmp_path)
    assert items["260"]["title"] == "Star Wars: Episode IV - A New Hope (1977)"
    assert items["260"]["category_path"] == "Action > Adventure > Sci-Fi"
    assert items["73"]["title"] == 'Misérables, Les: "Le film" (1995)'
    assert events_of(tmp_path, "user_id", "item_id", "event_type", "value") == [
        ("1", "260", "view", 5.0),
        ("2", "73", "view", 3.0),
        ("1", "1", "view", 3.5),
    ]


@pytest.mark.parametrize("name", ["movielens-20m", "movielens-25m", "movielens-32m"])
def test_later_ones_are_csv(tmp_path: Path, name: str) -> None:
    copy = write_copy(
        tmp_path / "download",
        {
            "ml/movies.csv": "movieId,title,genres\n"
            "1,Toy Story (1995),Adventure|Animation|Children|Comedy|Fantasy\n"
            '11,"American President, The (1995)",Comedy|Drama|Romance\n'
            "171749,Death Note: Desu nôto (2006–2007),(no genres listed)\n",
            "ml/ratings.csv": "userId,movieId,rating,timestamp\n"
            "1,11,4.0,1147880044\n1,1,3.5,1147868817\n2,171749,5.0,1147868828\n",
            "ml/tags.csv": "userId,movieId,tag,timestamp\n3,260,classic,1439472355\n",
        },
    )
    report = ingest_copy(tmp_path, name, copy)
    items = items_of(tmp_path)
    assert items["11"]["title"] == "American President, The (1995)"
    assert items["11"]["category_path"] == "Comedy > Drama > Romance"
    assert items["171749"]["title"] == "Death Note: Desu nôto (2006–2007)"
    assert events_of(tmp_path, "user_id", "item_id", "event_type", "value", "timestamp") == [
        ("1", "1", "view", 3.5, datetime(2006, 5, 17, 12, 26, 57, tzinfo=UTC)),
        ("2", "171749", "view", 5.0, datetime(2006, 5, 17, 12, 27, 8, tzinfo=UTC)),
        ("1", "11", "view", 4.0, datetime(2006, 5, 17, 15, 34, 4, tzinfo=UTC)),
    ]
    assert report.events.quarantined == {}
