"""`daezoo anomaly`: how well a model tells classes it never saw from those it knows."""

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from daezoo.evaluation.anomaly import PROTOCOL, SCORES, judge
from daezoo.evaluation.target import open_target, parse, target_parser
from daezoo.files import to_json


def run(args: list[str]) -> None:
    """Judge, and print a table or JSON.

    Args:
        args: The command line, without the command.
    """
    parser = target_parser("anomaly", "Classes that training left out, told from the others: protocol anomaly-v1.")
    parser.add_argument(
        "--anomalous", type=int, nargs="+", help="Labels of the anomalies; those that training left out by default."
    )
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table.")
    options = parse(parser, args)
    result = judge(open_target(options), options.anomalous)
    if options.json:
        print(to_json(result))
    else:
        print_table(result)


def print_table(result: Mapping[str, Any]) -> None:
    """Print how well each score finds the anomalies, beside chance, and the protocol.

    Args:
        result: As `judge` returns it.
    """
    counts = result["samples"]
    anomalous, normal = (", ".join(map(str, result[name])) for name in ("anomalous", "normal"))
    print(
        f"{result['model']} on {result['data']}: {counts['anomalous']:,} test samples of {anomalous} among "
        f"{counts['normal']:,} of {normal}"
    )
    share = counts["anomalous"] / (counts["anomalous"] + counts["normal"])
    chance = {"auroc": 0.5, "average_precision": share, "fpr95": 0.95}
    table = Table()
    table.add_column("score")
    for column in ("AUROC (%)", "AP (%)", "FPR (%)"):
        table.add_column(column, justify="right")
    for name, values in {**result["scores"], "chance": chance}.items():
        table.add_row(SCORES.get(name, name), *(f"{100 * values[metric]:.2f}" for metric in chance))
    Console().print(table)
    print(
        f"{PROTOCOL}. {counts['train']:,} normal training samples, {result['components']} components, noise: "
        f"{result['corruption']}"
    )
    if result["seen"] is None:
        print("Whether the model's training saw the like of these is not known: it was on other data.")
    elif result["seen"]:
        print(f"The model's training saw {', '.join(map(str, result['seen']))}, so these are no anomalies to it.")
