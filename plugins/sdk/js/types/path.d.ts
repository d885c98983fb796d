/**
 * Whether `path` is `prefix` or beneath it, by whole segments: `/private` and `/private/` both cover `/private`,
 * `/private/` and `/private/a`, and neither covers `/privateer`. `/` covers everything. Case-sensitive.
 *
 * @param {string} prefix
 * @param {string} path
 * @returns {boolean}
 */
export declare function covers(prefix: string, path: string): boolean;
/**
 * What is wrong with a path that an operator configures, to be put behind the key's name; `null` when it is canonical, as
 * `request.path()` gives it and decisions need it.
 *
 * @param {string} path
 * @returns {string | null}
 */
export declare function check(path: string): string | null;
/**
 * What is wrong with a prefix that {@link covers} is to compare with; `null` when it is canonical, and neither
 * percent-encoded nor a pattern. A prefix that cannot match would leave open what it was meant to guard.
 *
 * @param {string} prefix
 * @returns {string | null}
 */
export declare function checkPrefix(prefix: string): string | null;
/**
 * A canonical path in the form that a URL has it (RFC 3986, section 3.3): everything but unreserved characters,
 * sub-delimiters, `:`, `@` and `/` is percent-encoded.
 *
 * @param {string} path
 * @returns {string}
 */
export declare function encode(path: string): string;
/**
 * What `Location` takes: a path, encoded by {@link encode}, and a raw query such as `request.query()` gives it, of which
 * only what a URL cannot hold is encoded.
 *
 * @param {string} path
 * @param {string | null} query
 * @returns {string}
 */
export declare function reference(path: string, query: string | null): string;
