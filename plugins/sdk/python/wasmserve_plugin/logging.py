"""The server's log.

Needs `grants = ["logging"]` in the chain, and `import wasi:logging/logging@0.1.0-draft;` in the plugin's world. Lines
belong to the decision: when the server reuses it, they are written again. Log what an operator has to know, not every
request: the server's access log does that.
"""

from wit_world.imports import logging as service


def trace(message: str) -> None:
    """The values of variables and the flow of control."""
    service.log(service.Level.TRACE, "", message)


def debug(message: str) -> None:
    """Of interest to whoever debugs the policy."""
    service.log(service.Level.DEBUG, "", message)


def info(message: str) -> None:
    """Of interest to whoever watches the server."""
    service.log(service.Level.INFO, "", message)


def warn(message: str) -> None:
    """Something is not as it should be."""
    service.log(service.Level.WARN, "", message)


def error(message: str) -> None:
    """Something failed."""
    service.log(service.Level.ERROR, "", message)
