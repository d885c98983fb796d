// What policies and observers have in common: a class whose object is made by `configure`, and what it throws.

/**
 * @template T
 * @template C
 * @param {new (config: C) => T} type
 * @param {C} config
 */
export function exported(type, config) {
  /** @type {T | undefined} */
  let made;
  return {
    configure() {
      try {
        made = new type(config);
      } catch (error) {
        throw words(error);
      }
    },
    /**
     * @template R
     * @param {(made: T) => R} call
     * @returns {R}
     */
    configured(call) {
      if (made === undefined) {
        throw "called before it was configured";
      }
      try {
        return call(made);
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

// The state of the generator is captured when the plugin is built: it would give the same numbers in every instance.
Math.random = () => {
  throw new Error("there are no random numbers in a plugin");
};
