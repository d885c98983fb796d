"""Observers: told of finished exchanges, in batches and off the requests' way.

    from wasmserve_plugin import Config
    from wasmserve_plugin.key_value import Bucket
    from wasmserve_plugin.observer import Exchange, Observer, export

    class Meter(Observer):
        def __init__(self, config: Config) -> None:
            config.only()

        def observe(self, batch: list[Exchange]) -> None:
            with Bucket.open("usage") as usage:
                for exchange in batch:
                    usage.increment(exchange.host, exchange.body_bytes)

    Observing = export(Meter)

The plugin's world includes `wasmserve:policy/observer@0.1.0`, and the operator lists it as `[[observer]]` in the chain. The
object stays in memory from batch to batch, until it fails, the configuration is loaded anew, or the server needs its place
for others: what must last longer belongs into a key-value bucket. It can change nothing, and when it cannot keep up,
exchanges are dropped. There is no request to ask about: `wasmserve_plugin` has `Config` and what checks it, and no more.
"""

from abc import ABC, abstractmethod
from typing import Any

from wit_world.imports import observation

from ._exported import Exported
from .config import Config

# How an exchange ended: `COMPLETED` (the whole response was handed to the connection), `ABORTED` (the client went away, or
# was too slow), `FAILED` (the server ended the response early).
Ending = observation.Ending

# One finished exchange: `arrived` (milliseconds since 1970), `duration` (microseconds), `site`, `host`, `scheme`, `method`,
# `path` (canonical; empty when the request was refused because its path was not), `client_address` (or `None`), `status` (0
# when there was no response), `body_bytes` (handed to the connection), `ending`, and `facts` (pairs: those that the chain
# established and the manifest `reads`).
Exchange = observation.Exchange


class Observer(ABC):
    """Is told of finished exchanges. One class of a plugin derives from this and is given to `export`."""

    def __init__(self, config: Config) -> None:
        """Reads the configuration. Called when an instance is made, which is once unless it fails. What it raises is shown
        to the operator; the server does not serve without it."""

    @abstractmethod
    def observe(self, batch: list[observation.Exchange]) -> None:
        """Takes note of exchanges that have ended, in no particular order: at most 256. What it raises is logged, and the
        batch is not told again."""


def export(observer: type[Observer]) -> Any:
    """Exports an observer as this plugin's: `Observing = export(MyObserver)`, once, in the module that is built."""
    exported = Exported(observer)

    class Observing:
        def configure(self) -> None:
            exported.configure()

        def observe(self, batch: list[observation.Exchange]) -> None:
            exported.call(lambda made: made.observe(batch))

    return Observing
