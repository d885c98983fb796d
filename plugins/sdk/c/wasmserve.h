/* Write policies for the wasmserve file server in C.
 *
 * A policy is asked about every request before a file is touched. It asks the questions it needs answered and decides: let
 * the request proceed (perhaps to other paths, with other headers), or answer it (`ws_deny`, `ws_redirect`, `ws_respond`).
 * The server does everything else.
 *
 *     #include "wasmserve.h"
 *
 *     static ws_text network;
 *
 *     ws_text ws_configure(void)
 *     {
 *         ws_mistakes mistakes = {0};
 *         ws_note(&mistakes, ws_config_only(WS_TEXTS(WS("network"))));
 *         ws_note(&mistakes, ws_config_required(WS("network"), &network));
 *         return ws_check(&mistakes);
 *     }
 *
 *     ws_decision *ws_decide(void)
 *     {
 *         if (ws_reaches(WS("/internal/")) && !ws_client_within(network)) {
 *             return ws_deny(403);
 *         }
 *         ws_decision *decision = ws_proceed();
 *         ws_header(decision, WS("X-Robots-Tag"), WS("noindex"));
 *         return decision;
 *     }
 *
 * The order of events: the server starts the policy, calls `ws_configure` once, and then `ws_decide` for each request,
 * always from the state that `ws_configure` left behind: what one decision writes to memory, no other decision sees. Memory
 * that a decision allocates is given back when the next one begins; `free` does nothing.
 *
 * Every failure is closed: the client never gets the file. An error of `ws_configure` keeps the server from loading the
 * policy and is shown to the operator, so let it name the key and say what is expected. An error of `ws_decide` (`ws_fail`),
 * a trap or a malformed decision is logged and answered with 500; spending more time or memory than the manifest's limits,
 * with 503.
 *
 * There is no C library but `<stdlib.h>`'s memory, `<string.h>`'s `mem...` functions and `<assert.h>`: no files, no clock, no
 * random numbers, no `printf`. */
#ifndef WASMSERVE_H
#define WASMSERVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* === Texts === */

/* Bytes of UTF-8 and how many. There is no NUL at the end, and there may be one within: a client can send one in a query
 * parameter, and a C string would end there. `data` is NULL where there is no text at all, which is not the empty text. */
typedef struct {
    const char *data;
    size_t size;
} ws_text;

/* Several texts. */
typedef struct {
    const ws_text *items;
    size_t count;
} ws_texts;

/* A text of a string literal: WS("GET"). */
#define WS(literal) ((ws_text){"" literal, sizeof(literal) - 1})

/* Several texts: WS_TEXTS(WS("a"), WS("b")). They last as long as the block that they stand in. */
#define WS_TEXTS(...)                                                                                                         \
    ((ws_texts){(const ws_text[]){__VA_ARGS__}, sizeof((const ws_text[]){__VA_ARGS__}) / sizeof(ws_text)})

/* Whether there is no text at all. */
bool ws_is_none(ws_text text);

/* Whether two texts are the same. No text is the same as no text alone. */
bool ws_equal(ws_text a, ws_text b);

bool ws_starts_with(ws_text text, ws_text beginning);

/* A part of a text, from a byte on, of at most so many bytes. */
ws_text ws_part(ws_text text, size_t from, size_t size);

/* One text after another: ws_concat(WS_TEXTS(WS("Basic "), credentials)). No text counts as the empty one. */
ws_text ws_concat(ws_texts parts);

/* A number in decimal digits. */
ws_text ws_decimal(uint64_t number);

/* A text as it stands in errors: in double quotes, with what cannot be seen as an escape. */
ws_text ws_quoted(ws_text text);

/* === What a plugin implements === */

/* No error. */
#define WS_OK ((ws_text){0})

/* Reads the configuration and prepares for deciding. Called once per load, so what it costs is not paid by requests. Nothing
 * may be asked about a request, there is none: that traps. Returns WS_OK, or what is wrong with the configuration: the key,
 * what was found, what is expected. Shown to the operator; the policy is not loaded, and the server does not serve without
 * it. */
ws_text ws_configure(void);

typedef struct ws_decision ws_decision;

/* Decides the request. */
ws_decision *ws_decide(void);

/* === The configuration: the top-level keys of the `[policy.config]` table ===
 *
 * A string arrives as it is. Everything else (numbers, booleans, arrays, tables) arrives as JSON text, so that `limit = 3`
 * and `limit = "3"` are the same to `ws_config_number`. Errors name the key. */

/* A key and its value. */
typedef struct {
    ws_text key, value;
} ws_pair;

/* Several pairs. */
typedef struct {
    const ws_pair *items;
    size_t count;
} ws_pairs;

/* The text of a key; none when it is not there. */
ws_text ws_config_get(ws_text key);

/* Every key and its text, in no particular order. */
ws_pairs ws_config_all(void);

/* Refuses every key that is not listed: a mistyped key is never ignored. */
ws_text ws_config_only(ws_texts known);

/* The text of a key that has to be there. */
ws_text ws_config_required(ws_text key, ws_text *value);

/* The values of keys that may be left out: `value` stays what it was. A number is whole, and not negative. */
ws_text ws_config_number(ws_text key, uint64_t *value);
ws_text ws_config_boolean(ws_text key, bool *value);
ws_text ws_config_strings(ws_text key, ws_texts *value);

/* A table of strings. */
ws_text ws_config_table(ws_text key, ws_pairs *value);

/* Collects what is wrong with a configuration, so that an operator learns of all of it at once. */
typedef struct {
    ws_text noted;
} ws_mistakes;

/* Notes an error. WS_OK is none. */
void ws_note(ws_mistakes *mistakes, ws_text error);

/* Notes what is wrong with one of the texts of a key: the problem follows the text. No problem is none. */
void ws_note_text(ws_mistakes *mistakes, ws_text key, ws_text text, ws_text problem);

/* WS_OK, or everything that was noted. */
ws_text ws_check(const ws_mistakes *mistakes);

/* === Questions about the request that is being decided ===
 *
 * Nothing of the request is handed over: each function asks the server. What you ask is what your decision depends on. The
 * server keeps the questions, their answers and the decision, and does not run the policy again for requests that would
 * answer the same. So ask as little as decides, ask the narrowest question (`ws_cookie` rather than the header,
 * `ws_client_within` rather than `ws_client_address`, `ws_before` rather than `ws_now`), and ask it only on the branch that
 * needs it.
 *
 * Request headers that were asked add themselves to `Vary`; credentials, cookies and the client's address make the response
 * private to this client (see `ws_sharing`). Answers do not change while a request is being decided. */

/* The method as sent, case-sensitive (RFC 9110, section 9.1), such as `GET`. */
ws_text ws_method(void);

/* The path that the client asked for, in canonical form: percent-decoded once, begins with `/`, no empty, `.` or `..`
 * segment, no control character, no backslash. One trailing `/` is kept and means a directory. A guard must look at the
 * targets as well: see `ws_reaches`. */
ws_text ws_path(void);

/* The paths that the request is mapped to so far, most wanted first: the path alone until an earlier policy of the chain gave
 * others. One of these is what will be served. */
ws_texts ws_targets(void);

/* Whether the path, or anything that it is mapped to so far, is `prefix` or beneath it: what a guard asks, because mapping
 * then cannot lead around it. Whole segments, as `ws_covers` compares them. */
bool ws_reaches(ws_text prefix);

/* Whether the request reaches one of these prefixes. Asks the path once, and the targets only when the path is beneath
 * none. */
bool ws_reaches_any(ws_texts prefixes);

/* The raw query, without `?`, exactly as sent. None when the request has no `?`; empty when nothing follows it. */
ws_text ws_query(void);

/* The first value of a query parameter, decoded as `application/x-www-form-urlencoded` (WHATWG URL, section 5.1). */
ws_text ws_query_parameter(ws_text name);

/* Every value of a query parameter, in order, decoded as by `ws_query_parameter`. */
ws_texts ws_query_parameter_values(ws_text name);

/* A request header by its case-insensitive name; none when it is not there. Repeated fields are joined by `, ` (`cookie`: by
 * `; `). Bytes that are not UTF-8 become U+FFFD: a field that is there is never hidden. */
ws_text ws_request_header(ws_text name);

/* Every value of a request header in the order received, as the bytes that were sent. */
ws_texts ws_request_header_values(ws_text name);

/* The value of the first cookie of this name (RFC 6265, section 5.4), without surrounding quotes, not decoded. */
ws_text ws_cookie(ws_text name);

/* `http` or `https`: how the client reached the server. */
ws_text ws_scheme(void);

/* The host that the client named: lower case, without a port and without a final dot. */
ws_text ws_host(void);

/* The name of the configured site that serves the request. */
ws_text ws_site(void);

/* The client's address in the form of RFC 5952, IPv4-mapped addresses as IPv4; none on a Unix socket. Every client is then
 * decided anew: prefer `ws_client_within`. */
ws_text ws_client_address(void);

/* Whether the client's address lies within a block such as `10.0.0.0/8`, `2001:db8::/32` or a single address. `false` on a
 * Unix socket. Traps when `cidr` is neither, because a mistyped network must not silently admit or refuse: check what an
 * operator configures by `ws_check_network`. */
bool ws_client_within(ws_text cidr);

/* Whether the client's address lies within one of these. Asks them in order until one holds the address. */
bool ws_client_within_any(ws_texts networks);

/* What an earlier policy of the chain established about the request, such as `user`, or what the server knows (names that
 * begin with `wasmserve.` or `tls.`); none when it is not there. Traps unless the manifest's `facts.reads` lists the name. */
ws_text ws_fact(ws_text name);

/* When the request arrived, in seconds since 1970-01-01T00:00:00Z. A decision that asked this is never reused: prefer
 * `ws_before`. */
uint64_t ws_now(void);

/* Whether the request arrived before this moment, in seconds since 1970-01-01T00:00:00Z. The decision is reused for as long
 * as the answer stays the same, and caches keep the response no longer than until then. */
bool ws_before(uint64_t unix_seconds);

/* === Decisions === */

/* Lets the request go on, to the next policy and from the last one to the file. As it is, unless changed. */
ws_decision *ws_proceed(void);

/* Answers the request with this status (200 to 599, but not 206, 304 or 416, which need a file), without headers or body until
 * they are added. */
ws_decision *ws_respond(uint16_t status);

/* Refuses the request with a status such as 403, 404 or 429 and one line of text that says no more than the status. */
ws_decision *ws_deny(uint16_t status);

/* Sends the client elsewhere with 301, 302, 303, 307 or 308. `location` is a URL reference (RFC 9110, section 10.2.2): a path
 * of this site has to be encoded for it by `ws_encode`. */
ws_decision *ws_redirect(uint16_t status, ws_text location);

/* Asks for a user name and a password (RFC 7617): 401 with `WWW-Authenticate: Basic`. The realm is what browsers show. For
 * another scheme use `ws_deny(401)` with a `WWW-Authenticate` of its own. */
ws_decision *ws_unauthorized(ws_text realm);

/* No decision could be made. Logged for the operator; the client gets 500 and never learns the reason. To refuse a request is
 * not an error: that is `ws_deny`. */
ws_decision *ws_fail(ws_text reason);

/* Sets a response header, whatever the outcome (when the request proceeds), or adds a header field (of an answer). */
void ws_header(ws_decision *decision, ws_text name, ws_text value);

/* What caches may do. WS_DERIVED: the server derives it from the questions that were asked. WS_ALLOWED: the decision does not
 * change the content, whoever asks (a rate limit, say); it needs the operator's grant. */
typedef enum { WS_DERIVED, WS_ALLOWED } ws_sharing_rule;
void ws_sharing(ws_decision *decision, ws_sharing_rule rule);

/* --- of requests that proceed; on any other decision these trap --- */

/* Serves the first of these paths that exists. Canonical paths, as `ws_path` gives them: decoded, beginning with `/`. Replaces
 * what earlier policies mapped. */
void ws_paths(ws_decision *decision, ws_texts paths);

/* Looks the paths up beneath a directory (a canonical path, `/` for all of it) of a root that the operator named. Nothing
 * outside of the directory can be reached, by links either. */
void ws_place(ws_decision *decision, ws_text root, ws_text directory);

/* What is sent when no path exists: the first of these that does, with 404 or 410, or with 200 for a single-page application
 * that shows its own pages. */
void ws_missing(ws_decision *decision, uint16_t status, ws_texts paths);

/* Redirects when no path exists: to `location`, with 301, 302, 303, 307 or 308. A file that is there is served. Replaces what
 * was said of missing files before, as `ws_missing` does. */
void ws_missing_redirect(ws_decision *decision, uint16_t status, ws_text location);

/* Adds a response header beside others of its name. */
void ws_append_header(ws_decision *decision, ws_text name, ws_text value);

/* Removes every response header of this name. */
void ws_remove_header(ws_decision *decision, ws_text name);

typedef enum { WS_SET, WS_APPEND, WS_REMOVE } ws_header_operation;

/* Outcomes of a request, told by the final status: found (2xx and 304), redirected (other 3xx), missing (404 and 410), failed
 * (other 4xx, and 5xx). Combined by `|`. */
typedef enum { WS_FOUND = 1, WS_REDIRECTED = 2, WS_MISSING = 4, WS_FAILED = 8 } ws_outcome;

/* A change to a response header. */
typedef struct {
    ws_header_operation operation;
    ws_text name, value;
    /* Only for these outcomes; 0: for all. Declared rather than asked, because the decision falls before the file is looked
     * up. */
    unsigned when;
    /* Only for these media types: "text/html", or "image" with a slash and a star for all of a type; none: for all. */
    ws_texts types;
} ws_header_change;

/* Changes a response header, perhaps only for some outcomes or media types. Changes are applied in order to whatever the request
 * leads to, a 404 and a later policy's refusal too. */
void ws_change(ws_decision *decision, ws_header_change change);

/* Establishes something about the request for later policies and the log, such as `user`. The manifest's `facts.establishes`
 * has to list the name. */
void ws_establish(ws_decision *decision, ws_text name, ws_text value);

/* The most bytes of body a second for this response, at least 1. The lowest of the chain counts. */
void ws_pace(ws_decision *decision, uint64_t bytes_per_second);

/* --- of answers; on any other decision these trap --- */

/* The body (at most 256 KiB) and its media type. */
void ws_body(ws_decision *decision, ws_text media_type, ws_text body);

/* A body of plain text. */
void ws_text_body(ws_decision *decision, ws_text text);

/* A body of HTML. */
void ws_html_body(ws_decision *decision, ws_text html);

/* === Paths and networks === */

/* Whether `path` is `prefix` or beneath it, by whole segments: `/private` and `/private/` both cover `/private`, `/private/`
 * and `/private/a`, and neither covers `/privateer`. `/` covers everything. Case-sensitive. */
bool ws_covers(ws_text prefix, ws_text path);

/* What is wrong with a path that an operator configures; none when it is canonical, as `ws_path` gives it and decisions need
 * it. */
ws_text ws_check_path(ws_text path);

/* What is wrong with a prefix that `ws_covers` is to compare with; none when it is canonical, and neither percent-encoded nor
 * a pattern. A prefix that cannot match would leave open what it was meant to guard. */
ws_text ws_check_prefix(ws_text prefix);

/* What is wrong with a CIDR block (RFC 4632, RFC 4291) or a single address; none when `ws_client_within` takes it without
 * trapping. */
ws_text ws_check_network(ws_text network);

/* A canonical path in the form that a URL has it (RFC 3986, section 3.3): everything but unreserved characters,
 * sub-delimiters, `:`, `@` and `/` is percent-encoded. */
ws_text ws_encode(ws_text path);

/* What `Location` takes: a path, encoded by `ws_encode`, and a raw query such as `ws_query` gives it (or none), of which only
 * what a URL cannot hold is encoded. */
ws_text ws_reference(ws_text path, ws_text query);

/* === Services: what outlives a decision ===
 *
 * Whoever calls one imports it, and needs the operator's grant of its name in the chain. A decision that used counters or
 * key-value pairs is never reused. */

/* What became of one `ws_take`. */
typedef struct {
    /* Whether a token was there, and was taken. */
    bool granted;
    /* Whole tokens left in the bucket. */
    uint64_t remaining;
    /* Milliseconds until a token will be there: 0 when one is left. */
    uint64_t retry_after;
    /* Milliseconds until the bucket is full again. */
    uint64_t full_after;
} ws_taken;

/* Takes one token from the bucket `key`, which holds at most `capacity` tokens (at least 1), starts full and gains
 * `refill_per_second` tokens a second (finite, not negative: anything else traps). The bucket is this plugin's, and is shared
 * by all requests of the site. Returns WS_OK, or why the bucket could not be had, for instance because as many as the operator
 * allows are in use; whether that admits or refuses is the policy's decision. Needs the grant `counters`. */
ws_text ws_take(ws_text key, uint64_t capacity, double refill_per_second, ws_taken *taken);

typedef enum { WS_TRACE, WS_DEBUG, WS_INFO, WS_WARN, WS_ERROR } ws_level;

/* Writes a line to the server's log. It belongs to the decision: when the server reuses that, it is written again. Needs the
 * grant `logging`. */
void ws_log(ws_level level, ws_text message);

/* A collection of key-value pairs of the site. They outlive a reload and end with the server, or when the operator's time to
 * live is over, or when there is no room. So keep nothing here that must not be lost. Needs the grant `key-value`. */
typedef struct {
    int32_t handle;
} ws_bucket;

/* `default` is the plugin's own. Others are shared with the plugins of the site that the operator grants the same name. Close
 * it when the decision is made. All of these return WS_OK, or why it could not be done. */
ws_text ws_bucket_open(ws_text name, ws_bucket *bucket);
void ws_bucket_close(ws_bucket bucket);

/* The value of a key; none when there is no pair. */
ws_text ws_bucket_get(ws_bucket bucket, ws_text key, ws_text *value);

/* Makes or replaces a pair. Its time to live, when the operator set one, begins anew. A key has at most 1 KiB. */
ws_text ws_bucket_set(ws_bucket bucket, ws_text key, ws_text value);

/* Removes a pair, if it is there. */
ws_text ws_bucket_delete(ws_bucket bucket, ws_text key);

/* Adds to a number that is kept as decimal digits, and gives the sum; a key that is not there counts as 0. Atomic: whoever else
 * adds at the same time, nothing is lost. The time to live goes on from the first time. */
ws_text ws_bucket_increment(ws_bucket bucket, ws_text key, uint64_t delta, uint64_t *sum);

#endif
