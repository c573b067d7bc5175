"""The tables of the study `anomaly`."""

from collections.abc import Sequence
from statistics import mean

from daezoo.evaluation.anomaly import METRICS, OF_MODEL, OF_SAMPLES, PROTOCOL
from daezoo.studies.markdown import Rows, grouped, of, spread, table

HEAD = f"""## Anomalies

`daezoo reproduce anomaly`. A vanilla model learns from all digits but those of one class, and `daezoo anomaly` says how
well scores tell the test samples of that class from all others. AUROC in % for each class left out; AUROC, AP and FPR
on average over the classes that are shown, mean ± standard deviation over seeds that have them all. Nothing was picked
by these numbers. Untrained codes are those of the same encoder before training.
Protocol {PROTOCOL}.
"""


def section(rows: Rows) -> str:
    """Section of the study."""
    tables = []
    for (data, epochs), same in grouped(rows, "data", "epochs").items():
        classes = sorted({row["left_out"] for row in same}, key=int)
        once = [row | {"seed": ""} for row in {row["left_out"]: row for row in same}.values()]
        lines = [
            _line(f"{model}: {words}", name, one, classes)
            for (model,), one in grouped(same, "model").items()
            for name, words in OF_MODEL.items()
        ]
        lines += [_line(words, name, once, classes) for name, words in OF_SAMPLES.items()]
        head = ["score", *classes, "AUROC", "AP", "FPR", "seeds"]
        tables.append(f"{data}, {epochs} epochs:\n\n{table(head, lines)}")
    return "\n".join([HEAD, *tables])


def _line(words: str, name: str, rows: Rows, classes: Sequence[str]) -> list[str]:
    """A score in words, its AUROC by class, its metrics on average, and the number of seeds that have all classes."""
    seeds = [one for one in grouped(rows, "seed").values() if len(one) == len(classes)]
    rows = [row for one in seeds for row in one] or rows  # a seed that is not done would count for some classes alone
    by_class = [[100 * float(row[f"{name}_auroc"]) for row in of(rows, left_out=label)] for label in classes]
    means = [{key: str(mean(float(row[f"{name}_{key}"]) for row in one)) for key in METRICS} for one in seeds]
    counted = "" if of(rows, seed="") else str(len(seeds))
    shown = [f"{mean(values):.1f}" if values else "" for values in by_class]
    return [words, *shown, *(spread(means, key) if means else "" for key in METRICS), counted]
