// `wasmserve-plugin/key-value`: pairs that outlive a decision.
import { increment } from "wasi:keyvalue/atomics@0.2.0-draft";
import { open } from "wasi:keyvalue/store@0.2.0-draft";
import { utf8 } from "./utf8.js";

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
export class Bucket {
  /** @type {any} */
  #bucket;

  /** @param {any} bucket */
  constructor(bucket) {
    this.#bucket = bucket;
  }

  /**
   * `default` is the plugin's own. Others are shared with the plugins of the site that the operator grants the same name:
   * `[policy.key-value] buckets = ["name"]`.
   *
   * @param {string} name
   * @throws {Error} when there is no such bucket, or it is not granted
   */
  static open(name) {
    return new Bucket(attempt(() => open(name)));
  }

  /**
   * The value of a key; `null` when there is no pair.
   *
   * @param {string} key
   * @returns {Uint8Array | null}
   * @throws {Error} when the store cannot be reached
   */
  get(key) {
    return attempt(() => this.#bucket.get(key)) ?? null;
  }

  /**
   * Makes or replaces a pair. Its time to live, when the operator set one, begins anew.
   *
   * @param {string} key
   * @param {Uint8Array | string} value
   * @throws {Error} when the key (1 KiB) or the value is too large, or the store cannot be reached
   */
  set(key, value) {
    const bytes = typeof value === "string" ? utf8(value) : value;
    attempt(() => this.#bucket.set(key, bytes));
  }

  /**
   * Removes a pair, if it is there.
   *
   * @param {string} key
   * @throws {Error} when the store cannot be reached
   */
  delete(key) {
    attempt(() => this.#bucket.delete(key));
  }

  /**
   * Whether there is a pair of this key.
   *
   * @param {string} key
   * @returns {boolean}
   * @throws {Error} when the store cannot be reached
   */
  exists(key) {
    return attempt(() => this.#bucket.exists(key));
  }

  /**
   * Adds to a number that is kept as decimal digits, and gives the sum; a key that is not there counts as 0. Atomic:
   * whoever else adds at the same time, nothing is lost. The time to live goes on from the first time.
   *
   * @param {string} key
   * @param {number} delta
   * @returns {number}
   * @throws {Error} when the value is no number, the sum is too large, or the store cannot be reached
   */
  increment(key, delta) {
    return attempt(() => increment(this.#bucket, key, delta));
  }
}

/**
 * What the contract calls an error, thrown as one.
 *
 * @template T
 * @param {() => T} call
 * @returns {T}
 */
function attempt(call) {
  try {
    return call();
  } catch (reason) {
    throw new Error(words(/** @type {any} */ (reason)));
  }
}

/** @param {{ tag?: string, val?: string }} reason */
function words(reason) {
  switch (reason?.tag) {
    case "no-such-store":
      return "there is no such bucket: the operator names those that are shared";
    case "access-denied":
      return "the bucket is not granted";
    case "other":
      return String(reason.val);
    default:
      return String(reason);
  }
}
