// `wasmserve-plugin/logging`: the server's log.
//
// Needs `grants = ["logging"]` in the chain, and `import wasi:logging/logging@0.1.0-draft;` in the plugin's world. Lines
// belong to the decision: when the server reuses it, they are written again. Log what an operator has to know, not every
// request: the server's access log does that.
import { log } from "wasi:logging/logging@0.1.0-draft";

/**
 * The values of variables and the flow of control.
 *
 * @param {string} message
 */
export function trace(message) {
  log("trace", "", message);
}

/**
 * Of interest to whoever debugs the policy.
 *
 * @param {string} message
 */
export function debug(message) {
  log("debug", "", message);
}

/**
 * Of interest to whoever watches the server.
 *
 * @param {string} message
 */
export function info(message) {
  log("info", "", message);
}

/**
 * Something is not as it should be.
 *
 * @param {string} message
 */
export function warn(message) {
  log("warn", "", message);
}

/**
 * Something failed.
 *
 * @param {string} message
 */
export function error(message) {
  log("error", "", message);
}
