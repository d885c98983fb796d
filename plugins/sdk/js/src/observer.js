/**
 * `wasmserve-plugin/observer`: told of finished exchanges, in batches and off the requests' way.
 *
 * ```js
 * import { Bucket } from "wasmserve-plugin/key-value";
 * import { observer } from "wasmserve-plugin/observer";
 *
 * class Meter {
 *   observe(batch) {
 *     const usage = Bucket.open("usage");
 *     for (const exchange of batch) {
 *       usage.increment(exchange.host, exchange.bodyBytes);
 *     }
 *   }
 * }
 *
 * export const observing = observer(Meter);
 * ```
 *
 * The plugin's world includes `wasmserve:policy/observer@0.1.0`, and the operator lists it as `[[observer]]` in the chain.
 * The object stays in memory from batch to batch, until it fails, the configuration is loaded anew, or the server needs its
 * place for others: what must last longer belongs into a key-value bucket. It can change nothing, and when it cannot keep
 * up, exchanges are dropped. There is no request to ask about: import nothing of `wasmserve-plugin` itself.
 *
 * @module
 */
import { Config } from "./config.js";
import { exported } from "./exported.js";

export { Config };
export { Mistakes } from "./mistakes.js";

/**
 * One finished exchange.
 *
 * @typedef {object} Exchange
 * @property {number} arrived When the request arrived, in milliseconds since 1970.
 * @property {number} duration From the arrival to the end, in microseconds.
 * @property {string} site
 * @property {string} host
 * @property {string} scheme
 * @property {string} method
 * @property {string} path Canonical; empty when the request was refused because its path was not.
 * @property {string | null} clientAddress
 * @property {number} status 0 when the exchange ended before there was a response.
 * @property {number} bodyBytes Bytes of body that were handed to the connection.
 * @property {"completed" | "aborted" | "failed"} ending `"completed"`: the whole response was handed to the connection.
 *   `"aborted"`: the client went away, or was too slow. `"failed"`: the server ended the response early.
 * @property {Map<string, string>} facts Those that the chain established and the manifest `reads`.
 */

/**
 * What a class of observers makes. Its constructor is given the {@link Config}; what it throws is shown to the operator,
 * and the observer is not loaded.
 *
 * @typedef {object} Observer
 * @property {(batch: Exchange[]) => void} observe Takes note of exchanges that have ended, in no particular order: at most
 *   256. What it throws is logged, and the batch is not told again.
 */

/**
 * What a plugin exports as `observing`.
 *
 * @typedef {{ configure(): void, observe(batch: unknown[]): void }} Observing
 */

/**
 * Exports an observer as this plugin's: `export const observing = observer(MyObserver);`, once, in the file that is built.
 *
 * @param {new (config: Config) => Observer} type
 * @returns {Observing}
 */
export function observer(type) {
  const { configure, configured } = exported(type, new Config());
  return {
    configure,
    observe: (batch) => configured((observer) => observer.observe(batch.map(exchange))),
  };
}

/**
 * As the contract has it.
 *
 * @param {any} told
 * @returns {Exchange}
 */
function exchange(told) {
  return {
    ...told,
    arrived: Number(told.arrived),
    duration: Number(told.duration),
    clientAddress: told.clientAddress ?? null,
    bodyBytes: Number(told.bodyBytes),
    facts: new Map(told.facts),
  };
}
