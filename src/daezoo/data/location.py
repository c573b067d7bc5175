"""Where data is looked for."""

import os
from pathlib import Path


class DataMissing(ValueError):
    """The data is not where it was looked for."""


def data_root() -> Path:
    """The folder of all data: the environment's DAEZOO_DATA, else data/."""
    return Path(os.environ.get("DAEZOO_DATA") or "data")


def located(path: str) -> Path:
    """A path in which $DAEZOO_DATA stands for that folder, so that a run's configuration fits any machine."""
    return Path(path.replace("$DAEZOO_DATA", str(data_root())))
