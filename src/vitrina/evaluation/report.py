"""The evaluation as people read it: tables for a terminal of 80 columns, and for a model card."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Group, RenderableType
from rich.table import Table

ACCURACY: Final = ("recall@10", "recall@100", "ndcg@10", "mrr")
BY_LENGTH: Final = ("recall@10", "ndcg@10")
SHELF: Final = ("coverage@10", "popularity@10", "diversity@10")
TITLES: Final = {
    "all": "All targets: what {users} shoppers bought in the test days",
    "new": "New items: what {users_with_new} of them bought for the first time",
}


def tables(evaluation: dict[str, Any], *, claims: bool = True) -> Group:
    """Accuracy on all targets and on new items, the look of the lists, and the claims."""
    parts: list[RenderableType] = [
        f"Moment of prediction {evaluation['cut'][:10]}, test until {evaluation['until'][:10]}, "
        f"every item ranked. ± is half of the 95 % bootstrap interval.",
        _accuracy(evaluation, "all"),
        _accuracy(evaluation, "new"),
        *(_by_length(evaluation, name) for name in BY_LENGTH if _groups(evaluation)),
        _shelf(evaluation),
    ]
    return Group(*parts, *([_verdicts(evaluation)] if claims else []))


def markdown(evaluation: dict[str, Any]) -> str:
    """The evaluation as a section of the model card: accuracy with its intervals, failed gates."""
    lines = [
        "",
        "## Evaluation",
        "",
        f"Moment of prediction {evaluation['cut'][:10]}, test until {evaluation['until'][:10]}, "
        f"every item ranked, by the code that serves. ± is half of the 95 % bootstrap interval.",
    ]
    for targets in TITLES:
        lines += ["", f"{TITLES[targets].format(**evaluation)}.", ""]
        lines += [f"| method | {' | '.join(ACCURACY)} |", f"|---|{'---:|' * len(ACCURACY)}"]
        for row in evaluation["rows"]:
            figures = " | ".join(_figure(row[targets][name]) for name in ACCURACY)
            lines.append(f"| {row['method']} | {figures} |")
    groups = _groups(evaluation)
    for metric in BY_LENGTH if groups else ():
        lines += ["", f"All targets by the number of events before the cut: {metric}.", ""]
        lines += [f"| method | {' | '.join(groups)} |", f"|---|{'---:|' * len(groups)}"]
        lines.append(f"| shoppers | {' | '.join(f'{count:,}' for count in groups.values())} |")
        for row in evaluation["rows"]:
            figures = " | ".join(_figures_by_length(evaluation, row, metric))
            lines.append(f"| {row['method']} | {figures} |")
    if evaluation["failed_gates"]:
        lines += ["", *(f"- Gate failed: {sentence}" for sentence in evaluation["failed_gates"])]
    return "\n".join([*lines, ""])


def _accuracy(evaluation: dict[str, Any], targets: str) -> Table:
    """One line a method: mean ± half of the interval; the best of a column in bold."""
    rows = evaluation["rows"]
    view = _table(TITLES[targets].format(**evaluation), ("method", *ACCURACY))
    best = {name: max(row[targets][name]["mean"] for row in rows) for name in ACCURACY}
    for row in rows:
        view.add_row(
            row["method"],
            *(
                _strong(_figure(row[targets][name]), row[targets][name]["mean"] == best[name])
                for name in ACCURACY
            ),
        )
    return view


def _by_length(evaluation: dict[str, Any], metric: str) -> Table:
    """One line a method, one column a group by the number of events before the cut."""
    groups = _groups(evaluation)
    title = f"All targets by the number of events before the cut: {metric}"
    view = _table(title, ("method", *groups))
    view.add_row("shoppers", *(f"{count:,}" for count in groups.values()), end_section=True)
    for row in evaluation["rows"]:
        view.add_row(row["method"], *_figures_by_length(evaluation, row, metric))
    return view


def _groups(evaluation: dict[str, Any]) -> dict[str, int]:
    """How many shoppers each group has; none in an evaluation of before there were groups."""
    groups: dict[str, int] = evaluation.get("users_by_length", {})
    return groups


def _figures_by_length(evaluation: dict[str, Any], row: dict[str, Any], metric: str) -> list[str]:
    """A method's figure in each group, "–" where nobody is in it."""
    found = [row["by_length"].get(group) for group in _groups(evaluation)]
    return ["–" if each is None else f"{each[metric]:.4f}".removeprefix("0") for each in found]


def _shelf(evaluation: dict[str, Any]) -> Table:
    view = _table(
        "The first 10 new items: share of the catalog shown, mean popularity percentile,\n"
        "1 − mean cosine of pairs",
        ("method", *(name.removesuffix("@10") for name in SHELF)),
    )
    for row in evaluation["rows"]:
        view.add_row(row["method"], *(f"{row[name]:.3f}" for name in SHELF))
    return view


def _verdicts(evaluation: dict[str, Any]) -> Table:
    """One line a claim: the paired difference with its interval, and whether it holds."""
    view = _table(
        "Claims. holds: the paired difference is above 0 with 95 % confidence;\n"
        "apart: the two intervals do not even touch",
        ("claim", "difference", "verdict"),
    )
    for bar in evaluation["bars"]:
        difference = bar["difference"]
        verdict = "apart" if bar["apart"] else "holds" if bar["holds"] else "does not hold"
        view.add_row(
            f"{bar['better']} > {bar['worse']}\n  {bar['metric']}, {bar['targets']} items",
            f"{difference['mean']:+.4f}\n{difference['low']:+.4f} … {difference['high']:+.4f}",
            f"[{'green' if bar['holds'] else 'red'}]{verdict}[/]",
        )
    return view


def _table(title: str, columns: tuple[str, ...]) -> Table:
    view = Table(title=title, title_justify="left")
    for number, name in enumerate(columns):
        view.add_column(name, justify="right" if number else "left", no_wrap=True)
    return view


def _figure(value: dict[str, float]) -> str:
    half = (value["high"] - value["low"]) / 2
    return f"{value['mean']:.4f} ±{half:.3f}".replace("0.", ".")


def _strong(text: str, strong: bool) -> str:
    return f"[bold]{text}[/bold]" if strong else text
