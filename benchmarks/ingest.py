"""How much slower is a checked, de-duplicated, sessionised ingest than copying the file?

Writes the Complete Journey purchases (1.44 million real events) once as a file, then times, in
one process and on the same file:

    copy      DuckDB's bare COPY (SELECT * FROM file) TO parquet, same threads and compression
    ingest    `vitrina ingest`: read, validate, join with the catalog, de-duplicate, sessionise,
              sort and write items, events and quarantine

and prints events per second and the ratio of the two. The ratio is the figure to watch: it
hardly depends on the machine.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from vitrina.lake.datasets.complete_journey import write_complete_journey
from vitrina.lake.engine import DuckDBEngine
from vitrina.lake.ingest import ingest
from vitrina.settings import LakeSettings, PathSettings, Settings

WRITERS = {"parquet": "FORMAT parquet", "csv": "FORMAT csv", "jsonl": "FORMAT json"}
READERS = {
    "parquet": "read_parquet('{}')",
    "csv": "read_csv('{}')",
    "jsonl": "read_json('{}')",
}


def main() -> None:
    options = parse_options()
    with TemporaryDirectory() as name:
        folder = Path(name)
        demo = write_complete_journey(folder, as_of=datetime(2017, 12, 1), smoke=options.smoke)
        events = folder / f"input.{options.format}"
        columns = "* EXCLUDE (session_id)" if options.sessionise else "*"
        run_sql(
            f"COPY (SELECT {columns} FROM '{demo.events}') TO '{events}' "
            f"({WRITERS[options.format]})"
        )
        settings = Settings(
            paths=PathSettings(lake=folder / "lake"),
            lake=LakeSettings(items=[str(demo.items)], events=[str(events)]),
        )
        source = READERS[options.format].format(events)
        copy = f"COPY (SELECT * FROM {source}) TO '{folder / 'copy.parquet'}' (COMPRESSION zstd)"
        seconds = {
            "copy": typical(lambda: run_sql(copy), options.repeat),
            "ingest": typical(lambda: ingest(settings, scope="all"), options.repeat),
        }
        size = events.stat().st_size / 2**20

    table = Table(title=f"{demo.purchases:,} events, {options.format}, {size:.0f} MiB")
    for heading in ("", "seconds", "events/s", "x copy"):
        table.add_column(heading, justify="right" if heading else "left")
    for what, took in seconds.items():
        rate, ratio = demo.purchases / took, took / seconds["copy"]
        table.add_row(what, f"{took:.2f}", f"{rate:,.0f}", f"{ratio:.1f}")
    Console().print(table)


def run_sql(sql: str) -> None:
    """Run one statement in an engine of its own, as bounded as the ingest's."""
    with DuckDBEngine() as engine:
        engine.run(sql)


def typical(work: Callable[[], object], repeat: int) -> float:
    """Median wall time of `repeat` runs, in seconds."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return median(times)


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--format", choices=sorted(WRITERS), default="parquet", help="the input's format (parquet)"
    )
    parser.add_argument(
        "--sessionise",
        action="store_true",
        help="leave session_id out of the input, so that sessions must be found",
    )
    parser.add_argument("--smoke", action="store_true", help="250 households only, in seconds")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each; the median counts (3)")
    return parser.parse_args()


if __name__ == "__main__":
    main()
