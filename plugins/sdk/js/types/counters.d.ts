export type Taken = {
    /**
     * Whether a token was there, and was taken.
     */
    granted: boolean;
    /**
     * Whole tokens left in the bucket.
     */
    remaining: number;
    /**
     * Milliseconds until a token will be there: 0 when one is left.
     */
    retryAfter: number;
    /**
     * Milliseconds until the bucket is full again.
     */
    fullAfter: number;
};
/**
 * What became of one {@link take}.
 *
 * @typedef {object} Taken
 * @property {boolean} granted Whether a token was there, and was taken.
 * @property {number} remaining Whole tokens left in the bucket.
 * @property {number} retryAfter Milliseconds until a token will be there: 0 when one is left.
 * @property {number} fullAfter Milliseconds until the bucket is full again.
 */
/**
 * Takes one token from the bucket `key`, which holds at most `capacity` tokens (at least 1), starts full and gains
 * `refillPerSecond` tokens a second (finite, not negative: anything else traps). The bucket is this plugin's, and is
 * shared by all requests of the site. For limits on how often something may happen:
 *
 * ```js
 * const taken = take(request.clientAddress() ?? "", 20, 5);
 * if (taken.granted) {
 *   return proceed().sharing("allowed");
 * }
 * return deny(429).header("Retry-After", String(Math.ceil(taken.retryAfter / 1000)));
 * ```
 *
 * Needs `grants = ["counters"]` in the chain, and `import counters;` in the plugin's world. A decision that took a token
 * is never reused, so take one only where it counts.
 *
 * @param {string} key
 * @param {number} capacity
 * @param {number} refillPerSecond
 * @returns {Taken}
 * @throws {Error} when the bucket could not be had, for instance because as many as the operator allows are in use.
 *   Whether that admits or refuses is the policy's decision.
 */
export declare function take(key: string, capacity: number, refillPerSecond: number): Taken;
