"""What policies and observers have in common: an object that `configure` makes, and what it raises."""

import traceback
from collections.abc import Callable
from typing import Generic, TypeVar

from componentize_py_types import Err

from .config import Config, ConfigError

T = TypeVar("T")
R = TypeVar("R")


class Exported(Generic[T]):
    """Makes an object once, and calls it. What is raised arrives as the contract's error."""

    def __init__(self, make: Callable[[Config], T]) -> None:
        self._make = make
        self._made: T | None = None

    def configure(self) -> None:
        try:
            self._made = self._make(Config())
        except ConfigError as error:
            raise Err(str(error)) from error
        except Exception as error:
            raise Err(_located(error)) from error

    def call(self, function: Callable[[T], R]) -> R:
        if self._made is None:
            raise Err("called before it was configured")
        try:
            return function(self._made)
        except Exception as error:
            raise Err(_located(error)) from error


def _located(error: Exception) -> str:
    """With the kind of error and where it happened: whoever reads the log has to find it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
