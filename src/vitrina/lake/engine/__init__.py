"""The lake's engines: DuckDB in this process, Spark on this machine or on a cluster."""

from __future__ import annotations

from vitrina.lake.engine.base import LIST_SEPARATOR, ROW, Engine, Frame, frame_name
from vitrina.lake.engine.duckdb import DuckDBEngine, first_line, literal
from vitrina.settings import Settings

__all__ = [
    "LIST_SEPARATOR",
    "ROW",
    "DuckDBEngine",
    "Engine",
    "Frame",
    "first_line",
    "frame_name",
    "literal",
    "open_engine",
]


def open_engine(settings: Settings) -> Engine:
    """The engine that [lake] names. Use it as a context manager.

    Raises MissingExtra when Spark or the Java that it needs is not installed.
    """
    if settings.lake.engine == "duckdb":
        return DuckDBEngine(settings.lake.memory_gb)
    from vitrina.lake.engine.spark import SparkEngine

    return SparkEngine(settings)
