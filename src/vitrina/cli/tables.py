"""Results as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from rich.table import Table
from rich.text import Text

SHOWN_TRIALS: Final = 15
COPIED: Final = ("version", "item")
"""Columns whose values people copy: never broken over two lines."""

if TYPE_CHECKING:
    from rich.console import RenderableType

    from vitrina.bundle.registry import BundleSummary
    from vitrina.index.tuning import Tuned
    from vitrina.lake.diff import TableDiff
    from vitrina.lake.report import IngestReport, TableReport
    from vitrina.online.keys import ApiKey
    from vitrina.towers.tune import TuneReport


def facts(title: str, values: Mapping[str, Any]) -> Table:
    """Names and values, one a row."""
    table = _table(title, "", "")
    table.show_header = False
    for name, value in values.items():
        table.add_row(name.replace("_", " "), Text(_value(value)))
    return table


def ingest_report(report: IngestReport) -> list[RenderableType]:
    """What was read from which columns, and kept; if any, what could not be used and why."""
    columns = _table("Columns", "table", "files", "ours ← theirs")
    counts = _table(
        "Ingest",
        "table",
        right=("files", "rows read", "of them now", "kept", "duplicate", "set apart"),
    )
    reasons = _table("Rows set apart and values repaired", "table", "reason", right=("rows",))
    for name, table in (("items", report.items), ("events", report.events)):
        counts.add_row(
            name,
            *(
                f"{number:,}"
                for number in (
                    table.files,
                    table.read,
                    table.read_now,
                    table.kept,
                    table.duplicates,
                    sum(table.quarantined.values()),
                )
            ),
        )
        _add_reasons(reasons, name, table)
        for source in table.mapped:
            columns.add_row(name, _files(source["files"]), Text(_mapped(source["columns"])))
        if table.ignored_columns:
            columns.add_row(name, "", Text(f"not used: {', '.join(table.ignored_columns)}"))
    counts.caption = (
        f"{report.users:,} shoppers, {report.sessions:,} sessions, "
        f"{report.first_event:%Y-%m-%d} to {report.last_event:%Y-%m-%d}, "
        f"{sum(report.seconds.values()):.1f} s"
    )
    if report.rebuilt is not None:
        counts.caption += f"\nall files of events were read: {report.rebuilt}"
    shown: list[RenderableType] = [columns, counts]
    if reasons.row_count:
        shown.append(reasons)
    if report.examples:
        shown.append(_examples(report.examples))
    return shown


def _files(addresses: Sequence[str]) -> Text:
    more = f" and {len(addresses) - 1:,} more" if len(addresses) > 1 else ""
    return Text(addresses[0].rpartition("/")[2] + more)


def _mapped(columns: Mapping[str, str]) -> str:
    """Our columns and what they were read from, where that has another name."""
    pairs = (ours if ours == theirs else f"{ours} ← {theirs}" for ours, theirs in columns.items())
    return " · ".join(pairs)


def remarks(figures: Mapping[str, Any]) -> Table:
    """What to look at first in the quality report; figures: its quality.json."""
    from vitrina.lake.quality.remarks import remarks

    table = _table("What to look at", "", "section", "")
    table.show_header = False
    for remark in remarks(figures):
        mark = Text("!" if remark.weight == "warning" else "·", style="yellow")
        table.add_row(mark, remark.section, Text(remark.text))
    if not table.row_count:
        table.add_row("", "", "Nothing stands out.")
    return table


def lake_drift(found: Mapping[str, Any]) -> list[RenderableType]:
    """What has changed between two sets of tables, what has moved furthest first."""
    rows = _table("Rows", "table", right=("A", "B"))
    for name, counts in found["tables"].items():
        rows.add_row(name, *(f"{counts[side]:,}" for side in ("a", "b")))
    keys = _table("Came and went", "of", right=("in both", "new in B", "lost since A"))
    for name, counts in found["keys"].items():
        keys.add_row(name, *(f"{counts[side]:,}" for side in ("kept", "new", "lost")))
    changed = _table("Items in both with another value", "column", right=("items",))
    for name, items in found["changed"].items():
        if name != "items":
            changed.add_row(name, f"{items:,}")
    columns = _table("Distributions", "table", "column", "", right=("PSI", "missing in A", "in B"))
    styles = {"stable": "", "moved": "yellow", "shifted": "red"}
    for column in sorted(found["columns"], key=lambda column: -column["psi"]):
        columns.add_row(
            column["table"],
            column["column"],
            Text(column["verdict"], style=styles[column["verdict"]]),
            f"{column['psi']:.3f}",
            *(f"{column[side]:.1%}" for side in ("missing_a", "missing_b")),
        )
    columns.caption = "PSI: population stability index, stable below 0.1, shifted above 0.25"
    return [rows, keys, changed, columns]


def lake_diff(found: Sequence[TableDiff]) -> list[RenderableType]:
    """What differs between two lakes; below it, a few of the rows."""
    counts = _table(
        "Tables", "table", "differences", right=("rows of A", "rows of B", "only in A", "only in B")
    )
    examples = _table("For example", "table", "row", "in A", "in B")
    for table in found:
        notes = [*table.schema, *(f"{column}: {rows:,}" for column, rows in table.changed.items())]
        counts.add_row(
            table.table,
            Text("same" if table.identical else "; ".join(notes)),
            *("–" if rows is None else f"{rows:,}" for rows in table.rows),
            f"{table.only_a:,}",
            f"{table.only_b:,}",
        )
        for row in table.examples:
            key = ", ".join(str(value) for value in row["key"].values())
            examples.add_row(table.table, Text(key), _side(row["a"]), _side(row["b"]))
    return [counts, examples] if examples.row_count else [counts]


def _side(row: Mapping[str, Any] | None) -> Text:
    if row is None:
        return Text("–")
    return Text(", ".join(f"{name}={value}" for name, value in row.items()))


def bundles(summaries: Sequence[BundleSummary]) -> Table:
    """The registry's bundles, the current one marked."""
    table = _table("Bundles", "version", "", "made", "index", "gates", right=("items",))
    for bundle in summaries:
        mark = Text("current", style="green") if bundle.current else Text("")
        if bundle.problem is not None or bundle.index is None:
            problem = Text(f"cannot be read: {bundle.problem}", style="red")
            table.add_row(bundle.version, mark, "", "", problem, "")
            continue
        failed = len((bundle.metrics or {}).get("failed_gates", ()))
        table.add_row(
            bundle.version,
            mark,
            (bundle.created_at or "")[:16].replace("T", " "),
            f"{bundle.index.kind}, recall@{bundle.index.k} {bundle.index.recall_at_500:.3f}",
            Text(f"{failed} failed", style="yellow") if failed else Text("passed"),
            f"{bundle.items:,}",
        )
    return table


def api_keys(keys: Sequence[ApiKey]) -> Table:
    """API keys, oldest first; never a secret, which nobody has."""
    table = _table("API keys", "name", "id", "scopes", "made", "holds until")
    for key in keys:
        until = "revoked" if key.expires_at is None else f"{key.expires_at:%Y-%m-%d %H:%M}"
        table.add_row(
            Text(key.name), key.key_id, ", ".join(key.scopes), f"{key.created_at:%Y-%m-%d}", until
        )
    return table


def items(title: str, shown: Sequence[Mapping[str, Any]]) -> Table:
    """Recommended items, best first."""
    table = _table(title, "item", "title", "category", "source", right=("price", "score"))
    for item in shown:
        path = item.get("category_path") or ()
        price = item.get("price")
        table.add_row(
            item["item_id"],
            Text(item.get("title", "")),
            Text(path[-1] if path else ""),
            item["source"],
            "" if price is None else f"{price:,.2f}",
            "" if item["score"] is None else f"{item['score']:.3f}",
        )
    return table


def _add_reasons(table: Table, name: str, report: TableReport) -> None:
    for kind, reasons in (("", report.quarantined), ("repaired: ", report.repaired)):
        for reason, rows in sorted(reasons.items(), key=lambda entry: -entry[1]):
            table.add_row(name, Text(f"{kind}{reason}"), f"{rows:,}")
    for file in report.unusable_files:
        table.add_row(name, Text(f"whole file: {file['reason']}"), "")


def _examples(rows: Sequence[Mapping[str, Any]]) -> Table:
    table = _table("For example", "file", "column", "reason", right=("row",))
    for row in rows:
        table.add_row(
            Text(str(row["file"])),
            Text(row["column"] or ""),
            Text(row["reason"]),
            f"{row['row']:,}",
        )
    table.caption = "All of them are in the lake's quarantine table."
    return table


def _value(value: Any) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
        case None:
            return "–"
        case _:
            return str(value)


def tuning(report: TuneReport) -> list[RenderableType]:
    """The best trials, and the settings of the best one as TOML."""
    from vitrina.cli.settings_file import toml_value

    known = [trial for trial in report.trials if trial.value is not None]
    ranked = sorted(known, key=lambda trial: -(trial.value or 0.0))
    trials = _table("Trials", right=("trial", report.metric, "seconds"))
    for column in ("state", "settings"):
        trials.add_column(column, overflow="fold")
    for trial in ranked[:SHOWN_TRIALS]:
        chosen = ", ".join(f"{name} {toml_value(value)}" for name, value in trial.settings.items())
        figures = (str(trial.number), f"{trial.value:.4f}", f"{trial.seconds:,.0f}")
        trials.add_row(*figures, trial.state, chosen)
    before = "" if report.first_value is None else f", {report.first_value:.4f} as it was set"
    trials.caption = (
        f"The best of {len(report.trials)} trials in {report.storage}. Of the complete ones: "
        f"{report.value:.4f}{before}."
    )
    lines = [f"{name} = {toml_value(value)}" for name, value in report.best.items()]
    return [trials, Text("\n".join(["", "[train]", *lines]))]


def index_tuning(tuned: Tuned, target: float, k: int) -> list[RenderableType]:
    """What was measured of each kind, those that nothing beats marked, and the choice as TOML."""
    from vitrina.cli.settings_file import toml_value
    from vitrina.index.tuning import front

    best = front(tuned.measured)
    table = _table(
        f"Indexes, {k} neighbours of a shopper's vector",
        "index",
        "",
        right=("lists", "rescored", f"recall@{k}", "p50 ms", "p99 ms", "MB"),
    )
    for one in tuned.measured:
        mark = "chosen" if one is tuned.chosen else "front" if one in best else ""
        table.add_row(
            one.kind,
            mark,
            f"{one.effort.lists:,}",
            f"{one.effort.rescored} x" if one.effort.rescored else "–",
            f"{one.recall:.4f}",
            f"{one.p50_ms:.3f}",
            f"{one.p99_ms:.3f}",
            f"{one.megabytes:,.1f}",
            style="bold" if one is tuned.chosen else "",
        )
    table.caption = "front: nothing else is both faster and better. MB: without the item vectors."
    lines = [f"kind = {toml_value(tuned.info.kind)}", f"recall_target = {toml_value(target)}"]
    return [table, Text("\n".join(["", "[index]", *lines]))]


def _table(title: str, *columns: str, right: Sequence[str] = ()) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", caption_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in COPIED)
    for column in right:
        table.add_column(column, justify="right")
    return table
