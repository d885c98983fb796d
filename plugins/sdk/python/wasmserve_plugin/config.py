"""`Config`: what the operator configured for a policy."""

import json
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

try:
    from wit_world.imports import store
except ImportError:  # So it is called in a world that has the store of pairs, too.
    from wit_world.imports import wasi_config_store as store

from .network import check_network
from .path import check_prefix

T = TypeVar("T")


class ConfigError(ValueError):
    """What is wrong with the configuration: the key, what was found, what is expected. Shown to the operator."""


class Config:
    """The policy's own configuration: the top-level keys of its `[policy.config]` table.

    A string arrives as it is. Everything else (numbers, booleans, arrays, tables) arrives as JSON text, so that
    `limit = 3` and `limit = "3"` are the same to `parsed`.
    """

    def get(self, key: str) -> str | None:
        """The text of a key; `None` when it is not there."""
        return store.get(key)

    def required(self, key: str) -> str:
        """The text of a key that has to be there. Raises `ConfigError` when it is not."""
        text = self.get(key)
        if text is None:
            raise ConfigError(f"`{key}` is missing")
        return text

    def parsed(self, key: str, parse: Callable[[str], T]) -> T | None:
        """The value of a key, parsed, such as `config.parsed("limit", int)`; `None` when it is not there.

        Raises `ConfigError` with the key, its text and why that cannot be parsed, when `parse` raises a `ValueError`.
        """
        text = self.get(key)
        if text is None:
            return None
        try:
            return parse(text)
        except ValueError as error:
            raise ConfigError(f"`{key}` is {json.dumps(text)}: {error}") from error

    def boolean(self, key: str) -> bool | None:
        """The boolean of a key; `None` when it is not there. Raises `ConfigError` when it is no boolean."""

        def parse(text: str) -> bool:
            if text not in ("true", "false"):
                raise ValueError("expected true or false")
            return text == "true"

        return self.parsed(key, parse)

    def strings(self, key: str) -> list[str] | None:
        """The list of strings of a key; `None` when it is not there. Raises `ConfigError` when it is no such list."""
        value = self.json(key)
        if value is not None and not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
            raise ConfigError(f"`{key}` is not what is expected: a list of strings")
        return value

    def json(self, key: str) -> Any:
        """The value of a key that is a number, a boolean, an array or a table; `None` when it is not there.

        Check what it is. Raises `ConfigError` when it is a text.
        """
        text = self.get(key)
        if text is None:
            return None
        try:
            return json.loads(text)
        except ValueError as error:
            # Without the text, which may be a secret in the wrong place.
            raise ConfigError(f"`{key}` is a text, which is not what is expected") from error

    def all(self) -> dict[str, str]:
        """Every key and its text, in no particular order."""
        return dict(store.get_all())

    def only(self, *known: str) -> None:
        """Refuses every key that is not listed: a mistyped key is never ignored.

        Raises `ConfigError` with the unknown keys and the known ones.
        """
        unknown = sorted(key for key in self.all() if key not in known)
        if unknown:
            raise ConfigError(f"unknown {_quoted(unknown)}; known: {_quoted(known) or 'none'}")


class Mistakes:
    """Collects what is wrong with a configuration, so that an operator learns of all of it at once."""

    def __init__(self) -> None:
        self._noted: list[str] = []

    def note(self, key: str, problem: str) -> None:
        """Notes what is wrong with a key: the problem follows the key's name."""
        self._noted.append(f"`{key}` {problem}")

    def note_text(self, key: str, text: str, problem: str | None) -> None:
        """Notes what is wrong with one of the texts of a key: the problem follows the text. `None`: nothing is."""
        if problem is not None:
            self._noted.append(f"`{key}`: {json.dumps(text)} {problem}")

    def check_prefixes(self, key: str, prefixes: Iterable[str]) -> None:
        """Notes which of these are no prefixes, or that there are none."""
        prefixes = list(prefixes)
        if not prefixes:
            self.note(key, "is empty: nothing would be meant")
        for prefix in prefixes:
            self.note_text(key, prefix, check_prefix(prefix))

    def check_networks(self, key: str, networks: Iterable[str]) -> None:
        """Notes which of these are no networks."""
        for network in networks:
            self.note_text(key, network, check_network(network))

    def check(self) -> None:
        """Raises `ConfigError` with everything that was noted."""
        if self._noted:
            raise ConfigError("; ".join(self._noted))


def _quoted(keys: Iterable[str]) -> str:
    return ", ".join(f"`{key}`" for key in keys)
