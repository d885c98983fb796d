"""Write policies for the wasmserve file server in Python.

A policy is asked about every request before a file is touched. It asks the questions it needs answered and decides: let
the request `proceed` (perhaps to other paths, with other headers), or answer it (`deny`, `redirect`, `respond`). The
server does everything else.

    from wasmserve_plugin import Config, Decision, Policy, Request, deny, export, proceed

    class Intranet(Policy):
        def __init__(self, config: Config) -> None:
            config.only("network")
            self.network = config.required("network")

        def decide(self, request: Request) -> Decision:
            if request.reaches("/internal/") and not request.client_within(self.network):
                return deny(403)
            return proceed().header("X-Robots-Tag", "noindex")

    Guest = export(Intranet)

The order of events: the server starts the policy, makes an object of the class, and then calls `decide`, **always from
the state that `__init__` left behind**: what one decision writes to memory, no other decision sees.

Every failure is closed: the client never gets the file. An exception raised by `__init__` keeps the server from loading
the policy and is shown to the operator, so let it name the key and say what is expected (`ConfigError`). An exception
raised by `decide`, or a malformed decision, is logged and answered with 500; spending more time or memory than the
manifest's limits, with 503.
"""

from wit_world import exports as _exports

from . import _chance as _chance  # before whatever imports `random`
from .config import Config, ConfigError, Mistakes
from .network import check_network
from .path import covers

__all__ = ["Config", "ConfigError", "Mistakes", "check_network", "covers"]

# The world of an observer has no requests to decide: see the module `observer`.
if hasattr(_exports, "Guest"):
    from .decision import (
        Changes,
        Decision,
        HeaderChange,
        Outcomes,
        Response,
        Sharing,
        deny,
        proceed,
        redirect,
        respond,
        unauthorized,
    )
    from .policy import Policy, export
    from .request import Request

    __all__ += [
        "Changes",
        "Decision",
        "HeaderChange",
        "Outcomes",
        "Policy",
        "Request",
        "Response",
        "Sharing",
        "deny",
        "export",
        "proceed",
        "redirect",
        "respond",
        "unauthorized",
    ]
