"""`daezoo reproduce anomaly`: every class left out in turn, and how well it is told from the others."""

from pathlib import Path

from daezoo.evaluation.anomaly import judge
from daezoo.parser import Parser
from daezoo.runs import summary_of
from daezoo.studies.cells import add_row, configurations, rows_of, trained
from daezoo.studies.markdown import of
from daezoo.studies.tables import render
from daezoo.zoo.measure import opened

MODELS = {"narrow (256, 32)": ("--model.hidden", "[256,32]"), "as shipped (1000)": ()}
"""Vanilla models, and options of `daezoo fit`; a wide code can hold what it never saw, a narrow one less so."""
EPOCHS = {
    "smoke": {"digits": 1, "mnist": 1},
    "minutes": {"digits": 60, "mnist": 5},
    "full": {"digits": 60, "mnist": 30},
}
CLASSES = range(10)


def run(args: list[str]) -> None:
    """Train and judge what is not done yet, and render the results.

    Args:
        args: The command line, without the command and the study.

    Raises:
        ValueError: If an option does not fit, the configurations are not there, or a command fails.
    """
    parser = Parser(prog="daezoo reproduce anomaly", description="Every class of digits left out in turn.")
    parser.add_argument("--data", type=str, default="digits,mnist", help="Data sets, with commas between.")
    parser.add_argument("--budget", type=str, default="minutes", help=f"Epochs: one of {', '.join(EPOCHS)}.")
    parser.add_argument("--seeds", type=int, default=1, help="Seeds 0, 1, …: so many.")
    parser.add_argument("--configs", type=str, default="configs", help="The configurations of a checkout.")
    parser.add_argument("--docs", type=str, default="docs", help="Where studies/*.csv and results.md go.")
    parser.add_argument("--runs", type=str, default="runs/studies", help="Folder that holds the run folders.")
    options = parser.parse_args(args)
    if options.budget not in EPOCHS or options.seeds < 1:
        raise ValueError(
            f"--budget must be one of {', '.join(EPOCHS)} and --seeds at least 1, got {options.budget} and "
            f"{options.seeds}."
        )
    epochs, wanted = EPOCHS[options.budget], options.data.split(",")
    if not epochs.keys() >= set(wanted):
        raise ValueError(f"--data must be of {', '.join(epochs)}, with commas between, got {options.data}.")
    configs, folder, docs = configurations(options.configs), Path(options.runs), Path(options.docs)
    table = docs / "studies" / "anomaly.csv"
    cells = [
        {"data": data, "epochs": str(epochs[data]), "model": model, "left_out": str(label), "seed": str(seed)}
        for data in wanted
        for seed in range(options.seeds)
        for model in MODELS
        for label in CLASSES
    ]
    for cell in cells:
        if of(rows_of(table), **cell):
            continue
        left = [label for label in CLASSES if str(label) != cell["left_out"]]
        arguments = [*MODELS[cell["model"]], "--data.classes", str(left), "--trainer.max_epochs", cell["epochs"]]
        name = f"{cell['model'].split()[0]}-without{cell['left_out']}-{cell['epochs']}-s{cell['seed']}"
        fit = [*arguments, "--pictures", "false"]
        run = trained(configs, folder, "vanilla", cell["data"], name, int(cell["seed"]), fit)
        print("daezoo anomaly", run, flush=True)
        result, summary = judge(opened(str(run))), summary_of(run)
        assert summary is not None
        scores = {f"{score}_{key}": value for score, found in result["scores"].items() for key, value in found.items()}
        row = {**cell, **scores, "components": result["components"], **result["samples"]}
        add_row(table, row | {"seconds": summary["seconds"], "commit": summary["commit"]}, cell)
    print(*render(docs), sep="\n")
