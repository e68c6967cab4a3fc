"""The report of a set of tables: its figures and their page, beside the tables."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vitrina.lake.engine import Engine, open_engine
from vitrina.lake.quality.activity import activity
from vitrina.lake.quality.page import report_page
from vitrina.lake.quality.profile import FORMAT, Tables, profile
from vitrina.lake.tables import current_tables, read_report, scan_stored, scan_table, write_json
from vitrina.settings import Settings

FIGURES: Final = "quality.json"
PAGE: Final = "report.html"


def write_report(
    engine: Engine,
    folder: Path,
    tables: Tables,
    report: Mapping[str, Any],
    weights: Mapping[str, float],
) -> None:
    """Write FIGURES and PAGE of the tables in `folder`; parameters as of `profile`."""
    figures = profile(engine, tables, report, weights)
    write_json(folder / FIGURES, figures)
    write_page(folder / PAGE, report_page(figures))


def remake_report(settings: Settings) -> tuple[Path, dict[str, Any]]:
    """Write the page of the current tables again; returns its path and the figures.

    The figures are those of the ingest, or are computed again where another version of Vitrina
    made them. Raises DataError when nothing was ingested yet.
    """
    lake = settings.paths.lake
    folder = current_tables(lake)
    figures = _read_figures(folder)
    if figures is None:
        with open_engine(settings) as engine:
            events = scan_table(engine, lake, "events")
            tables = Tables(
                items=scan_table(engine, lake, "items"),
                events=events,
                quarantine=scan_table(engine, lake, "quarantine"),
                bots=scan_table(engine, lake, "bots"),
                activity=activity(engine, scan_stored(engine, folder, "events")),
            )
            figures = profile(engine, tables, read_report(lake), settings.events.weights)
        write_json(folder / FIGURES, figures)
    return write_page(folder / PAGE, report_page(figures)), figures


def _read_figures(folder: Path) -> dict[str, Any] | None:
    try:
        figures: dict[str, Any] = json.loads((folder / FIGURES).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return figures if figures.get("format") == FORMAT else None


def write_page(path: Path, html: str) -> Path:
    """Write a page: complete under its name, or unchanged."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        aside.write_text(html, encoding="utf-8")
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    return path
