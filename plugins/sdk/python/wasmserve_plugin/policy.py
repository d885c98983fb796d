"""`Policy`: what a plugin implements, and how it is exported."""

import traceback
from abc import ABC, abstractmethod
from typing import Any

from componentize_py_types import Err

from .config import Config, ConfigError
from .decision import Decision
from .request import Request


class Policy(ABC):
    """Decides requests. One class of a plugin derives from this and is given to `export`."""

    def __init__(self, config: Config) -> None:
        """Reads the configuration and prepares for deciding: parse keys, sort rules, compile patterns here.

        Called once per load, so what it costs is not paid by requests. Nothing may be asked about a request, there is
        none: that traps. What it raises is shown to the operator; the policy is not loaded, and the server does not
        serve without it.
        """

    @abstractmethod
    def decide(self, request: Request) -> Decision:
        """Decides the request.

        What it raises is logged for the operator; the client gets 500 and never learns the reason. To refuse a request
        is not an error: that is `deny`.
        """


def export(policy: type[Policy]) -> Any:
    """Exports a policy as this plugin's: `Guest = export(MyPolicy)`, once, in the module that is built."""

    class Guest:
        configured: Policy | None = None

        def configure(self) -> None:
            try:
                Guest.configured = policy(Config())
            except ConfigError as error:
                raise Err(str(error)) from error
            except Exception as error:
                raise Err(_located(error)) from error

        def decide(self) -> Any:
            if Guest.configured is None:
                raise Err("asked to decide before it was configured")
            try:
                return Guest.configured.decide(Request())._to_contract()
            except Exception as error:
                raise Err(_located(error)) from error

    return Guest


def _located(error: Exception) -> str:
    """With the kind of error and where it happened: whoever reads the log has to find it."""
    frames = traceback.extract_tb(error.__traceback__)
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
