"""What the numbers were measured on."""

import platform
import re
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from daezoo.hardware import cpu_features
from daezoo.runs import commit

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "torchvision", "lightning", "numpy", "pythae")


def device() -> torch.device:
    """Where to measure."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fit(data: str, model: str) -> list[str]:
    """The arguments of `daezoo fit` with the shipped configurations."""
    files = [ROOT / "configs" / name for name in ("trainer.yaml", f"data/{data}.yaml", f"model/{model}.yaml")]
    return ["fit", *(part for file in files for part in ("--config", str(file)))]


def machine() -> dict[str, Any]:
    """Processor, GPU, versions, commit and date."""
    found = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", found.read_text()) if found.is_file() else []
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": torch.get_num_threads(),
        "bf16": sorted(cpu_features()),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "versions": {package: _version(package) for package in PACKAGES},
        "commit": commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
    }


def stem(found: dict[str, Any]) -> str:
    """A file name for results: the GPU, or the processor, its fastest bf16 instructions and its cores."""
    name = found["gpu"] or f"{found['processor']} {' '.join(found['bf16'][:1])} {found['cores']} cores"
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
