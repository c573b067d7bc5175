"""Rows of a study, grouped and in Markdown."""

from collections.abc import Sequence
from statistics import mean, stdev

Rows = list[dict[str, str]]


def grouped(rows: Rows, *names: str) -> dict[tuple[str, ...], Rows]:
    """Rows by what they have in some columns, in order of appearance."""
    groups: dict[tuple[str, ...], Rows] = {}
    for row in rows:
        groups.setdefault(tuple(row[name] for name in names), []).append(row)
    return groups


def of(rows: Rows, **wanted: str) -> Rows:
    """The rows that have these values."""
    return [row for row in rows if wanted.items() <= row.items()]


def spread(rows: Rows, name: str) -> str:
    """Mean and standard deviation of a share over rows, in %."""
    values = [100 * float(row[name]) for row in rows]
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *lines]) + "\n"
