/**
 * The request that is being decided.
 *
 * Nothing of the request is handed over: each method asks the server. **What you ask is what your decision depends on.**
 * The server keeps the questions, their answers and the decision, and does not run the policy again for requests that
 * would answer the same. So ask as little as decides, ask the narrowest question ({@link Request.cookie} rather than
 * `header("cookie")`, {@link Request.clientWithin} rather than {@link Request.clientAddress}, {@link Request.before}
 * rather than {@link Request.now}), and ask it only on the branch that needs it.
 *
 * Request headers that were asked add themselves to `Vary`; credentials, cookies and the client's address make the
 * response private to this client (see {@link Sharing}).
 *
 * Answers do not change while a request is being decided.
 */
export declare class Request {
    /**
     * The method as sent, case-sensitive (RFC 9110, section 9.1), such as `GET`.
     *
     * @returns {string}
     */
    method(): string;
    /**
     * The path that the client asked for, in canonical form: percent-decoded once, begins with `/`, no empty, `.` or `..`
     * segment, no control character, no backslash. One trailing `/` is kept and means a directory.
     *
     * A guard must look at the {@link Request.targets} as well: see {@link Request.reaches}.
     *
     * @returns {string}
     */
    path(): string;
    /**
     * The paths that the request is mapped to so far, most wanted first: the path alone until an earlier policy of the
     * chain gave others. One of these is what will be served.
     *
     * @returns {string[]}
     */
    targets(): string[];
    /**
     * Whether the path, or anything that it is mapped to so far, is `prefix` or beneath it: what a guard asks, because
     * mapping then cannot lead around it. Whole segments, as {@link covers} compares them.
     *
     * @param {string} prefix
     * @returns {boolean}
     */
    reaches(prefix: string): boolean;
    /**
     * Whether the request {@link Request.reaches} one of these prefixes. Asks the path once, and the targets only when the
     * path is beneath none.
     *
     * @param {string[]} prefixes
     * @returns {boolean}
     */
    reachesAny(prefixes: string[]): boolean;
    /**
     * The raw query, without `?`, exactly as sent. `null` when the request has no `?`; `""` when nothing follows it.
     *
     * @returns {string | null}
     */
    query(): string | null;
    /**
     * The first value of a query parameter, decoded as `application/x-www-form-urlencoded` (WHATWG URL, section 5.1).
     *
     * @param {string} name
     * @returns {string | null}
     */
    queryParameter(name: string): string | null;
    /**
     * Every value of a query parameter, in order, decoded as by {@link Request.queryParameter}.
     *
     * @param {string} name
     * @returns {string[]}
     */
    queryParameterValues(name: string): string[];
    /**
     * A request header by its case-insensitive name. Repeated fields are joined by `, ` (`cookie`: by `; `). Bytes that are
     * not UTF-8 become U+FFFD: a field that is there is never hidden.
     *
     * @param {string} name
     * @returns {string | null}
     */
    header(name: string): string | null;
    /**
     * Every value of a request header in the order received, as the bytes that were sent.
     *
     * @param {string} name
     * @returns {Uint8Array[]}
     */
    headerValues(name: string): Uint8Array[];
    /**
     * The value of the first cookie of this name (RFC 6265, section 5.4), without surrounding quotes, not decoded.
     *
     * @param {string} name
     * @returns {string | null}
     */
    cookie(name: string): string | null;
    /**
     * `http` or `https`: how the client reached the server.
     *
     * @returns {string}
     */
    scheme(): string;
    /**
     * The host that the client named: lower case, without a port and without a final dot.
     *
     * @returns {string}
     */
    host(): string;
    /**
     * The name of the configured site that serves the request.
     *
     * @returns {string}
     */
    site(): string;
    /**
     * The client's address in the form of RFC 5952, IPv4-mapped addresses as IPv4; `null` on a Unix socket. Every client is
     * then decided anew: prefer {@link Request.clientWithin}.
     *
     * @returns {string | null}
     */
    clientAddress(): string | null;
    /**
     * Whether the client's address lies within a block such as `10.0.0.0/8`, `2001:db8::/32` or a single address. `false`
     * on a Unix socket. Traps when `cidr` is neither, because a mistyped network must not silently admit or refuse: check
     * what an operator configures by `checkNetwork`.
     *
     * @param {string} cidr
     * @returns {boolean}
     */
    clientWithin(cidr: string): boolean;
    /**
     * Whether the client's address lies within one of these. Asks them in order until one holds the address.
     *
     * @param {string[]} networks
     * @returns {boolean}
     */
    clientWithinAny(networks: string[]): boolean;
    /**
     * What an earlier policy of the chain established about the request, such as `user`, or what the server knows (names
     * that begin with `wasmserve.` or `tls.`). Traps unless the manifest's `facts.reads` lists the name.
     *
     * @param {string} name
     * @returns {string | null}
     */
    fact(name: string): string | null;
    /**
     * When the request arrived, in seconds since 1970-01-01T00:00:00Z. A decision that asked this is never reused: prefer
     * {@link Request.before}.
     *
     * @returns {number}
     */
    now(): number;
    /**
     * Whether the request arrived before this moment, in whole seconds since 1970-01-01T00:00:00Z. The decision is reused
     * for as long as the answer stays the same, and caches keep the response no longer than until then.
     *
     * @param {number} unixSeconds
     * @returns {boolean}
     */
    before(unixSeconds: number): boolean;
}
