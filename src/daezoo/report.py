"""The tables that commands print."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from daezoo.corruption import Corruption
from daezoo.evaluation.restoration import PROTOCOL

PROBE_PROTOCOL = (
    "{protocol}: codes of clean samples in float32, standardised on {train:,} training samples; multinomial logistic "
    "regression, L2 strength picked on {valid:,} validation samples, refitted on both; Wilson interval"
)


def say(text: str) -> None:
    """One line of what a command is at, on stderr, if somebody watches."""
    if sys.stderr.isatty():
        print(text, file=sys.stderr)


def print_restoration(metrics: Mapping[str, float], model: str, samples: int, corruption: Corruption) -> None:
    """Print reconstruction errors with the two that make them meaningful, and the protocol.

    Args:
        metrics: As `evaluate` returns them.
        model: Name of the model's class.
        samples: Number of test samples.
        corruption: What they were corrupted with.
    """
    table = Table()
    table.add_column("")
    table.add_column("mse", justify="right")
    table.add_column("psnr (dB)", justify="right")
    table.add_row("denoised", f"{metrics['mse']:.5f}", f"{metrics['psnr']:.2f}")
    table.add_row("noisy input as it is", f"{metrics['mse_noisy_input']:.5f}", f"{metrics['psnr_noisy_input']:.2f}")
    table.add_row("training mean", f"{metrics['mse_train_mean']:.5f}", "")
    print(f"{model}, {samples:,} test samples, {corruption}")
    Console().print(table)
    print(PROTOCOL)


def print_likelihood(result: Mapping[str, Any]) -> None:
    """Print a negative log-likelihood with the bound beside it, and the protocol.

    Args:
        result: As `daezoo evaluate --likelihood K --json` prints it.
    """
    table = Table()
    for name in ("", "nats", "bits per dimension"):
        table.add_column(name, justify="right" if name else "left")
    rows = (("negative log-likelihood", "nll"), ("negative evidence lower bound", "bound"))
    for label, name in rows:
        table.add_row(label, f"{result[name]:.2f}", f"{result[f'{name}_bits']:.4f}")
    print(f"{result['model']} on {result['data']}: {result['samples']:,} test samples")
    Console().print(table)
    print(f"{result['protocol']}; standard error of the first {result['standard_error']:.2f} nats")


def print_pictures(results: Sequence[Mapping[str, Any]], name: str, protocol: str) -> None:
    """Print the scores of whole pictures at several noise levels, with those of the baselines, and the protocol.

    Args:
        results: As `daezoo evaluate --protocol … --json` prints them.
        name: Of the model.
        protocol: In words.
    """
    for result in results:
        table = Table(title=f"{name}, sigma {result['sigma']:g}/255", title_justify="left")
        table.add_column("")
        for column in ("psnr", "ssim", "psnr_float"):
            table.add_column(column, justify="right")
        beside = {f"mean, {name}": scores for name, scores in result["baselines"].items()}
        rows = {**result["pictures"], "mean": result["mean"], **beside}
        for picture, scores in rows.items():
            table.add_row(picture, f"{scores['psnr']:.2f}", f"{scores['ssim']:.4f}", f"{scores['psnr_float']:.2f}")
        Console().print(table)
    print(protocol)


def probe_protocol(result: Mapping[str, Any]) -> str:
    """The protocol of a probe, with the strengths that were picked; of a result as `judge` returns it."""
    names = ", ".join(dict.fromkeys(layer["protocol"] for layer in result["layers"]))
    strengths = ", ".join(f"{layer['strength']:.2g}" for layer in result["layers"])
    return f"{PROBE_PROTOCOL.format(protocol=names, **result['samples'])}; strength {strengths}"


def print_probe(result: Mapping[str, Any]) -> None:
    """Print the accuracies of a probe with the ones that make them meaningful, and the protocol.

    Args:
        result: As `judge` returns it.
    """
    samples = result["samples"]
    print(f"{result['model']} on {result['data']}: {samples['test']:,} test samples, {result['classes']} classes")
    table = Table()
    for name in ("layer", "features", "classifier"):
        table.add_column(name)
    table.add_column("accuracy (%)", justify="right")
    table.add_column("95 % interval", justify="right")
    for layer in result["layers"]:
        place = str(layer["layer"])
        rows = [
            (place, f"codes, {layer['protocol']}", layer["accuracy"], layer["interval"]),
            ("", "codes before training", layer["untrained"], layer["untrained_interval"]),
            ("", f"codes, kNN (cosine, k={result['k']})", layer["knn"], layer["knn_interval"]),
        ]
        for number, name, accuracy, interval in rows:
            table.add_row(number, str(layer["features"]) if number else "", name, *percent(accuracy, interval))
    table.add_row("", "", "raw pixels", *percent(result["raw_pixels"], result["raw_pixels_interval"]))
    Console().print(table)
    for layer in result["layers"]:
        codes = layer["codes"]
        saturated = "" if codes["saturated"] is None else f", saturated {codes['saturated']:.1%}"
        curve = ", ".join(f"{one['cosine']:.3f}" + _at(one["level"]) for one in codes["invariance"])
        print(
            f"layer {layer['layer']}: effective rank {codes['effective_rank']:.1f}, dead units {codes['dead']:.1%}"
            f"{saturated}, mean activation {codes['mean_activation']:.3g}; cosine of clean and noisy codes "
            f"({codes['corruption']}) {curve}; of different samples {codes['cosine_between_samples']:.3f}"
        )
    print(probe_protocol(result))


def print_finetuning(summary: Mapping[str, Any]) -> None:
    """Print test errors with and without pretraining, and the protocol.

    Args:
        summary: As `daezoo finetune --json` prints it.
    """
    samples = summary["samples"]
    print(
        f"{summary['model']} on {summary['data']}: {samples['test']:,} test samples, {samples['train']:,} for training"
    )
    table = Table()
    table.add_column("")
    for name in ("test error (%)", "95 % interval", "validation (%)", "epochs"):
        table.add_column(name, justify="right")
    for name, label in (("pretrained", "pretrained"), ("scratch", "not pretrained")):
        if name in summary:
            one = summary[name]
            low, high = one["interval"]
            error, between = percent(one["error"], (1 - high, 1 - low))
            table.add_row(label, error, between, f"{100 - 100 * one['valid_accuracy']:.2f}", str(one["epochs"]))
    Console().print(table)
    print(summary["protocol"])


def percent(accuracy: float, interval: Sequence[float]) -> tuple[str, str]:
    """A share and its interval, in %."""
    return f"{100 * accuracy:.2f}", f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}"


def _at(level: float | None) -> str:
    return "" if level is None else f" at {level:g}"
