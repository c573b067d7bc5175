"""`daezoo reproduce vincent2010`: the stacked denoising autoencoders of Vincent et al. (2010), and a recipe of today.

Each problem is learnt by a stack that was pretrained with noise (sdae, and sdae-sp with salt and pepper under full
emphasis), without (sae) or not at all (mlp), then fine-tuned; and by support vector machines on pixels and on codes.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch

from daezoo import runs
from daezoo.data import DenoisingDataModule, MNISTData, MNISTVariationsData, ShapesData
from daezoo.data.base import SPLITS
from daezoo.data.splits import to_unit
from daezoo.evaluation.features import classes_of, extract
from daezoo.evaluation.probe import Part
from daezoo.figures import save
from daezoo.models import StackedDAE
from daezoo.parser import Parser
from daezoo.studies import vincent2010_figures as pictures
from daezoo.studies.cells import add_row, configurations, rows_of, trained, tuned
from daezoo.studies.markdown import of
from daezoo.studies.svm import KERNELS, support_vectors
from daezoo.studies.tables import render
from daezoo.studies.vincent2010_tables import RATIOS, USUAL, picked
from daezoo.zoo.loading import load

Row = dict[str, str]

METHODS = ("sae", "sdae", "sdae-sp", "mlp", "svm")


SKIPPED = {("sdae-sp", "modern")}


@dataclass(frozen=True)
class Problem:
    """One of the classification problems.

    Args:
        data: Name of a file in configs/data.
        sizes: Samples for training, validation and test, as published.
        kind: Of the data module, if it makes several problems.
    """

    data: str
    sizes: tuple[int, int, int]
    kind: str | None = None

    def arguments(self, budget: "Budget") -> dict[str, Any]:
        """Arguments of the data module that make it this problem, of no more samples than a budget allows."""
        sizes = dict(zip(SPLITS, map(min, self.sizes, budget.sizes), strict=True))
        if self.kind is None:  # MNIST: the test split is as it is
            return {name: sizes[name] for name in ("train", "valid")}
        return {"kind": self.kind, **sizes}


VARIATION = (10_000, 2_000, 50_000)
PROBLEMS = {
    "mnist": Problem("mnist", (50_000, 10_000, 10_000)),
    "basic": Problem("mnist_variations", VARIATION, "basic"),
    "rot": Problem("mnist_variations", VARIATION, "rot"),
    "bg-rand": Problem("mnist_variations", VARIATION, "bg-rand"),
    "bg-img": Problem("mnist_variations", VARIATION, "bg-img"),
    "rot-bg-img": Problem("mnist_variations", VARIATION, "rot-bg-img"),
    "rect": Problem("shapes", (1_000, 200, 50_000), "rectangles"),
    "rect-img": Problem("shapes", VARIATION, "rectangles-images"),
    "convex": Problem("shapes", (6_000, 2_000, 50_000), "convex"),
}
MODULES: dict[str, Callable[..., DenoisingDataModule]] = {
    "mnist": MNISTData,
    "mnist_variations": MNISTVariationsData,
    "shapes": ShapesData,
}


@dataclass(frozen=True)
class Recipe:
    """How stacks are trained.

    Args:
        activation: Of all units.
        codes: Noise of the codes; that of the inputs if None.
        fit: Further options of `daezoo fit`.
        noises: Of pretraining with noise, from which validation picks.
        tunings: Options of `daezoo finetune`, by name, from which validation picks.
    """

    activation: Literal["sigmoid", "relu"]
    codes: str | None
    fit: tuple[str, ...]
    noises: tuple[str, ...]
    tunings: dict[str, tuple[str, ...]]


RECIPES = {
    "classic": Recipe(
        activation="sigmoid",
        codes=None,
        fit=("--model.optimizer", "SGD", "--model.optimizer.lr", "0.1", "--data.batch_size", "32"),
        noises=("Masking 0.1", "Masking 0.25", "Masking 0.4"),
        tunings={
            "plain": (
                *("--optimizer", "SGD", "--lr", "1.5", "--schedule", "constant", "--weight_decay", "0"),
                *("--dropout", "0", "--label_smoothing", "0", "--corruption", "Clean"),
            )
        },
    ),
    "modern": Recipe(
        activation="relu",
        codes="Masking 0.5",
        fit=(),
        noises=("Gaussian 0.5",),
        tunings={
            "adversarial": ("--dropout", "0.2", "--corruption", "Clean", "--adversarial", "1"),
            "strong": ("--adversarial", "1"),
            "light": ("--dropout", "0.2", "--corruption", "Clean"),
            "noisy": ("--dropout", "0.2", "--corruption", "SaltAndPepper", "--corruption.ratio", "0.2"),
        },
    ),
}


@dataclass(frozen=True)
class Budget:
    """How much is trained.

    Args:
        sizes: Samples of the splits at the most.
        width: Units of a layer.
        passes: Samples that each layer sees; at least `epochs` epochs.
        epochs: Epochs of a layer at the least.
        tuning: Epochs of fine-tuning of TUNED samples at the most; half as many for more, ten times as many for rect.
        patience: Epochs of them without a better validation accuracy; ten times as many for rect.
        selects: Whether validation picks the noise from several; else it is the first, or the published one.
        sweeps: Whether rot is also learnt by stacks of other depths and widths.
        rows: Test samples that an SVM with a radial basis function sees.
        codes: Whether it also learns from codes.
        picking: Training samples by which an SVM's γ and C are picked, at the most.
        methods: Those that are run unless others are asked for.
        recipes: Likewise.
    """

    sizes: tuple[int, int, int]
    width: int
    passes: int
    epochs: int
    tuning: int
    patience: int
    selects: bool = False
    sweeps: bool = False
    rows: int = 5_000
    codes: bool = False
    picking: int = 10_000
    methods: tuple[str, ...] = METHODS
    recipes: tuple[str, ...] = ("classic", "modern")


BUDGETS = {
    "smoke": Budget((256, 100, 200), USUAL["smoke"], 0, 1, 1, 1, rows=200),
    "minutes": Budget(
        (10_000, 2_000, 10_000),
        USUAL["minutes"],
        200_000,
        5,
        30,
        30,
        picking=2_500,
        methods=("sae", "sdae", "mlp", "svm"),
        recipes=("classic",),
    ),
    "full": Budget((50_000, 10_000, 50_000), USUAL["full"], 250_000, 15, 80, 25, True, True, 50_000, True),
}
TUNED = 10_000
"""Training samples that the epochs of fine-tuning are counted for: an epoch of rect has a tenth of the steps."""
SWEPT, WIDTHS = "rot", (250, 500, 2000)
"""The problem that is also learnt by stacks of fewer layers and of other widths."""
DRAWN = "basic"
"""The problem of which filters and samples are drawn."""


def level_of(noise: str) -> tuple[str, dict[str, float]]:
    """Class and arguments of a noise in words: `Masking 0.25` is Masking with a ratio of 0.25."""
    kind, _, level = noise.partition(" ")
    return kind, {"sigma" if kind == "Gaussian" else "ratio": float(level)} if level else {}


class Trial(NamedTuple):
    """One configuration: what is trained, from which a row comes.

    Attributes:
        problem: Of PROBLEMS.
        method: Of METHODS.
        recipe: Of RECIPES.
        budget: Of BUDGETS.
        noise: Of pretraining: Clean, Masking 0.25, …; nothing for mlp.
        tuning: Of the recipe's.
        depth: Layers.
        width: Units of each.
        seed: Of everything.
    """

    problem: str
    method: str
    recipe: str
    budget: str
    noise: str
    tuning: str
    depth: int
    width: int
    seed: int

    @property
    def key(self) -> dict[str, str]:
        """The columns that tell it from others."""
        return {name: str(value) for name, value in self._asdict().items()}

    def pretrained(self, configs: Path, folder: Path) -> Path:
        """The run of the stack, trained unless it is there; for mlp that of sae, of which only the shape is used."""
        recipe, budget, problem = RECIPES[self.recipe], BUDGETS[self.budget], PROBLEMS[self.problem]
        noise = self.noise or "Clean"
        kind, level = level_of(recipe.codes if recipe.codes and noise != "Clean" else noise)
        codes = {"class_path": f"daezoo.corruption.{kind}", "init_args": level}
        kind, level = level_of(noise)
        arguments = problem.arguments(budget)
        epochs = max(budget.epochs, budget.passes // arguments["train"])
        options: dict[str, Any] = {
            **{f"data.{name}": value for name, value in arguments.items()},
            "data.corruption": kind,
            **{f"data.corruption.{name}": value for name, value in level.items()},
            "pictures": False,
            "model.hidden": [self.width] * 3,
            "model.activation": recipe.activation,
            "model.epochs_per_layer": epochs,
            "model.end_to_end_epochs": 0,
            "model.code_corruption": json.dumps([codes] * 2),
        }
        emphasis = self.method == "sdae-sp"
        if emphasis:
            options |= {"model.loss.alpha": 1, "model.loss.beta": 0}
        fit = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        parts = [self.problem, self.recipe, noise.replace(" ", ""), *(["emphasis"] if emphasis else [])]
        name = "-".join([*parts, str(self.width), self.budget, f"s{self.seed}"])
        return trained(configs, folder, "stacked", problem.data, name, self.seed, [*fit, *recipe.fit])

    def epochs(self) -> tuple[int, int]:
        """Epochs of fine-tuning at the most, and without a better validation accuracy."""
        budget, problem = BUDGETS[self.budget], PROBLEMS[self.problem]
        if problem.arguments(budget)["train"] > TUNED:
            return budget.tuning // 2, budget.patience
        rounds = max(1, TUNED // problem.sizes[0])
        return budget.tuning * rounds, budget.patience * rounds

    def measure(self, configs: Path, folder: Path) -> dict[str, Any]:
        """Pretrain, fine-tune and measure, unless that is done: the row."""
        run = self.pretrained(configs, folder)
        tuning, patience = self.epochs()
        scratch = self.method == "mlp"
        options = [
            *("--layers", str(self.depth), "--pretrained", str(not scratch), "--scratch", str(scratch)),
            *("--max_epochs", str(tuning), "--patience", str(patience)),
            *RECIPES[self.recipe].tunings[self.tuning],
        ]
        name = "-".join([run.name, self.tuning, str(self.depth), *(["mlp"] if scratch else [])])
        summary = tuned(run, folder, name, self.seed, options)
        found = summary["scratch" if scratch else "pretrained"]
        low, high = found["interval"]
        pretraining = 0.0 if scratch else json.loads((run / "summary.json").read_text())["seconds"]
        return {
            **self.key,
            "valid_error": round(1 - found["valid_accuracy"], 6),
            "error": found["error"],
            "low": 1 - high,
            "high": 1 - low,
            "test": summary["samples"]["test"],
            "epochs": found["epochs"],
            "seconds": round(pretraining + found["seconds"], 1),
            "commit": summary["commit"],
        }


def noises(problem: str, method: str, recipe: str, budget: str) -> Sequence[str]:
    """The noises of pretraining that a method tries: one, unless the budget lets validation pick."""
    if method in ("sae", "mlp"):
        return ("Clean",) if method == "sae" else ("",)
    selects, published = BUDGETS[budget].selects, RATIOS[problem]
    if method == "sdae-sp":
        return [f"SaltAndPepper {ratio}" for ratio in ((0.1, 0.25, 0.4) if selects else (published,))]
    known = RECIPES[recipe].noises
    if selects:
        return known
    return [f"Masking {published}" if known[0].startswith("Masking") else known[0]]


def trials(table: Path, problem: str, method: str, recipe: str, budget: str, seeds: int) -> Iterator[Trial]:
    """What a method trains: with seed 0 all that validation picks from, with other seeds what it picked.

    The rows of seed 0 have to be in the table when those of other seeds are asked for.
    """
    width, tunings = BUDGETS[budget].width, RECIPES[recipe].tunings
    for noise in noises(problem, method, recipe, budget):
        for tuning in tunings if BUDGETS[budget].selects else list(tunings)[:1]:
            yield Trial(problem, method, recipe, budget, noise, tuning, 3, width, 0)
    wanted = {"problem": problem, "method": method, "recipe": recipe, "budget": budget}
    chosen = picked(rows_of(table), width, **wanted)[0]
    one = Trial(problem, method, recipe, budget, chosen["noise"], chosen["tuning"], 3, width, 0)
    for seed in range(1, seeds):
        yield one._replace(seed=seed)


def sweep(table: Path, method: str, budget: str) -> Iterator[Trial]:
    """Other depths and widths of what validation picked on SWEPT, by the classic recipe."""
    usual, recipe = BUDGETS[budget].width, "classic"
    chosen = picked(rows_of(table), usual, problem=SWEPT, method=method, recipe=recipe, budget=budget)[0]
    for width in (usual, *WIDTHS):
        for depth in (1, 2, 3):
            if (width, depth) != (usual, 3):
                yield Trial(SWEPT, method, recipe, budget, chosen["noise"], chosen["tuning"], depth, width, 0)


def data_of(problem: str, budget: str) -> DenoisingDataModule:
    """The data of a problem, downloaded if that is needed.

    Raises:
        DataMissing: If it cannot be had.
    """
    data = MODULES[PROBLEMS[problem].data](**PROBLEMS[problem].arguments(BUDGETS[budget]))
    data.prepare_data()
    return data


def machines(table: Path, problem: str, recipe: str | None, budget: str, configs: Path, folder: Path) -> None:
    """Add what is missing of the rows of support vector machines: on pixels, or on the codes of a recipe's sdae.

    The codes are of the noise that validation picks, for which sdae is trained if it is not yet. Where stacks of other
    widths are learnt, those of the widest are judged too.
    """
    limit = BUDGETS[budget]
    if recipe is None:
        judged(table, Trial(problem, "", "", budget, "", "", 0, 784, 0), configs, folder)
        return
    wanted = {"problem": problem, "method": "sdae", "recipe": recipe, "budget": budget}
    train(table, trials(table, **wanted, seeds=1), configs, folder)
    noise = picked(rows_of(table), limit.width, **wanted)[0]["noise"]
    for width in (limit.width, *([max(WIDTHS)] if limit.sweeps and problem == SWEPT else [])):
        judged(table, Trial(problem, "", recipe, budget, noise, "", 3, width, 0), configs, folder)


def judged(table: Path, stack: Trial, configs: Path, folder: Path) -> None:
    """Add what is missing of the rows of support vector machines on each layer of a stack; on pixels if it has none."""
    limit = BUDGETS[stack.budget]
    kernels = KERNELS if limit.codes or not stack.depth else ["linear"]
    layers = range(1, stack.depth + 1) if stack.depth else [0]
    rows = [stack._replace(method=f"svm-{kernel}", depth=layer) for kernel in kernels for layer in layers]
    missing = [row for row in rows if not of(rows_of(table), **row.key)]
    if not missing:
        return
    data = data_of(stack.problem, stack.budget)
    data.setup("test")
    model = load(stack._replace(method="sdae").pretrained(configs, folder)) if stack.depth else None
    codes = {name: extract(model, split, torch.device("cpu")) for name, split in data.splits.items()}
    labels = {name: classes_of(split) for name, split in data.splits.items()}
    for row in missing:
        kernel = row.method.removeprefix("svm-")
        features = f"layer {row.depth} of {row.width} units, {row.recipe}" if row.depth else "pixels"
        print(f"{row.problem}: SVM, {kernel}, {features}", flush=True)
        fit, valid, test = (Part(codes[name][max(row.depth - 1, 0)], labels[name]) for name in SPLITS)
        if kernel == "rbf":
            test = Part(*(part[: limit.rows] for part in test))
        started = time.perf_counter()
        found = support_vectors(kernel, fit, valid, test, limit.picking)
        seconds = round(time.perf_counter() - started, 1)
        add_row(table, {**row.key, **found, "seconds": seconds, "commit": runs.commit()}, row.key)


def run(args: list[str]) -> None:
    """Run what is not done yet, and render the results.

    Args:
        args: The command line, without the command and the study.

    Raises:
        ValueError: If a name is not known, the configurations or the data are not there, or a cell fails.
    """
    parser = Parser(
        prog="daezoo reproduce vincent2010",
        description="The classic results of stacked denoising autoencoders, beside a recipe of today.",
    )
    parser.add_argument("--problems", type=str, default=",".join(PROBLEMS), help="Which, with commas between them.")
    parser.add_argument("--methods", type=str | None, help=f"Of {','.join(METHODS)}; those of the budget if not given.")
    parser.add_argument(
        "--budget", type=Literal["smoke", "minutes", "full"], default="full", help="Smoke: does it run at all?"
    )
    parser.add_argument("--recipe", type=Literal["classic", "modern"] | None, help="Those of the budget if not given.")
    parser.add_argument("--seeds", type=int, default=1, help="Seeds 0, 1, …: so many.")
    parser.add_argument("--configs", type=str, default="configs", help="The configurations of a checkout.")
    parser.add_argument("--docs", type=str, default="docs", help="Where studies/*.csv and results.md go.")
    parser.add_argument("--runs", type=str, default="runs/studies", help="Folder that holds the run folders.")
    options = parser.parse_args(args)
    usual = BUDGETS[options.budget]
    problems = listed(options.problems, PROBLEMS, "problems")
    methods = listed(",".join(usual.methods) if options.methods is None else options.methods, METHODS, "methods")
    if options.seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {options.seeds}.")
    docs, configs, folder = Path(options.docs), configurations(options.configs), Path(options.runs)
    table, budget = docs / "studies" / "vincent2010.csv", options.budget
    recipes = [options.recipe] if options.recipe else usual.recipes
    if all((method, recipe) in SKIPPED for method in methods for recipe in recipes):
        raise ValueError("sdae-sp, the emphasis of the classic recipe, is not part of the recipe of today.")
    for problem in problems:
        data_of(problem, budget)  # before anything trains
    for problem in problems:
        for recipe in recipes:
            # emphasis is of the classic recipe alone
            for method in (m for m in METHODS if m in methods and (m, recipe) not in SKIPPED and m != "svm"):
                train(table, trials(table, problem, method, recipe, budget, options.seeds), configs, folder)
        if "svm" in methods:
            for recipe in (None, *recipes):
                machines(table, problem, recipe, budget, configs, folder)
        render(docs)
    if usual.sweeps and SWEPT in problems and "classic" in recipes:
        for method in (one for one in methods if one in ("sae", "sdae", "mlp")):
            train(table, sweep(table, method, budget), configs, folder)
    if {"sae", "sdae"} <= set(methods) and "classic" in recipes and DRAWN in problems:
        draw(budget, configs, folder, docs)
    print(*render(docs), sep="\n")


def train(table: Path, wanted: Iterable[Trial], configs: Path, folder: Path) -> None:
    """Add the rows of trials that are not in the table."""
    for trial in wanted:
        if not of(rows_of(table), **trial.key):
            add_row(table, trial.measure(configs, folder), trial.key)


def draw(budget: str, configs: Path, folder: Path, docs: Path) -> None:
    """Draw filters without noise and with two ratios of it, and samples from the top down, of the classic recipe."""
    usual = Trial(DRAWN, "sdae", "classic", budget, "Clean", "plain", 3, BUDGETS[budget].width, 0)
    stacks = {}
    for noise in ("Clean", "Masking 0.25", "Masking 0.5"):
        model = load(usual._replace(noise=noise).pretrained(configs, folder))
        assert isinstance(model, StackedDAE)
        stacks["no noise" if noise == "Clean" else f"ν = {noise.partition(' ')[2]}"] = model
    save(pictures.filters(stacks), docs / "images" / f"vincent2010-filters-{budget}.png")
    data = data_of(DRAWN, budget)
    data.setup("test")
    images = to_unit(data.splits["test"].__getitems__(torch.arange(12)).clean)
    compared = {"SAE": stacks["no noise"], "SDAE, ν = 0.25": stacks["ν = 0.25"]}
    save(pictures.samples(compared, images), docs / "images" / f"vincent2010-samples-{budget}.png")


def listed(text: str, known: Iterable[str], what: str) -> list[str]:
    """The names in a list with commas, in the order of what is known.

    Raises:
        ValueError: If one is not known, or there are none.
    """
    names = [name.strip() for name in text.split(",") if name.strip()]
    strange = [name for name in names if name not in known]
    if strange or not names:
        raise ValueError(f"--{what} takes names of {', '.join(known)}, with commas between; got {text!r}.")
    return [name for name in known if name in names]
