// `Config`: what the operator configured for a policy.
import { get, getAll } from "wasi:config/store@0.2.0-rc.1";

/**
 * The policy's own configuration: the top-level keys of its `[policy.config]` table.
 *
 * A string arrives as it is. Everything else (numbers, booleans, arrays, tables) arrives as JSON text, so that
 * `limit = 3` and `limit = "3"` are the same to {@link Config.number}.
 */
export class Config {
  /**
   * The text of a key; `null` when it is not there.
   *
   * @param {string} key
   * @returns {string | null}
   */
  get(key) {
    return get(key) ?? null;
  }

  /**
   * The text of a key that has to be there.
   *
   * @param {string} key
   * @returns {string}
   * @throws {Error} naming the key when it is not there
   */
  required(key) {
    const text = this.get(key);
    if (text === null) {
      throw new Error(`\`${key}\` is missing`);
    }
    return text;
  }

  /**
   * The value of a key, parsed; `null` when it is not there. `parse` throws what is wrong with the text.
   *
   * @template T
   * @param {string} key
   * @param {(text: string) => T} parse
   * @returns {T | null}
   * @throws {Error} naming the key, its text and why that cannot be parsed
   */
  parsed(key, parse) {
    const text = this.get(key);
    if (text === null) {
      return null;
    }
    try {
      return parse(text);
    } catch (error) {
      throw new Error(`\`${key}\` is ${JSON.stringify(text)}: ${error instanceof Error ? error.message : error}`);
    }
  }

  /**
   * The finite number of a key; `null` when it is not there.
   *
   * @param {string} key
   * @returns {number | null}
   * @throws {Error} naming the key and its text when that is no number
   */
  number(key) {
    return this.parsed(key, (text) => {
      const number = text.trim() === "" ? NaN : Number(text);
      if (!Number.isFinite(number)) {
        throw new Error("expected a number");
      }
      return number;
    });
  }

  /**
   * The boolean of a key; `null` when it is not there.
   *
   * @param {string} key
   * @returns {boolean | null}
   * @throws {Error} naming the key and its text when that is neither `true` nor `false`
   */
  boolean(key) {
    return this.parsed(key, (text) => {
      if (text !== "true" && text !== "false") {
        throw new Error("expected true or false");
      }
      return text === "true";
    });
  }

  /**
   * The list of strings of a key; `null` when it is not there.
   *
   * @param {string} key
   * @returns {string[] | null}
   * @throws {Error} naming the key when it is no such list
   */
  strings(key) {
    const value = this.json(key);
    if (value !== null && !(Array.isArray(value) && value.every((item) => typeof item === "string"))) {
      throw new Error(`\`${key}\` is not what is expected: a list of strings`);
    }
    return value;
  }

  /**
   * The value of a key that is a number, a boolean, an array or a table; `null` when it is not there. Check what it is.
   *
   * @param {string} key
   * @returns {any}
   * @throws {Error} naming the key when it is a text
   */
  json(key) {
    const text = this.get(key);
    if (text === null) {
      return null;
    }
    try {
      return JSON.parse(text);
    } catch {
      // Without the text, which may be a secret in the wrong place.
      throw new Error(`\`${key}\` is a text, which is not what is expected`);
    }
  }

  /**
   * Every key and its text, in no particular order.
   *
   * @returns {Map<string, string>}
   */
  all() {
    return new Map(getAll());
  }

  /**
   * Refuses every key that is not listed: a mistyped key is never ignored.
   *
   * @param {string[]} known
   * @throws {Error} naming the unknown keys and listing the known ones
   */
  only(known) {
    const unknown = [...this.all().keys()].filter((key) => !known.includes(key)).sort();
    if (unknown.length > 0) {
      throw new Error(`unknown ${quoted(unknown)}; known: ${known.length > 0 ? quoted(known) : "none"}`);
    }
  }
}

/** @param {string[]} keys */
function quoted(keys) {
  return keys.map((key) => `\`${key}\``).join(", ");
}
