"""The parser of the commands that take classes and their arguments."""

from typing import Any, NoReturn

from lightning.pytorch.cli import LightningArgumentParser

from daezoo.errors import condense


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
