"""What is no training: corruption alone, features, one large picture, a linear probe, start-up."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from sklearn.linear_model import LogisticRegression

from benchmarks.pace import clock
from benchmarks.rows import DIGIT, ROWS
from benchmarks.system import ROOT, device, fit
from daezoo.corruption import (
    BlockMasking,
    Clean,
    Compose,
    Corruption,
    Gaussian,
    GaussianMasking,
    Masking,
    OneOf,
    SaltAndPepper,
)
from daezoo.evaluation.probe import STRENGTHS, Part, Probe, linear_probe
from daezoo.randomness import StepNoise

Steps = dict[str, float]
Result = dict[str, dict[str, Any]]
CORRUPTIONS: tuple[Corruption, ...] = (
    Clean(),
    Gaussian(0.2),
    Masking(0.25),
    SaltAndPepper(0.25),
    GaussianMasking(0.25),
    BlockMasking(0.25),
    Compose(Gaussian(0.2), Masking(0.25)),
    OneOf([Masking(0.25), Gaussian(0.2)]),
)


def alternate(works: dict[str, Callable[[], Any]], rounds: int, repeat: int = 1) -> dict[str, float]:
    """Median seconds of each piece of work, taken in turn; the first turn of each does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(rounds + 1):
        for name, work in works.items():
            start = clock()
            for _ in range(repeat):
                work()
            if turn:
                seconds[name].append((clock() - start) / repeat)
    return {name: median(taken) for name, taken in seconds.items()}


def corruption(quick: bool, steps: Steps) -> Result:
    """Every corruption as a training step draws it, in samples/s and as a share of our own step.

    Shares are of `vanilla-128`, `vanilla-512` and `residual-17x64`, where those rows were measured in the same run.
    """
    shares = [name for name in ("vanilla-128", "vanilla-512", "residual-17x64") if name in steps]
    batches = {name: torch.rand(ROWS[name].batch, *ROWS[name].shape, device=device()) for name in shares}
    batches["digits"] = torch.rand(128, *DIGIT, device=device())
    result: Result = {}
    for kind in CORRUPTIONS:
        label = "+".join(
            [
                type(kind).__name__,
                *(type(part).__name__ for part in vars(kind).values() if isinstance(part, Corruption)),
            ]
        )
        works = {name: lambda clean=clean, kind=kind: StepNoise(0, 1)(kind, clean) for name, clean in batches.items()}
        taken = alternate(works, 3 if quick else 15, 5 if quick else 20)
        result[label] = {"samples_per_second": 128 / taken["digits"]}
        result[label] |= {f"share_of_{name}": taken[name] / steps[name] for name in shares}
    return result


def features(quick: bool, steps: Steps) -> Result:
    """`model.encode` on batches of 512 clean samples in float32, against the network's own layers."""
    result: Result = {}
    for name, row in ROWS.items():
        if name == "vanilla-512":
            continue  # the same network as vanilla-128
        model = row.build()[0].to(device()).eval()
        x = torch.rand(64 if row.model == "residual" else 512, *row.shape, device=device())
        network: Any = model.network
        plain = {
            "vanilla": lambda network=network, x=x: network.encode(x.flatten(1)),
            "stacked": lambda network=network, x=x: network.encode(x.flatten(1)),
            "conv": lambda network=network, x=x: network.encoder(x),
            "residual": lambda network=network, x=x: network.features(x).mean((2, 3)),
        }[row.model]
        with torch.inference_mode():
            taken = alternate(
                {"ours": lambda model=model, x=x: model.encode(x), "bare": plain}, 3 if quick else 11, 1 if quick else 3
            )
        result[name] = {
            "samples_per_second": len(x) / taken["ours"],
            "ours_against_bare": taken["bare"] / taken["ours"],
        }
    return result


def picture(quick: bool, steps: Steps) -> Result:
    """`model.denoise` of the shipped residual model on one grey picture, 3000 x 4000 or, quick, 600 x 1600 pixels."""
    height, width = (600, 1600) if quick else (3000, 4000)
    code = (
        "import sys, time, torch; from pathlib import Path; from benchmarks.rows import Row\n"
        "model = Row('residual', (1, 40, 40), 64, 2, 1).build()[0].eval()\n"
        "x = torch.rand(1, 1, *map(int, sys.argv[2:]))\n"
        "call = model.denoise if sys.argv[1] == 'ours' else lambda x: x - model.network(x)\n"
        "with torch.inference_mode():\n"
        "    call(x[..., :64, :64]); start = time.perf_counter(); call(x); taken = time.perf_counter() - start\n"
        "peak = next(line for line in Path('/proc/self/status').read_text().splitlines() if line.startswith('VmHWM'))\n"
        "print(taken, int(peak.split()[1]) / 2**20)"
    )
    result: Result = {}
    rounds: dict[str, list[list[float]]] = {"ours": [], "bare": []}
    for _ in range(1 if quick else 2):
        for name, taken in rounds.items():
            command = [sys.executable, "-c", code, name, str(height), str(width)]
            taken.append([float(part) for part in _output(command).split()])
    for name, taken in rounds.items():
        seconds, memory = (median(column) for column in zip(*taken, strict=True))
        result[name] = {"megapixels": height * width / 1e6, "seconds": seconds, "peak_memory_gib": memory}
    return result


def startup(quick: bool, steps: Steps) -> Result:
    """Seconds of whole processes, and from a process's start to its first training step."""
    python = [sys.executable, "-c"]
    with tempfile.TemporaryDirectory() as folder:
        first = [sys.executable, "-m", "daezoo", *fit("digits", "vanilla"), "--runs", folder]
        first += ["--trainer.max_steps", "1", "--trainer.callbacks+=benchmarks.pace.FirstStep"]
        commands = {
            "python -c pass": [*python, "pass"],
            "import torch": [*python, "import torch"],
            "import lightning": [*python, "import lightning"],
            "import daezoo": [*python, "import daezoo"],
            "daezoo --help": [sys.executable, "-m", "daezoo", "--help"],
            "first training step": first,
        }
        return {
            name: {"seconds": seconds}
            for name, seconds in alternate(
                {name: lambda command=command: _output(command) for name, command in commands.items()},
                1 if quick else 5,
            ).items()
        }


def probe(quick: bool, steps: Steps) -> Result:
    """Protocol logreg-v1, its whole grid, against one fit of scikit-learn's at the strength that it picks.

    Features are 1,000 rectified random projections, of as many samples as MNIST has for training and validation, drawn
    around ten centres that overlap; quick, a tenth of both.
    """
    samples, width = (6_000, 100) if quick else (60_000, 1_000)
    torch.manual_seed(0)
    labels = torch.randint(10, (samples,))
    points = torch.randn(10, 30)[labels] + 2 * torch.randn(samples, 30)
    features = torch.relu(points @ torch.randn(30, width) / 5)
    cut = samples // 12
    parts = [Part(features[rows].to(device()), labels[rows].to(device())) for rows in (slice(cut, None), slice(cut))]
    found: list[Probe] = []

    def ours() -> None:
        found.append(linear_probe(*parts, parts[1], classes=10))

    def reference() -> None:
        scaled = ((features - features.mean(0)) / features.std(0)).double().numpy()
        model = LogisticRegression(C=1 / (found[-1].strength * samples), max_iter=1000, tol=1e-4)
        model.fit(scaled, labels.numpy())

    taken = alternate({"ours": ours, "scikit-learn": reference}, 1 if quick else 3)
    return {
        "grid": {"seconds": taken["ours"], "strengths": len(STRENGTHS)},
        "scikit-learn, one strength": {
            "seconds": taken["scikit-learn"],
            "of_ours": taken["scikit-learn"] / taken["ours"],
        },
    }


def _output(command: list[str]) -> str:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
    return done.stdout


MEASURES: dict[str, Callable[[bool, Steps], Result]] = {
    "corruption": corruption,
    "features": features,
    "picture": picture,
    "probe": probe,
    "startup": startup,
}
