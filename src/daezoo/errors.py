"""Errors of use, said in one paragraph."""

import re
import sys
from argparse import ArgumentError
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser

NOISE = re.compile(
    r"(- )?(Does not validate against|Subtypes: |Errors:$|Expected a (<class 'NoneType'>|path but )|Given value)"
)


def condense(message: str) -> str:
    """A parser's nested report as one paragraph: what did not fit where, without the list of all that was tried."""
    lines = [line.strip() for line in message.splitlines()]
    text = " ".join(line.removeprefix("- ") for line in lines if line and not NOISE.match(line))
    return text.replace("Expected a dot import path string:", "There is no class of that name:")


class Parser(LightningArgumentParser):
    """A parser whose errors are ValueErrors of one paragraph, without the usage of two hundred options before them."""

    def parse_path(self, cfg_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As the base, with the file's name in the error."""
        try:
            return super().parse_path(cfg_path, *args, **kwargs)
        except ValueError as error:
            raise ValueError(f"{cfg_path}: {error}") from error

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the error."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise ValueError(condense(message)) from ex


@contextmanager
def one_paragraph() -> Iterator[None]:
    """Print an error of use to stderr, without a traceback, and exit with status 2.

    These are ValueErrors, OSErrors and what Lightning says of its own arguments; anything else is a fault of the
    program and keeps its traceback.
    """
    try:
        yield
    except (ValueError, OSError, ArgumentError, MisconfigurationException) as error:
        shown: Any = error
        # a parser wraps what a constructor said in its own report; the cause says it better
        while NOISE.match(str(shown)) and shown.__cause__ is not None:
            shown = shown.__cause__
        print(f"daezoo: error: {condense(str(shown))}", file=sys.stderr)
        raise SystemExit(2) from None
