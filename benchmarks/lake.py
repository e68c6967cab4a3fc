"""What does the lake cost, and how does that grow?

Generates events with the shape of Complete Journey (`clicks.py`), and measures, each in a process
of its own that this one watches:

    sort        DuckDB reads the Parquet file and writes it sorted by shopper and moment (the median
                of three, one before, one between and one after the others)
    duckdb      the ingest on DuckDB; of it, what is before `bots`: clean, sessionise, sequences
    read        the shards of all shoppers as training reads them, by one process
    spark       the same ingest on Spark, local[2] (--spark)

and prints seconds, the peak memory of the processes, and ratios. DuckDB has the settings of the
ingest (memory, threads, compression) in `sort`, too. --curve measures several sizes and draws
their time and memory in docs/pictures/lake.png.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import matplotlib
from children import watch
from clicks import write_clicks
from rich.console import Console
from rich.table import Table

MILLION: Final = 1_000_000
CURVE: Final = (1, 10, 50, 100)
"""Millions of events."""
MEASURED: Final = ("items", "read events", "check events", "sessions", "sequences")
"""The stages of an ingest that clean, sessionise and make the sequences."""
PICTURE: Final = Path(__file__).parents[1] / "docs" / "pictures" / "lake.png"


@dataclass(frozen=True, slots=True)
class Run:
    """One child process. result: what it says of itself. peak_gb: the most that it and its
    children held at a time.
    """

    result: dict[str, Any]
    peak_gb: float


def main() -> None:
    options = parse_options()
    if options.child:
        print(json.dumps(CHILDREN[options.child](Path(options.folder))))
        return
    console = Console()
    sizes = CURVE if options.curve else (options.events / MILLION,)
    points = []
    with TemporaryDirectory(prefix="vitrina-bench-", dir=options.scratch) as name:
        for millions in sizes:
            folder = Path(name) / "shop"
            events = round(millions * MILLION)
            write_clicks(folder, events)
            floors = [run("sort", folder)]
            runs = {"duckdb": run("duckdb", folder)}
            floors.append(run("sort", folder))
            runs["read"] = run("read", folder)
            if options.spark:
                runs["spark"] = run("spark", folder)
            floors.append(run("sort", folder))
            runs["sort"] = sorted(floors, key=lambda each: each.result["seconds"])[1]
            console.print(table(f"{millions:g} M events", events, runs))
            if options.spark:
                console.print(crossover(runs))
            points.append((millions, runs))
            shutil.rmtree(folder)
    if options.curve:
        draw(points)
        console.print(f"Written: {PICTURE}")


def draw(points: Sequence[tuple[float, dict[str, Run]]]) -> None:
    """Time and memory by millions of events, beside growth in proportion."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    millions = [each for each, _ in points]
    figure, (time_axes, memory_axes) = pyplot.subplots(1, 2, figsize=(10, 4), layout="tight")
    seconds = [pipeline_seconds(runs["duckdb"]) for _, runs in points]
    sort = [runs["sort"].result["seconds"] for _, runs in points]
    even = [seconds[0] * each / millions[0] for each in millions]
    time_axes.loglog(millions, even, ":", color="gray", label="in proportion to the first")
    time_axes.loglog(millions, sort, "s-", label="DuckDB: read and sort")
    time_axes.loglog(millions, seconds, "o-", label="clean, sessionise, sequences")
    time_axes.set(xlabel="million events", ylabel="seconds")
    time_axes.legend()
    memory = [runs["duckdb"].peak_gb for _, runs in points]
    memory_axes.semilogx(millions, memory, "o-", label="whole ingest")
    memory_axes.set(xlabel="million events", ylabel="peak memory, GB", ylim=(0, 1.1 * max(memory)))
    memory_axes.legend()
    for axes in (time_axes, memory_axes):
        axes.set_xticks(millions, [f"{each:g}" for each in millions])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    figure.savefig(PICTURE, dpi=110)


def table(title: str, events: int, runs: dict[str, Run]) -> Table:
    shown = Table(title=title)
    for heading in ("", "seconds", "events/s", "x sort", "peak GB"):
        shown.add_column(heading, justify="right" if heading else "left")
    floor = runs["sort"].result["seconds"]
    lines = [("read and sort, DuckDB", floor, runs["sort"].peak_gb)]
    for kind, label in (("duckdb", "DuckDB"), ("spark", "Spark local[2]")):
        if kind in runs:
            each = runs[kind]
            lines.append(
                (f"clean, sessionise, sequences: {label}", pipeline_seconds(each), each.peak_gb)
            )
            lines.append((f"whole ingest: {label}", each.result["seconds"], each.peak_gb))
    lines.append(
        ("shards to training's arrays", runs["read"].result["seconds"], runs["read"].peak_gb)
    )
    for label, seconds, peak in lines:
        shown.add_row(
            label,
            f"{seconds:.2f}",
            f"{events / seconds:,.0f}",
            f"{seconds / floor:.2f}",
            f"{peak:.2f}",
        )
    return shown


def crossover(runs: dict[str, Run]) -> str:
    """From how many cores on a cluster finishes first, if its work divides among them."""
    ratio = pipeline_seconds(runs["spark"]) / pipeline_seconds(runs["duckdb"])
    return (
        f"Spark takes {ratio:.1f} times as long on the same two cores. Were its work to divide "
        f"evenly, a cluster would have to have {2 * ratio:.0f} cores to be as fast as DuckDB on "
        "two; where events outgrow one machine's disk, or two cores' patience, it wins."
    )


def pipeline_seconds(run: Run) -> float:
    return sum(run.result["stages"][stage] for stage in MEASURED)


def run(kind: str, folder: Path) -> Run:
    """Run a child of this program on the files in `folder`, and watch its memory."""
    found = watch([sys.executable, __file__, "--child", kind, "--folder", str(folder)])
    return Run(json.loads(found.lines[-1]), found.peak_gb)


def sort_file(folder: Path) -> dict[str, Any]:
    from vitrina.lake.engine import DuckDBEngine

    with DuckDBEngine() as engine:
        start = time.perf_counter()
        rows = engine.scan_parquet([folder / "events.parquet"]).sort("user_id", "timestamp")
        engine.write_parquet(rows, folder / "sorted.parquet")
        return {"seconds": time.perf_counter() - start}


def ingest_on(engine: str, folder: Path) -> dict[str, Any]:
    from vitrina.lake.ingest import ingest
    from vitrina.settings import Settings

    settings = Settings.model_validate(
        {
            "paths": {"lake": folder / f"lake-{engine}"},
            "lake": {
                "engine": engine,
                "items": [str(folder / "items.parquet")],
                "events": [str(folder / "events.parquet")],
            },
            "spark": {"master": "local[2]"},
        }
    )
    start = time.perf_counter()
    report = ingest(settings)
    return {"seconds": time.perf_counter() - start, "stages": report.seconds}


def read_shards(folder: Path) -> dict[str, Any]:
    from vitrina.lake.catalog import load_catalog
    from vitrina.lake.sequences import load_interactions
    from vitrina.schema import DEFAULT_EVENT_WEIGHTS

    lake = folder / "lake-duckdb"
    item_ids = load_catalog(lake).item_ids
    start = time.perf_counter()
    found = load_interactions(
        lake, before_us=None, item_ids=item_ids, event_types=sorted(DEFAULT_EVENT_WEIGHTS)
    )
    return {"seconds": time.perf_counter() - start, "events": len(found)}


CHILDREN: Final = {
    "sort": sort_file,
    "duckdb": lambda folder: ingest_on("duckdb", folder),
    "spark": lambda folder: ingest_on("spark", folder),
    "read": read_shards,
}


def parse_options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--events", type=int, default=20 * MILLION, help="how many (20,000,000)")
    parser.add_argument("--spark", action="store_true", help="the ingest on Spark, too")
    parser.add_argument(
        "--curve", action="store_true", help=f"{', '.join(map(str, CURVE))} million, as a picture"
    )
    parser.add_argument("--scratch", type=Path, help="where the files go while it runs")
    parser.add_argument("--child", choices=sorted(CHILDREN), help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
