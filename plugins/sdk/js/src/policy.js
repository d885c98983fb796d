// `policy`: a class as the contract's two functions.
import { Config } from "./config.js";
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
  /** @type {Policy | undefined} */
  let configured;
  return {
    configure() {
      try {
        configured = new type(new Config());
      } catch (error) {
        throw words(error);
      }
    },
    decide() {
      if (configured === undefined) {
        throw "asked to decide before it was configured";
      }
      try {
        return configured.decide(new Request()).toContract();
      } catch (error) {
        throw located(error);
      }
    },
  };
}

/**
 * What the contract calls an error is a text.
 *
 * @param {unknown} error
 */
function words(error) {
  return error instanceof Error ? error.message : String(error);
}

/**
 * With the kind of error and where it happened: whoever reads the log has to find it.
 *
 * @param {unknown} error
 */
function located(error) {
  if (!(error instanceof Error)) {
    return String(error);
  }
  const place = error.stack?.split("\n", 1)[0]?.trim();
  return `${error.name}: ${error.message}${place ? ` (${place})` : ""}`;
}

// The state of the generator is captured when the plugin is built: it would give the same numbers in every decision.
Math.random = () => {
  throw new Error("there are no random numbers in a policy");
};
