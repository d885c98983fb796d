/**
 * The policy's own configuration: the top-level keys of its `[policy.config]` table.
 *
 * A string arrives as it is. Everything else (numbers, booleans, arrays, tables) arrives as JSON text, so that
 * `limit = 3` and `limit = "3"` are the same to {@link Config.number}.
 */
export declare class Config {
    /**
     * The text of a key; `null` when it is not there.
     *
     * @param {string} key
     * @returns {string | null}
     */
    get(key: string): string | null;
    /**
     * The text of a key that has to be there.
     *
     * @param {string} key
     * @returns {string}
     * @throws {Error} naming the key when it is not there
     */
    required(key: string): string;
    /**
     * The value of a key, parsed; `null` when it is not there. `parse` throws what is wrong with the text.
     *
     * @template T
     * @param {string} key
     * @param {(text: string) => T} parse
     * @returns {T | null}
     * @throws {Error} naming the key, its text and why that cannot be parsed
     */
    parsed<T>(key: string, parse: (text: string) => T): T | null;
    /**
     * The finite number of a key; `null` when it is not there.
     *
     * @param {string} key
     * @returns {number | null}
     * @throws {Error} naming the key and its text when that is no number
     */
    number(key: string): number | null;
    /**
     * The boolean of a key; `null` when it is not there.
     *
     * @param {string} key
     * @returns {boolean | null}
     * @throws {Error} naming the key and its text when that is neither `true` nor `false`
     */
    boolean(key: string): boolean | null;
    /**
     * The list of strings of a key; `null` when it is not there.
     *
     * @param {string} key
     * @returns {string[] | null}
     * @throws {Error} naming the key when it is no such list
     */
    strings(key: string): string[] | null;
    /**
     * The value of a key that is a number, a boolean, an array or a table; `null` when it is not there. Check what it is.
     *
     * @param {string} key
     * @returns {any}
     * @throws {Error} naming the key when it is a text
     */
    json(key: string): any;
    /**
     * Every key and its text, in no particular order.
     *
     * @returns {Map<string, string>}
     */
    all(): Map<string, string>;
    /**
     * Refuses every key that is not listed: a mistyped key is never ignored.
     *
     * @param {string[]} known
     * @throws {Error} naming the unknown keys and listing the known ones
     */
    only(known: string[]): void;
}
