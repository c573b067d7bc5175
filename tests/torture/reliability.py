"""The table of all campaigns, docs/reliability.md, and the figure of the long run."""

from collections import Counter
from pathlib import Path

from daezoo.files import write_text
from daezoo.studies.cells import rows_of
from daezoo.studies.markdown import grouped, table

ROOT = Path(__file__).resolve().parents[2]
ROWS, LONG_RUN = (ROOT / "docs" / "studies" / f"{name}.csv" for name in ("reliability", "long-run"))
FIGURE = ROOT / "docs" / "images" / "long-run.png"
PAGE = """# Reliability

What was done to trainings and exports, how often, and what became of them: rendered by `make torture`, which goes on
where it was stopped, from [studies/reliability.csv](studies/reliability.csv). `make test-slow` makes some of these
tries each time.

Lost is a try after which anything was missing, torn, mixed up, or told wrongly. Resumed means that weights, moments of
the optimizer and `metrics.csv` are equal, bit for bit, to those of a training that nobody disturbed, that no checkpoint
was ever torn, and that no process was left.

{table}"""
LONG = """
## The long run

{minutes:.0f} minutes of training with a checkpoint every 100 steps, and `ModelCheckpoint` keeping three more beside it,
in [studies/long-run.csv](studies/long-run.csv): from a tenth of the time to its end, memory went from
{first[memory_mib]} to {last[memory_mib]} MiB, open files from {first[files]} to {last[files]}, and the run folder
from {first[disk_mib]} to {last[disk_mib]} MiB. What grows is `metrics.csv`, which is kept in memory, too: a row for
every step that logs.

![Memory, open files and disk over time](images/long-run.png)
"""


def render() -> None:
    """Write the page from the rows."""
    lines = []
    for (fault,), rows in grouped(rows_of(ROWS), "fault").items():
        outcomes = Counter(row["outcome"] for row in rows)
        lost = outcomes.pop("LOST", 0)
        ends = "; ".join(f"{count} {how}" for how, count in outcomes.most_common())
        lines.append([fault, str(len(rows)), str(lost), ends])
    text = PAGE.format(table=table(["fault", "tried", "lost", "how the others ended"], lines))
    samples = rows_of(LONG_RUN)
    if samples:
        early = samples[len(samples) // 10]
        text += LONG.format(minutes=float(samples[-1]["seconds"]) / 60, first=early, last=samples[-1])
        _draw(samples)
    write_text(ROOT / "docs" / "reliability.md", text)


def _draw(samples: list[dict[str, str]]) -> None:
    from matplotlib.figure import Figure

    from daezoo.figures import save

    figure = Figure(figsize=(8, 5), layout="constrained")
    minutes = [float(row["seconds"]) / 60 for row in samples]
    names = {"memory_mib": "memory, MiB", "files": "open files", "disk_mib": "run folder, MiB"}
    axes = figure.subplots(len(names), 1, sharex=True)
    for axis, (name, label) in zip(axes, names.items(), strict=True):
        values = [float(row[name]) for row in samples]
        axis.plot(minutes, values)
        axis.set(ylabel=label, ylim=(0, 1.3 * max(values)))
    axes[-1].set_xlabel("minutes")
    save(figure, FIGURE)


if __name__ == "__main__":
    render()
