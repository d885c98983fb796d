// Counts, for each member, how many bytes they were given: in the bucket `usage`, where policies may read it.
import { Bucket } from "wasmserve-plugin/key-value";
import { observer } from "wasmserve-plugin/observer";

class Meter {
  constructor(config) {
    config.only(["by"]);
    this.by = config.required("by");
  }

  observe(batch) {
    const usage = Bucket.open("usage");
    for (const exchange of batch) {
      const who = exchange.facts.get(this.by);
      if (who !== undefined) {
        usage.increment(`bytes of ${who}`, exchange.bodyBytes);
        usage.set(`last of ${who}`, `${exchange.path} ${exchange.status} ${exchange.clientAddress} ${exchange.ending}`);
      } else if (exchange.path === "/fault") {
        throw new Error("nobody to count for");
      }
    }
  }
}

export const observing = observer(Meter);
