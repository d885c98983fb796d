/**
 * Write policies for the wasmserve file server in JavaScript or TypeScript.
 *
 * A policy is asked about every request before a file is touched. It asks the questions it needs answered and decides:
 * let the request {@link proceed} (perhaps to other paths, with other headers), or answer it ({@link deny},
 * {@link redirect}, {@link respond}). The server does everything else.
 *
 * ```js
 * import { deny, policy, proceed } from "wasmserve-plugin";
 *
 * class Intranet {
 *   constructor(config) {
 *     config.only(["network"]);
 *     this.network = config.required("network");
 *   }
 *
 *   decide(request) {
 *     if (request.reaches("/internal/") && !request.clientWithin(this.network)) {
 *       return deny(403);
 *     }
 *     return proceed().header("X-Robots-Tag", "noindex");
 *   }
 * }
 *
 * export const guest = policy(Intranet);
 * ```
 *
 * The order of events: the server starts the policy, makes an object of the class, and then calls `decide`, **always
 * from the state that the constructor left behind**: what one decision writes to memory, no other decision sees.
 *
 * Every failure is closed: the client never gets the file. An error thrown by the constructor keeps the server from
 * loading the policy and is shown to the operator, so let it name the key and say what is expected. An error thrown by
 * `decide`, or a malformed decision, is logged and answered with 500; spending more time or memory than the manifest's
 * limits, with 503.
 *
 * @module
 */
export { Config } from "./config.js";
export {
  Changes,
  HeaderChange,
  Response,
  deny,
  proceed,
  redirect,
  respond,
  unauthorized,
} from "./decision.js";
export { Mistakes } from "./mistakes.js";
export { checkNetwork } from "./network.js";
export { covers } from "./path.js";
export { policy } from "./policy.js";
export { Request } from "./request.js";

/** @typedef {import("./decision.js").Decision} Decision */
/** @typedef {import("./decision.js").Outcome} Outcome */
/** @typedef {import("./decision.js").Sharing} Sharing */
/** @typedef {import("./policy.js").Guest} Guest */
/** @typedef {import("./policy.js").Policy} Policy */
