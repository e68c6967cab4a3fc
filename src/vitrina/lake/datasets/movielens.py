"""MovieLens: ratings of films, in the three file forms that GroupLens has used.

100k       u.data (tabs), u.item (bars, a flag a genre), Latin-1, no header
1M, 10M    ratings.dat and movies.dat, `::` between fields, no header; 1M is Latin-1
20M to 32M ratings.csv and movies.csv
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Final

from vitrina.lake.datasets.base import EVENTS, ITEMS, DataFile, Dataset, FilesByRole
from vitrina.lake.datasets.sql import csv_table, paths
from vitrina.lake.engine import DuckDBEngine

GENRES_100K: Final = (
    "unknown",
    "Action",
    "Adventure",
    "Animation",
    "Children's",
    "Comedy",
    "Crime",
    "Documentary",
    "Drama",
    "Fantasy",
    "Film-Noir",
    "Horror",
    "Musical",
    "Mystery",
    "Romance",
    "Sci-Fi",
    "Thriller",
    "War",
    "Western",
)
"""The flags of u.item, in their order (u.genre)."""

DATA_100K: Final = DataFile(
    "ratings",
    "u.data",
    ("userId", "movieId", "rating", "timestamp"),
    delimiter="\t",
    header=False,
    rows={"u.data": 100_000},
)
ITEMS_100K: Final = DataFile(
    "movies",
    "u.item",
    (
        "movieId",
        "title",
        "released",
        "video_released",
        "url",
        *(f"genre{place}" for place in range(len(GENRES_100K))),
    ),
    delimiter="|",
    header=False,
    encoding="latin-1",
    rows={"u.item": 1_682},
)


def _dat_files(ratings: int, movies: int, encoding: str) -> tuple[DataFile, DataFile]:
    return (
        DataFile(
            "ratings",
            "ratings.dat",
            ("userId", "movieId", "rating", "timestamp"),
            delimiter="::",
            header=False,
            rows={"ratings.dat": ratings},
        ),
        DataFile(
            "movies",
            "movies.dat",
            ("movieId", "title", "genres"),
            delimiter="::",
            header=False,
            encoding=encoding,
            rows={"movies.dat": movies},
        ),
    )


def _csv_files(ratings: int, movies: int) -> tuple[DataFile, DataFile]:
    return (
        DataFile(
            "ratings",
            "ratings.csv",
            ("userId", "movieId", "rating", "timestamp"),
            rows={"ratings.csv": ratings},
        ),
        DataFile(
            "movies", "movies.csv", ("movieId", "title", "genres"), rows={"movies.csv": movies}
        ),
    )


def prepare_100k(engine: DuckDBEngine, files: FilesByRole, into: Path) -> None:
    """Write the films of u.item, genres from their flags, and the ratings of u.data."""
    flags = ", ".join(
        f"CASE WHEN genre{place} = '1' THEN '{genre.replace(chr(39), chr(39) * 2)}' END"
        for place, genre in enumerate(GENRES_100K)
    )
    movies = engine.query(
        f"SELECT movieId AS item_id, title, nullif(concat_ws(' > ', {flags}), '') "
        "AS category_path, try_strptime(released, '%d-%b-%Y') AS created_at "
        f"FROM {csv_table(ITEMS_100K)}",
        [paths(files["movies"])],
    )
    engine.write_parquet(movies, into / ITEMS)
    _write_ratings(engine, DATA_100K, files, into)


def prepare_dat(
    ratings: DataFile, movies: DataFile, engine: DuckDBEngine, files: FilesByRole, into: Path
) -> None:
    """Write films and ratings from files with `::` between the fields."""
    films = engine.query(
        "SELECT movieId AS item_id, title, replace(genres, '|', ' > ') AS category_path "
        f"FROM {csv_table(movies)}",
        [paths(files["movies"])],
    )
    engine.write_parquet(films, into / ITEMS)
    _write_ratings(engine, ratings, files, into)


def _write_ratings(engine: DuckDBEngine, ratings: DataFile, files: FilesByRole, into: Path) -> None:
    events = engine.query(
        "SELECT userId AS user_id, movieId AS item_id, 'view' AS event_type, "
        "to_timestamp(timestamp::BIGINT) AS timestamp, rating::DOUBLE AS value "
        f"FROM {csv_table(ratings)}",
        [paths(files["ratings"])],
    )
    engine.write_parquet(events, into / EVENTS)


_TERMS: Final = (
    "research use; acknowledge it in publications, no redistribution and no commercial use "
    "without permission, no implied endorsement by GroupLens"
)
_DECISIONS: Final = (
    "A rating is a view with the stars as its value: who rates a film has met it, and a film is "
    "not bought again.",
    "category_path is the film's genres in the order they are listed; they are no hierarchy.",
    "Tags, links and the users' age, gender and occupation are not read.",
)

MOVIELENS_100K: Final = Dataset(
    name="movielens-100k",
    title="MovieLens 100K",
    about="ratings of films, September 1997 to April 1998",
    events=100_000,
    items=1_682,
    users=943,
    size="5 MB (zip)",
    terms=_TERMS,
    address="https://grouplens.org/datasets/movielens/100k/",
    decisions=_DECISIONS,
    files=(DATA_100K, ITEMS_100K),
    prepare=prepare_100k,
)


def _dat(
    label: str, about: str, events: int, items: int, users: int, size: str, encoding: str
) -> Dataset:
    ratings, movies = _dat_files(events, items, encoding)
    return Dataset(
        name=f"movielens-{label.lower()}",
        title=f"MovieLens {label}",
        about=about,
        events=events,
        items=items,
        users=users,
        size=size,
        terms=_TERMS,
        address=f"https://grouplens.org/datasets/movielens/{label.lower()}/",
        decisions=_DECISIONS,
        files=(ratings, movies),
        prepare=partial(prepare_dat, ratings, movies),
    )


def _csv(label: str, about: str, events: int, items: int, users: int, size: str) -> Dataset:
    return Dataset(
        name=f"movielens-{label.lower()}",
        title=f"MovieLens {label}",
        about=about,
        events=events,
        items=items,
        users=users,
        size=size,
        terms=_TERMS,
        address=f"https://grouplens.org/datasets/movielens/{label.lower()}/",
        decisions=_DECISIONS,
        files=_csv_files(events, items),
        items_from=(
            {
                "files": ["movies"],
                "columns": {
                    "item_id": "movieId",
                    "title": "title",
                    "category_path": {"column": "genres", "separator": "|"},
                },
            },
        ),
        events_from=(
            {
                "files": ["ratings"],
                "columns": {
                    "user_id": "userId",
                    "item_id": "movieId",
                    "timestamp": {"column": "timestamp", "unit": "s"},
                    "event_type": {"value": "view"},
                    "value": "rating",
                },
            },
        ),
    )


MOVIELENS: Final = (
    MOVIELENS_100K,
    _dat(
        "1M",
        "ratings of users who joined in 2000",
        1_000_209,
        3_883,
        6_040,
        "6 MB (zip)",
        "latin-1",
    ),
    _dat(
        "10M",
        "10 million ratings, released in January 2009",
        10_000_054,
        10_681,
        71_567,
        "63 MB (zip)",
        "utf-8",
    ),
    _csv(
        "20M", "ratings of January 1995 to March 2015", 20_000_263, 27_278, 138_493, "199 MB (zip)"
    ),
    _csv(
        "25M",
        "ratings of January 1995 to November 2019",
        25_000_095,
        62_423,
        162_541,
        "about 260 MB (zip)",
    ),
    _csv(
        "32M",
        "ratings of January 1995 to October 2023",
        32_000_204,
        87_585,
        200_948,
        "239 MB (zip)",
    ),
)
