export type Sharing = "derived" | "allowed";
export type Outcome = "found" | "redirected" | "missing" | "failed";
export type Decision = Changes | Response;
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
export declare function proceed(): Changes;
/**
 * Answers the request with this status (200 to 599, but not 206, 304 or 416, which need a file), without headers or body
 * until they are added.
 *
 * @param {number} status
 * @returns {Response}
 */
export declare function respond(status: number): Response;
/**
 * Refuses the request with a status such as 403, 404 or 429 and one line of text that says no more than the status.
 *
 * @param {number} status
 * @returns {Response}
 */
export declare function deny(status: number): Response;
/**
 * Sends the client elsewhere with 301, 302, 303, 307 or 308. `location` is a URL reference (RFC 9110, section 10.2.2): a
 * path of this site has to be encoded for it by `encode` of `wasmserve-plugin/path`.
 *
 * @param {number} status
 * @param {string} location
 * @returns {Response}
 */
export declare function redirect(status: number, location: string): Response;
/**
 * Asks for a user name and a password (RFC 7617): 401 with `WWW-Authenticate: Basic`. The realm is what browsers show. For
 * another scheme use `deny(401)` with a `WWW-Authenticate` of its own.
 *
 * @param {string} realm
 * @returns {Response}
 */
export declare function unauthorized(realm: string): Response;
/** Let the request go on, with changes. Made by {@link proceed}. */
export declare class Changes {
    #private;
    /**
     * Serves the first of these paths that exists. Canonical paths, as `request.path()` gives them: decoded, beginning with
     * `/`. Replaces what earlier policies mapped.
     *
     * @param {...string} paths
     * @returns {this}
     */
    paths(...paths: string[]): this;
    /**
     * Looks the paths up beneath a directory (a canonical path, `/` for all of it) of a root that the operator named.
     * Nothing outside of the directory can be reached, by links either.
     *
     * @param {string} root
     * @param {string} directory
     * @returns {this}
     */
    place(root: string, directory: string): this;
    /**
     * What is sent when no path exists: the first of these that does, with 404 or 410, or with 200 for a single-page
     * application that shows its own pages.
     *
     * @param {number} status
     * @param {...string} paths
     * @returns {this}
     */
    missing(status: number, ...paths: string[]): this;
    /**
     * Redirects when no path exists: to `location`, with 301, 302, 303, 307 or 308. A file that is there is served. Replaces
     * what was said of missing files before, as {@link Changes.missing} does.
     *
     * @param {number} status
     * @param {string} location
     * @returns {this}
     */
    missingRedirect(status: number, location: string): this;
    /**
     * Sets a response header, whatever the outcome: shorthand for {@link Changes.change} with {@link HeaderChange.set}.
     *
     * @param {string} name
     * @param {string} value
     * @returns {this}
     */
    header(name: string, value: string): this;
    /**
     * Adds a response header beside others of its name.
     *
     * @param {string} name
     * @param {string} value
     * @returns {this}
     */
    appendHeader(name: string, value: string): this;
    /**
     * Removes every response header of this name.
     *
     * @param {string} name
     * @returns {this}
     */
    removeHeader(name: string): this;
    /**
     * Changes a response header, perhaps only for some outcomes or media types. Changes are applied in order to whatever
     * the request leads to, a 404 and a later policy's refusal too.
     *
     * @param {HeaderChange} change
     * @returns {this}
     */
    change(change: HeaderChange): this;
    /**
     * Establishes something about the request for later policies and the log, such as `user`. The manifest's
     * `facts.establishes` has to list the name.
     *
     * @param {string} name
     * @param {string} value
     * @returns {this}
     */
    fact(name: string, value: string): this;
    /**
     * The most bytes of body a second for this response, at least 1. The lowest of the chain counts.
     *
     * @param {number} bytesPerSecond
     * @returns {this}
     */
    pace(bytesPerSecond: number): this;
    /**
     * What caches may do. `"derived"` unless set; `"allowed"` needs the operator's grant.
     *
     * @param {Sharing} sharing
     * @returns {this}
     */
    sharing(sharing: Sharing): this;
    /** As the contract has it. */
    toContract(): {
        tag: string;
        val: {
            paths: string[];
            place: {
                root: string;
                directory: string;
            } | null;
            missing: {
                paths: string[];
                status: number;
            } | null;
            headers: {
                operation: "append" | "remove" | "set";
                name: string;
                value: string;
                when: {
                    found: boolean;
                    redirected: boolean;
                    missing: boolean;
                    failed: boolean;
                };
                types: string[];
            }[];
            facts: [string, string][];
            sharing: Sharing;
            pace: number | null;
        };
    };
}
/** A change to a response header. */
export declare class HeaderChange {
    #private;
    /**
     * @param {"set" | "append" | "remove"} operation
     * @param {string} name
     * @param {string} value
     */
    constructor(operation: "set" | "append" | "remove", name: string, value: string);
    /**
     * Replaces every field of this name by one with this value.
     *
     * @param {string} name
     * @param {string} value
     */
    static set(name: string, value: string): HeaderChange;
    /**
     * Adds a field of this name, whatever is there already.
     *
     * @param {string} name
     * @param {string} value
     */
    static append(name: string, value: string): HeaderChange;
    /**
     * Removes every field of this name.
     *
     * @param {string} name
     */
    static remove(name: string): HeaderChange;
    /**
     * Only for these outcomes, such as `.when("found", "missing")`. Declared rather than asked, because the decision falls
     * before the file is looked up.
     *
     * @param {...Outcome} outcomes
     * @returns {this}
     */
    when(...outcomes: Outcome[]): this;
    /**
     * Only for these media types, such as `text/html`, or `image/*` for all of a type.
     *
     * @param {...string} types
     * @returns {this}
     */
    types(...types: string[]): this;
    /** As the contract has it. */
    toContract(): {
        operation: "append" | "remove" | "set";
        name: string;
        value: string;
        when: {
            found: boolean;
            redirected: boolean;
            missing: boolean;
            failed: boolean;
        };
        types: string[];
    };
}
/** An answer of the policy's own. Made by {@link respond}, {@link deny}, {@link redirect} and {@link unauthorized}. */
export declare class Response {
    #private;
    /** @param {number} status */
    constructor(status: number);
    /**
     * Adds a header field.
     *
     * @param {string} name
     * @param {string} value
     * @returns {this}
     */
    header(name: string, value: string): this;
    /**
     * The body (at most 256 KiB) and its media type.
     *
     * @param {string} mediaType
     * @param {Uint8Array | string} body
     * @returns {this}
     */
    body(mediaType: string, body: Uint8Array | string): this;
    /**
     * A body of plain text.
     *
     * @param {string} text
     * @returns {this}
     */
    text(text: string): this;
    /**
     * A body of HTML.
     *
     * @param {string} html
     * @returns {this}
     */
    html(html: string): this;
    /**
     * What caches may do. `"derived"` unless set; `"allowed"` needs the operator's grant.
     *
     * @param {Sharing} sharing
     * @returns {this}
     */
    sharing(sharing: Sharing): this;
    /** As the contract has it. */
    toContract(): {
        tag: string;
        val: {
            status: number;
            headers: {
                name: string;
                value: string;
            }[];
            body: Uint8Array<ArrayBufferLike>;
            sharing: Sharing;
        };
    };
}
