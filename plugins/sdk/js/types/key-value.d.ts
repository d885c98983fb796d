/**
 * A collection of pairs that outlive a decision:
 *
 * ```js
 * const visits = Bucket.open("default").increment(user, 1);
 * ```
 *
 * Needs `grants = ["key-value"]` in the chain, and `import wasi:keyvalue/store@0.2.0-draft;` and
 * `import wasi:keyvalue/atomics@0.2.0-draft;` in the plugin's world.
 *
 * Pairs are the site's: they outlive a reload and end with the server, or when the operator's time to live is over, or
 * when there is no room. So keep nothing here that must not be lost. A decision that used a bucket is never reused.
 */
export declare class Bucket {
    #private;
    /** @param {any} bucket */
    constructor(bucket: any);
    /**
     * `default` is the plugin's own. Others are shared with the plugins of the site that the operator grants the same name:
     * `[policy.key-value] buckets = ["name"]`.
     *
     * @param {string} name
     * @throws {Error} when there is no such bucket, or it is not granted
     */
    static open(name: string): Bucket;
    /**
     * The value of a key; `null` when there is no pair.
     *
     * @param {string} key
     * @returns {Uint8Array | null}
     * @throws {Error} when the store cannot be reached
     */
    get(key: string): Uint8Array | null;
    /**
     * Makes or replaces a pair. Its time to live, when the operator set one, begins anew.
     *
     * @param {string} key
     * @param {Uint8Array | string} value
     * @throws {Error} when the key (1 KiB) or the value is too large, or the store cannot be reached
     */
    set(key: string, value: Uint8Array | string): void;
    /**
     * Removes a pair, if it is there.
     *
     * @param {string} key
     * @throws {Error} when the store cannot be reached
     */
    delete(key: string): void;
    /**
     * Whether there is a pair of this key.
     *
     * @param {string} key
     * @returns {boolean}
     * @throws {Error} when the store cannot be reached
     */
    exists(key: string): boolean;
    /**
     * Adds to a number that is kept as decimal digits, and gives the sum; a key that is not there counts as 0. Atomic:
     * whoever else adds at the same time, nothing is lost. The time to live goes on from the first time.
     *
     * @param {string} key
     * @param {number} delta
     * @returns {number}
     * @throws {Error} when the value is no number, the sum is too large, or the store cannot be reached
     */
    increment(key: string, delta: number): number;
}
