// What a policy decides: the contract's own types, with builders.
import { utf8 } from "./utf8.js";

/**
 * Whether caches between the server and its clients may reuse the response for others. `"derived"`: the server derives it
 * from the questions that were asked. `"allowed"`: the decision does not change the content, whoever asks (a rate limit,
 * say); it needs the operator's grant.
 *
 * @typedef {"derived" | "allowed"} Sharing
 */

/**
 * An outcome of a request, told by the final status: `"found"` (2xx and 304), `"redirected"` (other 3xx), `"missing"` (404
 * and 410), `"failed"` (other 4xx, and 5xx).
 *
 * @typedef {"found" | "redirected" | "missing" | "failed"} Outcome
 */

/** @typedef {Changes | Response} Decision */

/**
 * Lets the request go on, to the next policy and from the last one to the file. As it is, unless changed:
 *
 * ```js
 * return proceed().paths("/about.html").header("Cache-Control", "max-age=60");
 * ```
 *
 * @returns {Changes}
 */
export function proceed() {
  return new Changes();
}

/**
 * Answers the request with this status (200 to 599, but not 206, 304 or 416, which need a file), without headers or body
 * until they are added.
 *
 * @param {number} status
 * @returns {Response}
 */
export function respond(status) {
  return new Response(status);
}

/** @type {Record<number, string>} */
const REASONS = {
  400: " Bad Request",
  401: " Unauthorized",
  403: " Forbidden",
  404: " Not Found",
  405: " Method Not Allowed",
  410: " Gone",
  429: " Too Many Requests",
  451: " Unavailable For Legal Reasons",
  503: " Service Unavailable",
};

/**
 * Refuses the request with a status such as 403, 404 or 429 and one line of text that says no more than the status.
 *
 * @param {number} status
 * @returns {Response}
 */
export function deny(status) {
  return respond(status).text(`${status}${REASONS[status] ?? ""}\n`);
}

/**
 * Sends the client elsewhere with 301, 302, 303, 307 or 308. `location` is a URL reference (RFC 9110, section 10.2.2): a
 * path of this site has to be encoded for it by `encode` of `wasmserve-plugin/path`.
 *
 * @param {number} status
 * @param {string} location
 * @returns {Response}
 */
export function redirect(status, location) {
  return respond(status).header("Location", location);
}

/**
 * Asks for a user name and a password (RFC 7617): 401 with `WWW-Authenticate: Basic`. The realm is what browsers show. For
 * another scheme use `deny(401)` with a `WWW-Authenticate` of its own.
 *
 * @param {string} realm
 * @returns {Response}
 */
export function unauthorized(realm) {
  // A quoted-string (RFC 9110, section 5.6.4).
  const quoted = realm.replace(/[\\"]/g, "\\$&");
  return deny(401).header("WWW-Authenticate", `Basic realm="${quoted}", charset="UTF-8"`);
}

/** Let the request go on, with changes. Made by {@link proceed}. */
export class Changes {
  /** @type {string[]} */
  #paths = [];
  /** @type {{ root: string, directory: string } | null} */
  #place = null;
  /** @type {{ paths: string[], status: number } | null} */
  #missing = null;
  /** @type {HeaderChange[]} */
  #headers = [];
  /** @type {[string, string][]} */
  #facts = [];
  /** @type {Sharing} */
  #sharing = "derived";
  /** @type {number | null} */
  #pace = null;

  /**
   * Serves the first of these paths that exists. Canonical paths, as `request.path()` gives them: decoded, beginning with
   * `/`. Replaces what earlier policies mapped.
   *
   * @param {...string} paths
   * @returns {this}
   */
  paths(...paths) {
    this.#paths = paths;
    return this;
  }

  /**
   * Looks the paths up beneath a directory (a canonical path, `/` for all of it) of a root that the operator named.
   * Nothing outside of the directory can be reached, by links either.
   *
   * @param {string} root
   * @param {string} directory
   * @returns {this}
   */
  place(root, directory) {
    this.#place = { root, directory };
    return this;
  }

  /**
   * What is sent when no path exists: the first of these that does, with 404 or 410, or with 200 for a single-page
   * application that shows its own pages.
   *
   * @param {number} status
   * @param {...string} paths
   * @returns {this}
   */
  missing(status, ...paths) {
    this.#missing = { paths, status };
    return this;
  }

  /**
   * Redirects when no path exists: to `location`, with 301, 302, 303, 307 or 308. A file that is there is served. Replaces
   * what was said of missing files before, as {@link Changes.missing} does.
   *
   * @param {number} status
   * @param {string} location
   * @returns {this}
   */
  missingRedirect(status, location) {
    return this.missing(status).change(HeaderChange.set("Location", location).when("redirected"));
  }

  /**
   * Sets a response header, whatever the outcome: shorthand for {@link Changes.change} with {@link HeaderChange.set}.
   *
   * @param {string} name
   * @param {string} value
   * @returns {this}
   */
  header(name, value) {
    return this.change(HeaderChange.set(name, value));
  }

  /**
   * Adds a response header beside others of its name.
   *
   * @param {string} name
   * @param {string} value
   * @returns {this}
   */
  appendHeader(name, value) {
    return this.change(HeaderChange.append(name, value));
  }

  /**
   * Removes every response header of this name.
   *
   * @param {string} name
   * @returns {this}
   */
  removeHeader(name) {
    return this.change(HeaderChange.remove(name));
  }

  /**
   * Changes a response header, perhaps only for some outcomes or media types. Changes are applied in order to whatever
   * the request leads to, a 404 and a later policy's refusal too.
   *
   * @param {HeaderChange} change
   * @returns {this}
   */
  change(change) {
    this.#headers.push(change);
    return this;
  }

  /**
   * Establishes something about the request for later policies and the log, such as `user`. The manifest's
   * `facts.establishes` has to list the name.
   *
   * @param {string} name
   * @param {string} value
   * @returns {this}
   */
  fact(name, value) {
    this.#facts.push([name, value]);
    return this;
  }

  /**
   * The most bytes of body a second for this response, at least 1. The lowest of the chain counts.
   *
   * @param {number} bytesPerSecond
   * @returns {this}
   */
  pace(bytesPerSecond) {
    this.#pace = bytesPerSecond;
    return this;
  }

  /**
   * What caches may do. `"derived"` unless set; `"allowed"` needs the operator's grant.
   *
   * @param {Sharing} sharing
   * @returns {this}
   */
  sharing(sharing) {
    this.#sharing = sharing;
    return this;
  }

  /** As the contract has it. */
  toContract() {
    return {
      tag: "proceed",
      val: {
        paths: this.#paths,
        place: this.#place,
        missing: this.#missing,
        headers: this.#headers.map((change) => change.toContract()),
        facts: this.#facts,
        sharing: this.#sharing,
        pace: this.#pace,
      },
    };
  }
}

/** A change to a response header. */
export class HeaderChange {
  /** @type {"set" | "append" | "remove"} */
  #operation;
  /** @type {string} */
  #name;
  /** @type {string} */
  #value;
  /** @type {Outcome[]} */
  #when = [];
  /** @type {string[]} */
  #types = [];

  /**
   * @param {"set" | "append" | "remove"} operation
   * @param {string} name
   * @param {string} value
   */
  constructor(operation, name, value) {
    this.#operation = operation;
    this.#name = name;
    this.#value = value;
  }

  /**
   * Replaces every field of this name by one with this value.
   *
   * @param {string} name
   * @param {string} value
   */
  static set(name, value) {
    return new HeaderChange("set", name, value);
  }

  /**
   * Adds a field of this name, whatever is there already.
   *
   * @param {string} name
   * @param {string} value
   */
  static append(name, value) {
    return new HeaderChange("append", name, value);
  }

  /**
   * Removes every field of this name.
   *
   * @param {string} name
   */
  static remove(name) {
    return new HeaderChange("remove", name, "");
  }

  /**
   * Only for these outcomes, such as `.when("found", "missing")`. Declared rather than asked, because the decision falls
   * before the file is looked up.
   *
   * @param {...Outcome} outcomes
   * @returns {this}
   */
  when(...outcomes) {
    this.#when = outcomes;
    return this;
  }

  /**
   * Only for these media types, such as `text/html`, or `image/*` for all of a type.
   *
   * @param {...string} types
   * @returns {this}
   */
  types(...types) {
    this.#types = types;
    return this;
  }

  /** As the contract has it. */
  toContract() {
    const named = (/** @type {Outcome} */ outcome) => this.#when.includes(outcome);
    return {
      operation: this.#operation,
      name: this.#name,
      value: this.#value,
      when: {
        found: named("found"),
        redirected: named("redirected"),
        missing: named("missing"),
        failed: named("failed"),
      },
      types: this.#types,
    };
  }
}

/** An answer of the policy's own. Made by {@link respond}, {@link deny}, {@link redirect} and {@link unauthorized}. */
export class Response {
  /** @type {number} */
  #status;
  /** @type {{ name: string, value: string }[]} */
  #headers = [];
  /** @type {Uint8Array} */
  #body = new Uint8Array();
  /** @type {Sharing} */
  #sharing = "derived";

  /** @param {number} status */
  constructor(status) {
    this.#status = status;
  }

  /**
   * Adds a header field.
   *
   * @param {string} name
   * @param {string} value
   * @returns {this}
   */
  header(name, value) {
    this.#headers.push({ name, value });
    return this;
  }

  /**
   * The body (at most 256 KiB) and its media type.
   *
   * @param {string} mediaType
   * @param {Uint8Array | string} body
   * @returns {this}
   */
  body(mediaType, body) {
    this.#body = typeof body === "string" ? utf8(body) : body;
    return this.header("Content-Type", mediaType);
  }

  /**
   * A body of plain text.
   *
   * @param {string} text
   * @returns {this}
   */
  text(text) {
    return this.body("text/plain; charset=utf-8", text);
  }

  /**
   * A body of HTML.
   *
   * @param {string} html
   * @returns {this}
   */
  html(html) {
    return this.body("text/html; charset=utf-8", html);
  }

  /**
   * What caches may do. `"derived"` unless set; `"allowed"` needs the operator's grant.
   *
   * @param {Sharing} sharing
   * @returns {this}
   */
  sharing(sharing) {
    this.#sharing = sharing;
    return this;
  }

  /** As the contract has it. */
  toContract() {
    return {
      tag: "respond",
      val: { status: this.#status, headers: this.#headers, body: this.#body, sharing: this.#sharing },
    };
  }
}
