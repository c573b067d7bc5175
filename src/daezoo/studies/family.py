"""`daezoo reproduce family`: autoencoders and their relatives on the same data, with the same trainer and probe.

Each member is trained at each width of the code, and judged by its reconstructions, its codes and its likelihood. PCA
is the linear autoencoder that needs no training.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from sklearn.decomposition import PCA
from torch import Tensor

from daezoo import runs
from daezoo.corruption import Clean, Gaussian
from daezoo.data import DenoisingDataModule, DigitsData, FashionMNISTData, MNISTData
from daezoo.data.splits import to_unit
from daezoo.evaluation import likelihood
from daezoo.evaluation.features import extract
from daezoo.evaluation.probe import Probe, judge
from daezoo.evaluation.restoration import evaluate
from daezoo.evaluation.target import Target, open_target, parse, target_parser
from daezoo.figures import save
from daezoo.models import DenoisingAutoencoder, VanillaDAE
from daezoo.parser import Parser
from daezoo.studies import family_figures as pictures
from daezoo.studies.cells import NEIGHBOURS, add_row, configurations, rows_of, trained, tuned
from daezoo.studies.markdown import of
from daezoo.studies.tables import render
from daezoo.studies.vincent2010 import listed
from daezoo.zoo.loading import load

DATA: dict[str, Any] = {"digits": DigitsData, "mnist": MNISTData, "fashion_mnist": FashionMNISTData}
NOISE = Gaussian(0.5)
"""The corruption under which every member is judged."""
MAPPED, DRAWN = 2, 16
"""The widths of codes that are drawn as maps, and of those that are drawn as pictures; the widest if not among them."""


@dataclass(frozen=True)
class Budget:
    """How much is trained.

    Args:
        codes: Widths of codes.
        width: Of hidden layers.
        passes: Samples that a model sees; at least one epoch, and at most 100.
        tuning: Epochs of fine-tuning; ten times as many of digits, of which there are few.
        sizes: Samples for training and validation, of MNIST and Fashion-MNIST; all if None.
        draws: Codes by which a likelihood is estimated.
        seeds: How many, unless others are asked for.
    """

    codes: tuple[int, ...]
    width: int
    passes: int
    tuning: int
    sizes: tuple[int, int] | None
    draws: int
    seeds: int

    def arguments(self, data: str) -> dict[str, int]:
        """Arguments of the data module that keep it to these sizes."""
        return {} if data == "digits" or self.sizes is None else dict(zip(("train", "valid"), self.sizes, strict=True))


BUDGETS = {
    "smoke": Budget((2,), 16, 0, 1, (256, 100), 2, 1),
    "minutes": Budget((2, 16), 200, 50_000, 10, (10_000, 2_000), 100, 1),
    "full": Budget((2, 16, 64), 500, 1_650_000, 40, None, 1_000, 3),
}


@dataclass(frozen=True)
class Member:
    """A relative.

    Args:
        model: Name of a file in configs/model.
        noisy: Whether it trains under NOISE; else without noise.
        binary: Whether it sees binary images, whose likelihood is estimated; not digits, which have none.
        options: Further options of `daezoo fit`.
    """

    model: str
    noisy: bool = False
    binary: bool = False
    options: tuple[str, ...] = ()


RELU = ("--model.activation", "relu", "--model.code_activation")
MEMBERS = {
    "autoencoder": Member("autoencoder", options=(*RELU, "linear")),
    "denoising": Member("vanilla", noisy=True, options=(*RELU, "linear")),
    "sparse": Member("sparse", options=(*RELU, "sigmoid")),
    "contractive": Member("contractive", options=(*RELU, "sigmoid")),
    "stacked": Member("stacked", noisy=True, options=("--model.activation", "relu")),
    "conv": Member("conv", noisy=True, options=("--model.channels", "[32,64]", "--model.kernel", "3")),
    "variational": Member("variational"),
    "variational-denoising": Member("variational", noisy=True),
    "variational-binary": Member("variational", binary=True),
    "adversarial": Member("adversarial", noisy=True),
    "hierarchical": Member("hierarchical", noisy=True),
}
BASELINE = "pca"


class Trial(NamedTuple):
    """What becomes a row.

    Attributes:
        budget: Of BUDGETS.
        data: Of DATA.
        member: Of MEMBERS, or BASELINE.
        code: Width of the code.
        seed: Of everything.
    """

    budget: str
    data: str
    member: str
    code: int
    seed: int

    @property
    def key(self) -> dict[str, str]:
        """The columns that tell it from others."""
        return {name: str(value) for name, value in self._asdict().items()}

    def module(self) -> DenoisingDataModule:
        """The data it is judged on, set up.

        Raises:
            DataMissing: If it cannot be had.
        """
        binary = {"binarise": "fixed"} if self.member in MEMBERS and MEMBERS[self.member].binary else {}
        data: DenoisingDataModule = DATA[self.data](**BUDGETS[self.budget].arguments(self.data), **binary)
        data.evaluation_corruption = NOISE
        data.prepare_data()
        data.setup("test")
        return data

    def options(self, samples: int) -> list[str]:
        """Options of `daezoo fit`, for so many training samples."""
        member, budget = MEMBERS[self.member], BUDGETS[self.budget]
        epochs = min(100, max(1, budget.passes // samples))
        wide: list[int] = [budget.width]
        chosen: dict[str, Any] = {
            **{f"data.{name}": value for name, value in budget.arguments(self.data).items()},
            **({"data.binarise": "stochastic"} if member.binary else {}),
            "data.corruption": "Gaussian" if member.noisy else "Clean",
            **({"data.corruption.sigma": NOISE.sigma} if member.noisy else {}),
            "pictures": False,
        }
        if member.model == "stacked":
            each = max(1, epochs // 4)
            chosen |= {"model.epochs_per_layer": each, "model.end_to_end_epochs": max(0, epochs - 3 * each)}
        else:
            chosen["trainer.max_epochs"] = epochs
        if member.model in ("conv", "variational", "adversarial"):
            chosen["model.code"] = self.code
        if member.model in ("variational", "adversarial"):
            chosen["model.hidden"] = 2 * wide
        elif member.model != "conv":
            chosen["model.hidden"] = [*(2 if member.model == "stacked" else 1) * wide, self.code]
        return [*(part for name, value in chosen.items() for part in (f"--{name}", str(value))), *member.options]

    def run(self, configs: Path, folder: Path, samples: int) -> Path:
        """The run of the member, trained unless it is there."""
        name = f"{self.member}-{self.code}-{self.budget}-s{self.seed}"
        return trained(configs, folder, MEMBERS[self.member].model, self.data, name, self.seed, self.options(samples))

    def measure(self, configs: Path, folder: Path, known: dict[str, Probe]) -> dict[str, Any]:
        """Train, fine-tune and judge, unless that is done: the row."""
        data, budget = self.module(), BUDGETS[self.budget]
        if self.member == BASELINE:
            started = time.perf_counter()
            model = principal(data, self.code)
            found = {"seconds": round(time.perf_counter() - started, 1), "commit": runs.commit()}
            target = Target(BASELINE, Path(BASELINE), model, data, self.seed, 0, {}, lambda: linear(data, self.code))
        else:
            run = self.run(configs, folder, len(data.splits["train"]))
            summary = json.loads((run / "summary.json").read_text())
            found = {name: summary[name] for name in ("seconds", "samples_per_second", "precision", "commit")}
            if not MEMBERS[self.member].binary:  # fine-tuning would see grey images
                epochs = str(budget.tuning * (10 if self.data == "digits" else 1))
                tuning = f"--scratch false --dropout 0.2 --lr 2e-3 --max_epochs {epochs} --patience {epochs}".split()
                told = tuned(run, folder, f"{run.name}-tuned", self.seed, tuning)
                found["tuned_error"] = told["pretrained"]["error"]
            target = open_target(parse(target_parser("family", ""), [str(run)]))._replace(data=data)
        return {**self.key, **judged(target, known, budget.draws), **found}


def linear(data: DenoisingDataModule, code: int) -> VanillaDAE:
    """A linear autoencoder of some data, untrained."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return VanillaDAE(data.shape, [code], "linear").eval()


def principal(data: DenoisingDataModule, code: int) -> VanillaDAE:
    """The linear autoencoder that PCA of the training samples makes."""
    model, split = linear(data, code), data.splits["train"]
    pca = PCA(code, svd_solver="covariance_eigh").fit(extract(None, split, torch.device("cpu"))[0].numpy())
    layer, components, mean = model.network.layers[0], torch.from_numpy(pca.components_), torch.from_numpy(pca.mean_)
    with torch.no_grad():
        layer.weight.copy_(components)
        layer.bias.copy_(-components @ mean)
        layer.visible_bias.copy_(mean)
    return model


def judged(target: Target, known: dict[str, Probe], draws: int) -> dict[str, Any]:
    """What is measured of a model: reconstructions of noisy and clean samples, codes, and its likelihood if it has one.

    Args:
        target: The model and its data.
        known: Baselines of models judged before, as for `evaluation.probe.judge`.
        draws: Codes by which a likelihood is estimated.
    """
    model, data = target.model, target.data
    mean = data.splits["train"].mean()
    errors = {
        name: evaluate(model, data.evaluation_batches("test", noise), mean)["mse"]
        for name, noise in (("mse", NOISE), ("mse_clean", Clean()))
    }
    probe = judge(target, "last", NEIGHBOURS, known)
    codes = probe["layers"][-1]["codes"]
    cosine = next(one["cosine"] for one in codes["invariance"] if one["level"] == NOISE.sigma)
    found = {
        **errors,
        "protocol": probe["protocol"],
        **{name: probe[name] for name in ("accuracy", "knn", "untrained", "raw_pixels")},
        "invariance": cosine,
        "between": codes["cosine_between_samples"],
        "effective_rank": codes["effective_rank"],
        "sparsity": sparsity(extract(model, data.splits["test"], model.device)[-1]),
    }
    if getattr(data, "binarise", None) is not None:
        found["nll"] = likelihood.estimate(model, data, draws)["nll"]
    return found


def sparsity(codes: Tensor) -> float:
    """Mean sparseness of codes (N, D) after Hoyer (2004): (√D − ‖h‖₁ / ‖h‖₂) / (√D − 1).

    0 where all units are as large, 1 where one alone is not 0; samples whose code is 0 count as 1.
    """
    root = codes.shape[1] ** 0.5
    lengths = codes.double().norm(dim=1)
    ratio = torch.where(lengths > 0, codes.double().abs().sum(1) / lengths.clamp_min(1e-300), 1.0)
    return float(((root - ratio) / (root - 1)).mean())


def trials(budget: str, data: str, members: list[str], seeds: int) -> Iterator[Trial]:
    """All that a data set is learnt by; binary images are none of digits, and PCA has no seeds."""
    for seed in range(seeds):
        for code in BUDGETS[budget].codes:
            for member in members:
                missing = member in MEMBERS and MEMBERS[member].binary and data == "digits"
                if not missing and (seed == 0 or member != BASELINE):
                    yield Trial(budget, data, member, code, seed)


def draw(budget: str, data: str, members: list[str], configs: Path, folder: Path, docs: Path) -> None:
    """Draw maps of codes, reconstructions, interpolations and traversals of the first seed."""

    def opened(code: int) -> dict[str, DenoisingAutoencoder]:
        found: dict[str, DenoisingAutoencoder] = {}
        for one in trials(budget, data, members, 1):
            if one.code == code and one.member == BASELINE:
                found[one.member] = principal(module, code)
            elif one.code == code and not MEMBERS[one.member].binary:
                found[one.member] = load(one.run(configs, folder, len(module.splits["train"])))
        return found

    module, codes = Trial(budget, data, BASELINE, 0, 0).module(), BUDGETS[budget].codes
    test = module.splits["test"].__getitems__(torch.arange(2000).clamp_max(len(module.splits["test"]) - 1).unique())
    drawn = {"maps": pictures.maps(opened(MAPPED), to_unit(test.clean), test.label)} if MAPPED in codes else {}
    wide = opened(DRAWN if DRAWN in codes else max(codes))
    batch = module.evaluation_batch(module.splits["test"].__getitems__(torch.arange(10)), "test", NOISE)
    drawn["reconstructions"] = pictures.reconstructions(wide, batch)
    drawn["interpolations"] = pictures.interpolations(wide, batch.clean)
    drawn["traversals"] = pictures.traversals(wide, to_unit(test.clean))
    for name, figure in drawn.items():
        save(figure, docs / "images" / f"family-{name}-{data}-{budget}.png")


def run(args: list[str]) -> None:
    """Run what is not done yet, and render the results.

    Args:
        args: The command line, without the command and the study.

    Raises:
        ValueError: If a name is not known, the configurations or the data are not there, or a command fails.
    """
    parser = Parser(prog="daezoo reproduce family", description="Autoencoders and their relatives, side by side.")
    parser.add_argument("--data", type=str, default=",".join(DATA), help="Which, with commas between them.")
    everyone = [BASELINE, *MEMBERS]
    parser.add_argument("--members", type=str, default=",".join(everyone), help="Which, with commas between them.")
    parser.add_argument(
        "--budget", type=Literal["smoke", "minutes", "full"], default="full", help="Smoke: does it run at all?"
    )
    parser.add_argument("--seeds", type=int | None, help="Seeds 0, 1, …: so many; as the budget has it if not given.")
    parser.add_argument("--configs", type=str, default="configs", help="The configurations of a checkout.")
    parser.add_argument("--docs", type=str, default="docs", help="Where studies/*.csv and results.md go.")
    parser.add_argument("--runs", type=str, default="runs/studies", help="Folder that holds the run folders.")
    options = parser.parse_args(args)
    names, members = listed(options.data, DATA, "data"), listed(options.members, everyone, "members")
    seeds = BUDGETS[options.budget].seeds if options.seeds is None else options.seeds
    if seeds < 1:
        raise ValueError(f"--seeds must be at least 1, got {seeds}.")
    docs, configs, folder = Path(options.docs), configurations(options.configs), Path(options.runs)
    table = docs / "studies" / "family.csv"
    for name in names:
        Trial(options.budget, name, BASELINE, 0, 0).module()  # before anything trains
    for name in names:
        known: dict[str, Probe] = {}
        for trial in trials(options.budget, name, members, seeds):
            if not of(rows_of(table), **trial.key):
                print(*trial, flush=True)
                add_row(table, trial.measure(configs, folder, known), trial.key)
        draw(options.budget, name, members, configs, folder, docs)
    print(*render(docs), sep="\n")
