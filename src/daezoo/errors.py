"""Errors of use, said in one paragraph."""

import re
import sys
from argparse import ArgumentError
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

MISCONFIGURED = "MisconfigurationException"
"""What Lightning raises, by name: importing it takes seconds."""
NOISE = re.compile(
    r"(- )?(Does not validate against|Subtypes: |Errors:$|Expected a (<class 'NoneType'>|path but )|Given value)"
)


def condense(message: str) -> str:
    """A parser's nested report as one paragraph: what did not fit where, without the list of all that was tried."""
    lines = [line.strip() for line in message.splitlines()]
    text = " ".join(line.removeprefix("- ") for line in lines if line and not NOISE.match(line))
    return text.replace("Expected a dot import path string:", "There is no class of that name:")


@contextmanager
def one_paragraph() -> Iterator[None]:
    """Print an error of use to stderr, without a traceback, and exit with status 2.

    These are ValueErrors, OSErrors and what Lightning says of its own arguments; anything else is a fault of the
    program and keeps its traceback.
    """
    try:
        yield
    except Exception as error:
        if not isinstance(error, (ValueError, OSError, ArgumentError)) and type(error).__name__ != MISCONFIGURED:
            raise
        shown: Any = error
        # a parser wraps what a constructor said in its own report; the cause says it better
        while NOISE.match(str(shown)) and shown.__cause__ is not None:
            shown = shown.__cause__
        print(f"daezoo: error: {condense(str(shown))}", file=sys.stderr)
        raise SystemExit(2) from None
