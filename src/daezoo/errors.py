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
TOO_LARGE = re.compile(
    "can't allocate memory|bad_alloc|[Oo]verflow when unpacking|calculation overflowed|multiplication overflow|"
    "too many elements|too large to convert"
)
"""What PyTorch says of sizes that no memory has, and nobody else."""


def condense(message: str) -> str:
    """A parser's nested report as one paragraph: what did not fit where, without the list of all that was tried."""
    lines = [line.strip() for line in message.splitlines()]
    text = " ".join(line.removeprefix("- ") for line in lines if line and not NOISE.match(line))
    return text.replace("Expected a dot import path string:", "There is no class of that name:")


def too_large(error: BaseException) -> ValueError | None:
    """What to say of an error if it, or what caused it, is a lack of memory, or a number that is too large."""
    cause: BaseException | None = error
    while cause is not None:
        raised = isinstance(cause, (MemoryError, OverflowError)) or "out of memory" in str(cause)
        if raised or TOO_LARGE.search(str(cause)):
            said = (str(cause) or "out of memory").splitlines()[0]
            return ValueError(
                f"A size is more than this machine can hold: {said}. Make batches, model or data smaller."
            )
        cause = cause.__cause__
    return None


@contextmanager
def one_paragraph() -> Iterator[None]:
    """Print an error of use to stderr, without a traceback, and exit with status 2.

    These are ValueErrors, OSErrors, what Lightning says of its own arguments, and sizes that no memory has; anything
    else is a fault of the program and keeps its traceback.
    """
    try:
        yield
    except Exception as error:
        known = isinstance(error, (ValueError, OSError, ArgumentError)) or type(error).__name__ == MISCONFIGURED
        # a parser passes on what PyTorch said as if it were its own
        shown: Any = error if known and not TOO_LARGE.search(str(error)) else too_large(error)
        if shown is None:
            raise
        # a parser wraps what a constructor said in its own report; the cause says it better
        while NOISE.match(str(shown)) and shown.__cause__ is not None:
            shown = shown.__cause__
        print(f"daezoo: error: {condense(str(shown))}", file=sys.stderr)
        raise SystemExit(2) from None
