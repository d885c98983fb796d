import { Mistakes, checkNetwork, deny, policy, proceed } from "wasmserve-plugin";
import { checkPrefix } from "wasmserve-plugin/path";

/** Shows what lies beneath a prefix to one network alone. */
class MyPolicy {
  /** @param {import("wasmserve-plugin").Config} config */
  constructor(config) {
    config.only(["prefix", "network"]);
    this.prefix = config.required("prefix");
    this.network = config.required("network");
    const mistakes = new Mistakes();
    mistakes.noteText("prefix", this.prefix, checkPrefix(this.prefix));
    mistakes.noteText("network", this.network, checkNetwork(this.network));
    mistakes.check();
  }

  /** @param {import("wasmserve-plugin").Request} request */
  decide(request) {
    if (request.reaches(this.prefix) && !request.clientWithin(this.network)) {
      return deny(403);
    }
    return proceed().header("X-Policy", "my-policy");
  }
}

export const guest = policy(MyPolicy);
