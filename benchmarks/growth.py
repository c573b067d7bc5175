"""`python -m benchmarks.growth [--quick]`: how time and memory grow with the data, the model and the workers."""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot as plt

from benchmarks import system
from benchmarks.system import ROOT, machine, stem
from daezoo.files import to_json, write_atomically, write_text

RESULTS = Path(__file__).parent / "results"
Point = dict[str, float]


def fit(folder: Path, model: str, *options: str) -> Point:
    """One epoch through the command line: seconds of the epoch and of the whole process, and its largest memory.

    Memory is what the process and its workers allocated (Pss_Anon), which leaves out what they map from files. The
    epoch's seconds are those of its batches.
    """
    command = [sys.executable, "-m", "daezoo", *system.fit("arrays", model)]
    command += ["--trainer.max_epochs", "1", "--runs", str(folder), "--name", "run", *options]
    start = time.perf_counter()
    with open(folder / "log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, cwd=ROOT)
        peak = 0
        while process.poll() is None:
            peak = max(peak, _memory(process.pid))
            time.sleep(0.05)
    taken = time.perf_counter() - start
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{(folder / 'log').read_text()[-3000:]}")
    summary = json.loads((folder / f"{model}-arrays" / "run" / "summary.json").read_text())
    samples = summary["steps"] * int(options[options.index("--data.batch_size") + 1])
    return {
        "samples": samples,
        "epoch_seconds": samples / summary["samples_per_second"],
        "process_seconds": taken,
        "memory_gib": peak / 2**30,
    }


def _memory(pid: int) -> int:
    """Bytes that a process and its children hold and no file backs, shared pages once; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/smaps_rollup").read_text()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0
    own = next((int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("Pss_Anon")), 0)
    return own + sum(_memory(int(child)) for child in children)


def _arrays(folder: Path, count: int, shape: tuple[int, ...], mapped: bool) -> Path:
    draw = np.random.default_rng(0)
    if not mapped:
        path = folder / "arrays.npz"
        np.savez(
            path,
            train_images=draw.integers(0, 256, (count, *shape), np.uint8),
            test_images=np.zeros((64, *shape), np.uint8),
        )
        return path
    file = np.lib.format.open_memmap(folder / "train_images.npy", "w+", np.uint8, (count, *shape))
    for start in range(0, count, 10_000):
        file[start : start + 10_000] = draw.integers(0, 256, file[start : start + 10_000].shape, np.uint8)
    file.flush()
    np.save(folder / "test_images.npy", np.zeros((64, *shape), np.uint8))
    return folder


def measure(quick: bool) -> dict[str, dict[str, list[Point]]]:
    """Every curve: a list of points, each with its place on the axis."""

    def point(at: float, model: str, count: int, shape: tuple[int, ...], *options: str, mapped: bool = False) -> Point:
        with tempfile.TemporaryDirectory() as name:
            path = _arrays(Path(name), count, shape, mapped)
            taken = fit(Path(name), model, "--data.path", str(path), "--data.valid", "0.01", *options)
        print(f"  {at:g}: {taken}", flush=True)
        return {"at": at, **taken}

    digit, small = (28, 28), ("--model.hidden", "[64]", "--data.batch_size", "256")
    sizes = (1_000, 4_000) if quick else (1_000, 10_000, 100_000, 1_000_000)
    widths = (125, 250) if quick else (250, 500, 1000, 2000, 4000)
    sides = (16, 32) if quick else (20, 40, 80, 160)
    workers = (0, 1) if quick else (0, 1, 2, 4)
    data = 2_000 if quick else 50_000
    residual = ("--model.network", "daezoo.architectures.ConvStack", "--data.batch_size", "8")
    residual += ("--trainer.limit_train_batches", "2" if quick else "10")
    return {
        "samples in the training set": {
            "in memory (.npz)": [point(size, "vanilla", size, digit, *small) for size in sizes],
            "mapped (folder of .npy)": [point(size, "vanilla", size, digit, *small, mapped=True) for size in sizes],
        },
        "width of the hidden layer": {
            "vanilla, 28 x 28": [
                point(width, "vanilla", 12_800, digit, "--model.hidden", f"[{width}]", "--data.batch_size", "128")
                for width in widths
            ]
        },
        "side of an image, in pixels": {
            "residual, 8 x 64": [point(side, "residual", 100, (side, side), *residual) for side in sides]
        },
        "workers that load": {
            "vanilla, mapped": [
                point(number, "vanilla", data, digit, *small, "--data.num_workers", str(number), mapped=True)
                for number in workers
            ]
        },
    }


def plot(curves: dict[str, dict[str, list[Point]]], title: str) -> plt.Figure:
    """Seconds of an epoch above, memory below; dashed, what grows in proportion."""
    figure, axes = plt.subplots(2, len(curves), figsize=(4 * len(curves), 6.5), layout="constrained", squeeze=False)
    for column, (label, lines) in zip(axes.T, curves.items(), strict=True):
        for row, (key, unit) in zip(
            column, (("epoch_seconds", "seconds of an epoch"), ("memory_gib", "memory, GiB")), strict=True
        ):
            for name, points in lines.items():
                row.plot([each["at"] for each in points], [each[key] for each in points], "o-", label=name)
            if label.startswith("workers"):
                row.set_ylim(bottom=0)
            else:
                row.set(xscale="log", yscale="log" if key == "epoch_seconds" else "linear")
                places = [each["at"] for each in points]
                row.set_xticks(places, [f"{place:,.0f}" for place in places])
                row.minorticks_off()
            if key == "memory_gib":
                row.set_ylim(bottom=0)
            row.set(xlabel=label, ylabel=unit)
        first = next(iter(lines.values()))
        if not label.startswith("workers"):
            power = 2 if label.startswith("side") else 1
            last = first[-1]
            at = np.array([each["at"] for each in first])
            column[0].plot(at, last["epoch_seconds"] * (at / last["at"]) ** power, "k--", lw=1, label=f"power {power}")
        column[0].legend(fontsize=8)
    figure.suptitle(title)
    return figure


def main() -> None:
    """Measure, draw, and write both."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="Two small points of each curve.")
    parser.add_argument("--out", type=Path, help="Where the files go, without a suffix.")
    options = parser.parse_args()
    matplotlib.use("Agg")
    found = machine()
    curves = measure(options.quick)
    out = options.out or RESULTS / f"growth-{stem(found)}{'-quick' if options.quick else ''}"
    result: dict[str, Any] = {"machine": found, "quick": options.quick, "curves": curves}
    write_text(out.with_suffix(".json"), to_json(result) + "\n")
    figure = plot(
        curves, f"One epoch through the command line; {found['gpu'] or found['processor']}, {found['cores']} cores"
    )
    write_atomically(out.with_suffix(".png"), lambda file: figure.savefig(file, format="png", dpi=80))
    print(f"{out}.json, .png")


if __name__ == "__main__":
    main()
