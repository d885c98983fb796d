"""Shows what lies beneath a prefix to one network alone."""

from wasmserve_plugin import Config, Decision, Mistakes, Policy, Request, check_network, deny, export, proceed
from wasmserve_plugin.path import check_prefix


class MyPolicy(Policy):
    def __init__(self, config: Config) -> None:
        config.only("prefix", "network")
        self.prefix = config.required("prefix")
        self.network = config.required("network")
        mistakes = Mistakes()
        mistakes.note_text("prefix", self.prefix, check_prefix(self.prefix))
        mistakes.note_text("network", self.network, check_network(self.network))
        mistakes.check()

    def decide(self, request: Request) -> Decision:
        if request.reaches(self.prefix) and not request.client_within(self.network):
            return deny(403)
        return proceed().header("X-Policy", "my-policy")


Guest = export(MyPolicy)
