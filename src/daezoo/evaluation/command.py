"""`daezoo evaluate`: reconstruction error of a run or a checkpoint."""

from daezoo.corruption import Corruption
from daezoo.evaluation.restoration import PROTOCOL, evaluate
from daezoo.evaluation.target import open_target, parse, target_parser
from daezoo.files import to_json
from daezoo.report import print_restoration


def run(args: list[str]) -> None:
    """Evaluate, and print a table or JSON.

    Args:
        args: The command line, without the command.
    """
    parser = target_parser("evaluate", "Reconstruction error on the test split.")
    parser.add_subclass_arguments(
        Corruption, "corruption", required=False, help="Another corruption than the trained one."
    )
    parser.add_argument("--level", type=float | None, help="Another noise level: sigma or ratio.")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table.")
    options = parse(parser, args)
    target = open_target(options)
    model, data = target.model, target.data
    corruption = options.corruption or data.evaluation_corruption
    if options.level is not None:
        corruption = corruption.at(options.level)
    metrics = evaluate(model, data.evaluation_batches("test", corruption), data.splits["train"].mean())
    if options.json:
        described = {
            "target": target.name,
            "model": type(model).__name__,
            "data": type(data).__name__,
            "corruption": str(corruption),
            "samples": len(data.splits["test"]),
            "protocol": PROTOCOL,
        }
        print(to_json(described | metrics))
    else:
        print_restoration(metrics, type(model).__name__, len(data.splits["test"]), corruption)
