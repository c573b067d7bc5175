"""A campaign: one fault, tried again and again."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Campaign:
    """A fault, and how it is tried.

    Args:
        fault: The fault, as the table says it.
        tries: How often the whole campaign tries it.
        sample: How many of these tries `make test-slow` makes.
        attempt: Makes one try, in an empty folder and with the try's number, which seeds whatever is random in it. It
            returns how it ended, in a word or a few (resumed, refused, …), and raises AssertionError if anything was
            lost or told wrongly.
    """

    fault: str
    tries: int
    sample: int
    attempt: Callable[[Path, int], str]
