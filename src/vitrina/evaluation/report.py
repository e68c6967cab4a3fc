"""The evaluation as people read it."""

from __future__ import annotations

from typing import Any

from rich.table import Table

COLUMNS = (
    ("all", "recall@10"),
    ("all", "recall@100"),
    ("all", "ndcg@10"),
    ("new", "recall@10"),
    ("new", "recall@100"),
    ("new", "ndcg@10"),
    ("new", "mrr"),
)
SHELF = ("coverage@10", "popularity@10", "diversity@10")


def table(evaluation: dict[str, Any]) -> Table:
    """One line a method: mean ± half of the 95 % interval; the best of a column in bold."""
    rows = evaluation["rows"]
    view = Table(
        title=f"{evaluation['users']} shoppers, {evaluation['cut'][:10]} to "
        f"{evaluation['until'][:10]}, every item ranked",
        caption="± half of the 95 % bootstrap interval. 'new': items the shopper had not met "
        "before. Coverage, popularity (percentile) and diversity of the first 10 new items.",
    )
    view.add_column("method", no_wrap=True)
    for targets, name in COLUMNS:
        view.add_column(f"{targets}\n{name}", justify="right", no_wrap=True)
    for name in SHELF:
        view.add_column("\n@".join(name.split("@")), justify="right", no_wrap=True)
    best = {
        (targets, name): max(row[targets][name]["mean"] for row in rows)
        for targets, name in COLUMNS
    }
    for row in rows:
        cells = []
        for targets, name in COLUMNS:
            value = row[targets][name]
            text = f"{value['mean']:.4f} ±{(value['high'] - value['low']) / 2:.3f}"
            strong = value["mean"] == best[targets, name]
            cells.append(f"[bold]{text}[/bold]" if strong else text)
        view.add_row(row["method"], *cells, *(f"{row[name]:.3f}" for name in SHELF))
    return view


def verdicts(evaluation: dict[str, Any]) -> Table:
    """One line a claim: the paired difference with its interval, and whether it holds."""
    view = Table(title="What is claimed, and whether it holds")
    view.add_column("claim")
    view.add_column("difference", justify="right", no_wrap=True)
    view.add_column("verdict", no_wrap=True)
    for bar in evaluation["bars"]:
        difference = bar["difference"]
        verdict = "apart" if bar["apart"] else "holds" if bar["holds"] else "does not hold"
        view.add_row(
            bar["claim"],
            f"{difference['mean']:+.4f} [{difference['low']:+.4f}, {difference['high']:+.4f}]",
            f"[{'green' if bar['holds'] else 'red'}]{verdict}[/]",
        )
    return view
