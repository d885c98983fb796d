// Canonical paths: comparing, checking and encoding them.
import { utf8 } from "./utf8.js";

/**
 * Whether `path` is `prefix` or beneath it, by whole segments: `/private` and `/private/` both cover `/private`,
 * `/private/` and `/private/a`, and neither covers `/privateer`. `/` covers everything. Case-sensitive.
 *
 * @param {string} prefix
 * @param {string} path
 * @returns {boolean}
 */
export function covers(prefix, path) {
  const bare = prefix.endsWith("/") ? prefix.slice(0, -1) : prefix;
  return path.startsWith(bare) && (path.length === bare.length || path[bare.length] === "/");
}

/**
 * What is wrong with a path that an operator configures, to be put behind the key's name; `null` when it is canonical, as
 * `request.path()` gives it and decisions need it.
 *
 * @param {string} path
 * @returns {string | null}
 */
export function check(path) {
  if (!path.startsWith("/")) {
    return "does not begin with `/`";
  }
  if (/[\p{Cc}\\]/u.test(path)) {
    return "has a control character or a backslash";
  }
  const rest = path.slice(1, path.endsWith("/") ? -1 : undefined);
  if (path !== "/" && rest.split("/").some((segment) => ["", ".", ".."].includes(segment))) {
    return "has an empty, `.` or `..` segment";
  }
  return null;
}

/**
 * What is wrong with a prefix that {@link covers} is to compare with; `null` when it is canonical, and neither
 * percent-encoded nor a pattern. A prefix that cannot match would leave open what it was meant to guard.
 *
 * @param {string} prefix
 * @returns {string | null}
 */
export function checkPrefix(prefix) {
  const problem = check(prefix);
  if (problem !== null) {
    return problem;
  }
  if (prefix.includes("*")) {
    return "is not a pattern: everything beneath a prefix is meant, so leave out `*`";
  }
  if (/%[0-9a-f]{2}/i.test(prefix)) {
    return "is percent-encoded: prefixes are compared with decoded paths";
  }
  return null;
}

/**
 * A canonical path in the form that a URL has it (RFC 3986, section 3.3): everything but unreserved characters,
 * sub-delimiters, `:`, `@` and `/` is percent-encoded.
 *
 * @param {string} path
 * @returns {string}
 */
export function encode(path) {
  return encoded(path, "-._~!$&'()*+,;=:@/");
}

/**
 * What `Location` takes: a path, encoded by {@link encode}, and a raw query such as `request.query()` gives it, of which
 * only what a URL cannot hold is encoded.
 *
 * @param {string} path
 * @param {string | null} query
 * @returns {string}
 */
export function reference(path, query) {
  return query === null ? encode(path) : `${encode(path)}?${encoded(query, "-._~!$&'()*+,;=:@/?%")}`;
}

/**
 * Percent-encodes everything but letters, digits and `kept`.
 *
 * @param {string} text
 * @param {string} kept
 */
function encoded(text, kept) {
  let result = "";
  for (const byte of utf8(text)) {
    const character = String.fromCharCode(byte);
    const stays = /[0-9A-Za-z]/.test(character) || kept.includes(character);
    result += stays ? character : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
  }
  return result;
}
