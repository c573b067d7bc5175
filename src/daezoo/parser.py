"""The parser of the commands that take classes and their arguments, and the configuration files it reads."""

from pathlib import Path
from typing import Any, NoReturn

import yaml
from lightning.pytorch.cli import LightningArgumentParser

from daezoo.errors import condense

LARGEST, DEEPEST = 100_000, 100
"""Values of a configuration file at the most, every alias written out, and how deep they may be nested."""
UNREADABLE = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
"""What the parts of PyYAML raise for a text that is none: not all of them check what they are given."""


class Parser(LightningArgumentParser):
    """A parser whose errors are ValueErrors of one paragraph, without the usage of two hundred options before them."""

    def parse_path(self, cfg_path: Any, *args: Any, **kwargs: Any) -> Any:
        """As the base, with the file's name in the error."""
        try:
            return super().parse_path(cfg_path, *args, **kwargs)
        except ValueError as error:
            raise ValueError(f"{cfg_path}: {error}") from error

    def parse_string(self, content: str, *args: Any, **kwargs: Any) -> Any:
        """As the base, of a text that `configuration` reads."""
        if "config" in configuration(content):
            raise ValueError("A configuration file cannot name others by `config`: give each by a --config of its own.")
        return super().parse_string(content, *args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the error."""
        if not self.exit_on_error:
            super().error(message, ex)
        raise ValueError(condense(message)) from ex


def configuration(text: str) -> dict[str, Any]:
    """What a configuration file says; nothing in it is executed.

    Raises:
        ValueError: If it is no YAML of keys and values, holds itself, or is too large.
    """
    try:
        _check_size(text)
        content = yaml.safe_load(text)
    except UNREADABLE as error:
        raise ValueError(f"This is no YAML that can be read: {error}") from error
    if not isinstance(content, dict | None):
        raise ValueError(f"Expected keys and values, such as `trainer:`, got a {type(content).__name__}.")
    return content or {}


def read_configuration(path: Path) -> dict[str, Any]:
    """As `configuration`, of a file, whose name is in the error."""
    try:
        return configuration(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _check_size(text: str) -> None:
    sizes: dict[str | None, int] = {}
    opened: list[tuple[str | None, int]] = []
    values = 0
    for event in yaml.parse(text, yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            if any(anchor == event.anchor for anchor, _ in opened):
                raise ValueError(f"the value &{event.anchor} holds itself")
            values += sizes.get(event.anchor, 0)  # what is nowhere is found below
        elif isinstance(event, yaml.CollectionStartEvent):
            opened.append((event.anchor, values))
            values += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = opened.pop()
            sizes[anchor] = values - before
        elif isinstance(event, yaml.ScalarEvent):
            values += 1
            sizes[event.anchor] = 1
        if values > LARGEST or len(opened) > DEEPEST:
            raise ValueError(f"it has over {LARGEST:,} values, or they are nested over {DEEPEST} deep")
