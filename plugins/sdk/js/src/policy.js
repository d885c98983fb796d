// `policy`: a class as the contract's two functions.
import { Config } from "./config.js";
import { exported } from "./exported.js";
import { Request } from "./request.js";

/**
 * What a class of policies makes. Its constructor is given the {@link Config}: it reads the configuration and prepares
 * for deciding (parse keys, sort rules, compile patterns). Nothing may be asked about a request there: that traps. What
 * it throws is shown to the operator, and the policy is not loaded.
 *
 * @typedef {object} Policy
 * @property {(request: Request) => import("./decision.js").Decision} decide Decides the request. What it throws is
 *   logged for the operator; the client gets 500 and never learns the reason. To refuse a request is not an error: that
 *   is `deny`.
 */

/**
 * What a plugin exports as `guest`.
 *
 * @typedef {{ configure(): void, decide(): unknown }} Guest
 */

/**
 * Exports a policy as this plugin's: `export const guest = policy(MyPolicy);`, once, in the file that is built.
 *
 * @param {new (config: Config) => Policy} type
 * @returns {Guest}
 */
export function policy(type) {
  const { configure, configured } = exported(type, new Config());
  return {
    configure,
    decide: () => configured((policy) => policy.decide(new Request()).toContract()),
  };
}
