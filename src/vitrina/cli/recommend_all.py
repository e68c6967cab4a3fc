"""Recommendations for a file of shoppers, without a server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vitrina.errors import DataError, MissingExtra

if TYPE_CHECKING:
    from vitrina.online.candidates import Shelf
    from vitrina.online.recommender import Recommendation, Recommender

AT_ONCE: Final = 2_000
"""Shoppers encoded and searched for together; their answers make one row group."""

Progress = Callable[[int, int | None], None]
"""Told how many shoppers have their answer, and of how many (None: unknown)."""


def recommend_all(
    recommender: Recommender, users: Path, out: Path, shelf: Shelf, k: int, progress: Progress
) -> int:
    """Write the k best items of every shopper in `users` to the Parquet file `out`.

    users: a Parquet file with a column user_id, or a text with one id a line. out: a row for each
    shopper and position; it appears complete, or not at all. In memory there are never more than
    AT_ONCE shoppers. Returns how many there were. Raises DataError for a file that has no ids,
    MissingExtra without pyarrow.
    """
    try:
        import pyarrow.parquet as pq  # type: ignore[import-untyped]
    except ImportError as error:
        raise MissingExtra("pyarrow", "train", why="Parquet files are written by it. ") from error
    from vitrina.bundle.files import file_aside
    from vitrina.online.recommender import Request
    from vitrina.rank.candidates import SOURCES

    keys, total = _shoppers(users)
    done = 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        file_aside(out) as partial,
        pq.ParquetWriter(partial, _schema(), compression="zstd") as file,
    ):
        while chunk := list(islice(keys, AT_ONCE)):
            requests = [Request(key=key, user_id=key, shelf=shelf, k=k) for key in chunk]
            prepared = recommender.prepared(requests)
            file.write_table(_rows(map(prepared.recommend, requests), SOURCES))
            done += len(chunk)
            progress(done, total)
    return done


def _shoppers(path: Path) -> tuple[Iterator[str], int | None]:
    """The ids in a file, one by one, and how many they are if that is known."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.suffix != ".parquet":
        return _lines(path), None
    try:
        file = pq.ParquetFile(path)
        if "user_id" not in file.schema_arrow.names:
            raise DataError(f"{path} has no column 'user_id'; it has {file.schema_arrow.names}.")
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read as Parquet: {error}.") from error
    batches = file.iter_batches(AT_ONCE, columns=["user_id"])
    ids = (str(key) for batch in batches for key in batch["user_id"].to_pylist() if key is not None)
    return ids, file.metadata.num_rows


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as file:
            yield from (line.strip() for line in file if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as text, one id a line: {error}.") from error


def _schema() -> Any:
    import pyarrow as pa

    name = pa.dictionary(pa.int8(), pa.string())
    return pa.schema(
        {
            "user_id": pa.string(),
            "position": pa.int32(),
            "item_id": pa.string(),
            "score": pa.float32(),
            "source": name,
            "served_by": name,
            "bundle": name,
        }
    )


def _rows(answers: Iterable[Recommendation], sources: tuple[str, ...]) -> Any:
    """A row for each shopper and position."""
    import pyarrow as pa

    columns: dict[str, list[Any]] = {name: [] for name in _schema().names}
    for answer in answers:
        count = len(answer.candidates)
        columns["user_id"] += [answer.request.user_id] * count
        columns["position"] += range(1, count + 1)
        columns["item_id"] += answer.item_ids
        columns["score"] += answer.candidates.scores.tolist()
        columns["source"] += [sources[source] for source in answer.candidates.sources.tolist()]
        columns["served_by"] += [answer.served_by] * count
        columns["bundle"] += [answer.bundle.manifest.version] * count
    return pa.Table.from_pydict(columns, schema=_schema())
