"""What the processor can do."""

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch


def cpu_features() -> frozenset[str]:
    """The bf16 instructions that this CPU and torch offer: a subset of amx_bf16 and avx512_bf16."""
    # torch.cpu.get_capabilities() is public but younger than the oldest torch we support
    offered = {
        "amx_bf16": torch.cpu._is_amx_tile_supported(),
        "avx512_bf16": torch.cpu._is_avx512_bf16_supported(),
    }
    return frozenset(name for name, there in offered.items() if there)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Measure in this: convolutions on CUDA are in float32, not TF32, and by deterministic algorithms."""
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


def default_precision(accelerator: str) -> str:
    """Lightning's name of the precision that models train fastest in: bf16-mixed on CPUs that have it, else 32-true.

    Args:
        accelerator: As for Lightning's Trainer: cpu, auto, gpu, …
    """
    cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.cuda.is_available())
    return "bf16-mixed" if cpu and cpu_features() else "32-true"


def describe(device: torch.device | str = "cpu") -> str:
    """A device in a few words: the name of the GPU, or of the processor, with its bf16 instructions."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_name(device)
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return ", ".join([next(named, "") or platform.processor() or platform.machine(), *sorted(cpu_features())])
