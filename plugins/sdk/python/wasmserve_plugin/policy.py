"""`Policy`: what a plugin implements, and how it is exported."""

from abc import ABC, abstractmethod
from typing import Any

from ._exported import Exported
from .config import Config
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
    exported = Exported(policy)

    class Guest:
        def configure(self) -> None:
            exported.configure()

        def decide(self) -> Any:
            return exported.call(lambda made: made.decide(Request())._to_contract())

    return Guest
