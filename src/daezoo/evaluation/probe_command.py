"""`daezoo probe`: a linear probe of a run's or a checkpoint's encoder."""

import sys

from daezoo.evaluation.probe import Probe, judge
from daezoo.evaluation.target import open_target, parse, target_parser
from daezoo.files import to_json, write_text
from daezoo.report import print_probe


def run(args: list[str], known: dict[str, Probe] | None = None) -> None:
    """Probe, print a table or JSON, and keep the JSON in the run folder.

    Args:
        args: The command line, without the command.
        known: As for `judge`.
    """
    parser = target_parser("probe", "Linear probe of the encoder: protocol logreg-v1, beside its baselines.")
    parser.add_argument("--layer", type=str, default="last", help="last, all, or a layer's number from 1.")
    parser.add_argument("--k", type=int, default=20, help="Neighbours of the kNN classifier.")
    parser.add_argument("--json", action="store_true", help="Print JSON instead of a table.")
    options = parse(parser, args)
    target = open_target(options)
    result = judge(target, options.layer, options.k, known)
    if options.json:
        print(to_json(result))
    else:
        print_probe(result)
    if target.run is not None:
        path = target.run / f"probe-{target.data_name}-{options.layer}.json"
        try:
            write_text(path, to_json(result) + "\n")
        except OSError as error:
            print(f"daezoo: warning: {path} was not written: {error.strerror}", file=sys.stderr)
