"""Counts, for each member, how many bytes they were given: in the bucket `usage`, where policies may read it."""

from wasmserve_plugin import Config
from wasmserve_plugin.key_value import Bucket
from wasmserve_plugin.observer import Exchange, Observer, export


class Meter(Observer):
    def __init__(self, config: Config) -> None:
        config.only("by")
        self.by = config.required("by")

    def observe(self, batch: list[Exchange]) -> None:
        with Bucket.open("usage") as usage:
            for exchange in batch:
                who = dict(exchange.facts).get(self.by)
                if who is not None:
                    usage.increment(f"bytes of {who}", exchange.body_bytes)
                    ending = exchange.ending.name.lower()
                    last = f"{exchange.path} {exchange.status} {exchange.client_address} {ending}"
                    usage.set(f"last of {who}", last.encode())
                elif exchange.path == "/fault":
                    raise LookupError("nobody to count for")


Observing = export(Meter)
