"""The table at the end of a run or an evaluation."""

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from daezoo.corruption import Corruption
from daezoo.evaluation.restoration import PROTOCOL


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
