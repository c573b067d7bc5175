"""`daezoo reproduce`: run the cells of a study that are not done yet, and render the results."""

from importlib import import_module
from pathlib import Path

from daezoo.evaluation.probe import Probe
from daezoo.parser import Parser
from daezoo.studies.cells import Cell, add_row, configurations, rows_of
from daezoo.studies.markdown import of
from daezoo.studies.tables import render

FINE = Cell(
    "conv",
    "fashion_mnist",
    variant="256 channels, kernel 5, batch normalisation, Gaussian 0.12, 6 epochs",
    fit=[
        *("--model.channels", "[256]", "--model.kernel", "5", "--model.batch_norm", "true"),
        *("--model.optimizer.lr", "0.01", "--data.corruption.sigma", "0.12", "--trainer.max_epochs", "6"),
    ],
)
FEATURES = (
    Cell("vanilla", "mnist"),
    Cell("stacked", "mnist"),
    Cell("conv", "mnist"),
    Cell("vanilla", "fashion_mnist"),
    Cell("stacked", "fashion_mnist"),
    Cell("conv", "fashion_mnist"),
    FINE,
)
LEVELS = {
    "Gaussian": (0.25, 0.5, 1.0),
    "Masking": (0.25, 0.5, 0.75),
    "SaltAndPepper": (0.1, 0.25, 0.5),
    "BlockMasking": (0.25, 0.5, 0.75),
}


def noisy(kind: str, level: float | None) -> Cell:
    """The shipped vanilla model on MNIST with another noise."""
    fit = ["--data.corruption", kind]
    if level is None:
        return Cell("vanilla", "mnist", variant=kind, fit=fit)
    name = "sigma" if kind == "Gaussian" else "ratio"
    return Cell("vanilla", "mnist", variant=f"{kind} {level:g}", fit=[*fit, f"--data.corruption.{name}", str(level)])


def on_cifar(path: Path) -> Cell:
    """The conv model of small kernels and little noise on CIFAR-10, whitened."""
    fit = [*FINE.fit, "--data.path", str(path.resolve()), "--data.whiten", "true"]
    return Cell("conv", "arrays", variant=f"CIFAR-10, whitened, {FINE.variant}", fit=fit)


def one_layer(model: str, variant: str, *fit: str) -> Cell:
    """1,000 logistic units on MNIST, fine-tuned on adversarial inputs, which need no noise beside them."""
    tune = "--scratch false --adversarial 1 --corruption Clean --dropout 0.2 --lr 4e-3 --max_epochs 30"
    short = (*fit, "--trainer.max_epochs", "20", "--pictures", "false")
    return Cell(model, "mnist", variant=f"one layer, {variant}", fit=short, finetune=True, tune=tune.split())


LOGISTIC = ("--model.activation", "sigmoid", "--data.corruption")
STUDIES = {
    "features": FEATURES,
    "finetuning": (
        Cell("stacked", "mnist", finetune=True),
        one_layer("vanilla", "no noise", *LOGISTIC, "Clean"),
        one_layer("vanilla", "Gaussian 0.5", *LOGISTIC, "Gaussian", "--data.corruption.sigma", "0.5"),
        one_layer("contractive", "contractive"),
    ),
    "corruptions": (
        noisy("Clean", None),
        *(noisy(kind, level) for kind, levels in LEVELS.items() for level in levels),
    ),
}

OWN = {
    name: f"daezoo.studies.{name}"
    for name in ("anomaly", "vincent2010", "patches", "restoration", "family", "matrix", "imputation", "samples")
}
"""Studies with options of their own, and the modules whose `run` runs them."""


def run(args: list[str]) -> None:
    """Run what is not done yet of a study; a cell that is done is a row of its table, and is not run again.

    Args:
        args: The command line, without the command.

    Raises:
        ValueError: If the configurations are not there, or a cell fails.
    """
    named = next((arg for arg in args if arg in OWN), None)
    if named is not None:
        place = args.index(named)
        import_module(OWN[named]).run([*args[:place], *args[place + 1 :]])
        return
    parser = Parser(
        prog="daezoo reproduce", description="Train and judge the cells of a study, and render the results."
    )
    parser.add_argument("study", type=str | None, nargs="?", help=f"One of {', '.join([*STUDIES, *OWN])}.")
    parser.add_argument("--seeds", type=int, default=1, help="Seeds 0, 1, …: so many.")
    parser.add_argument("--only", type=str, default="", help="Only cells whose model-data-variant contains this.")
    parser.add_argument("--configs", type=str, default="configs", help="The configurations of a checkout.")
    parser.add_argument("--docs", type=str, default="docs", help="Where studies/*.csv and results.md go.")
    parser.add_argument("--runs", type=str, default="runs/studies", help="Folder that holds the run folders.")
    parser.add_argument(
        "--cifar", type=str | None, help="CIFAR-10 as an .npz file for --data arrays: features on it too."
    )
    parser.add_argument("--render", action="store_true", help="Only render the results anew.")
    options = parser.parse_args(args)
    docs = Path(options.docs)
    if options.study not in STUDIES and not (options.study is None and options.render):
        raise ValueError(f"Which study? One of {', '.join([*STUDIES, *OWN])}, or --render; got {options.study}.")
    if options.study is not None and not options.render:
        configs = configurations(options.configs)
        table = docs / "studies" / f"{options.study}.csv"
        cells = list(STUDIES[options.study])
        if options.study == "features" and options.cifar is not None:
            cells.append(on_cifar(Path(options.cifar)))
        known: dict[str, Probe] = {}
        for seed in range(options.seeds):
            for shipped in cells:
                cell = Cell(**(vars(shipped) | {"seed": seed}))
                if options.only not in f"{cell.model}-{cell.data}-{cell.variant}":
                    continue
                if not of(rows_of(table), **cell.key):
                    add_row(table, cell.measure(configs, Path(options.runs), known), cell.key)
                    render(docs)
    print(*render(docs), sep="\n")
