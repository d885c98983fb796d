/* What a policy decides, and the two functions that the server calls. */
#include "decision.h"

#include "memory.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

typedef exports_wasmserve_policy_guest_changes_t changes;
typedef exports_wasmserve_policy_guest_response_t response;
typedef exports_wasmserve_policy_guest_header_change_t header_change;
typedef exports_wasmserve_policy_guest_header_t header;

enum {
    PROCEED = EXPORTS_WASMSERVE_POLICY_GUEST_DECISION_PROCEED,
    RESPOND = EXPORTS_WASMSERVE_POLICY_GUEST_DECISION_RESPOND,
};

/* === What the server calls === */

bool exports_wasmserve_policy_guest_configure(contract_string_t *error)
{
    ws_text problem = ws_configure();
    memory_mark();
    *error = lower(problem);
    return ws_is_none(problem);
}

bool exports_wasmserve_policy_guest_decide(contract_decision *made, contract_string_t *error)
{
    memory_rewind();
    ws_decision *decision = ws_decide();
    assert(decision != NULL);
    if (decision->failed) {
        *error = lower(decision->reason);
        return false;
    }
    *made = decision->contract;
    return true;
}

/* === Made === */

static ws_decision *made(uint8_t tag)
{
    ws_decision *decision = calloc(1, sizeof *decision);
    decision->contract.tag = tag;
    return decision;
}

ws_decision *ws_proceed(void)
{
    return made(PROCEED);
}

ws_decision *ws_respond(uint16_t status)
{
    ws_decision *decision = made(RESPOND);
    decision->contract.val.respond.status = status;
    return decision;
}

static ws_text reason(uint16_t status)
{
    switch (status) {
    case 400: return WS(" Bad Request");
    case 401: return WS(" Unauthorized");
    case 403: return WS(" Forbidden");
    case 404: return WS(" Not Found");
    case 405: return WS(" Method Not Allowed");
    case 410: return WS(" Gone");
    case 429: return WS(" Too Many Requests");
    case 451: return WS(" Unavailable For Legal Reasons");
    case 503: return WS(" Service Unavailable");
    default: return WS("");
    }
}

ws_decision *ws_deny(uint16_t status)
{
    ws_decision *decision = ws_respond(status);
    ws_text_body(decision, ws_concat(WS_TEXTS(ws_decimal(status), reason(status), WS("\n"))));
    return decision;
}

ws_decision *ws_redirect(uint16_t status, ws_text location)
{
    ws_decision *decision = ws_respond(status);
    ws_header(decision, WS("Location"), location);
    return decision;
}

ws_decision *ws_unauthorized(ws_text realm)
{
    /* A quoted-string (RFC 9110, section 5.6.4). */
    char *quoted = malloc(realm.size * 2);
    size_t end = 0;
    for (size_t at = 0; at < realm.size; at++) {
        if (realm.data[at] == '\\' || realm.data[at] == '"') {
            quoted[end++] = '\\';
        }
        quoted[end++] = realm.data[at];
    }
    ws_text value = ws_concat(WS_TEXTS(WS("Basic realm=\""), ((ws_text){quoted, end}), WS("\", charset=\"UTF-8\"")));
    ws_decision *decision = ws_deny(401);
    ws_header(decision, WS("WWW-Authenticate"), value);
    return decision;
}

ws_decision *ws_fail(ws_text reason)
{
    ws_decision *decision = made(PROCEED);
    decision->failed = true;
    decision->reason = reason;
    return decision;
}

/* === Changed === */

static changes *proceeding(ws_decision *decision)
{
    assert(!decision->failed && decision->contract.tag == PROCEED);
    return &decision->contract.val.proceed;
}

static response *responding(ws_decision *decision)
{
    assert(!decision->failed && decision->contract.tag == RESPOND);
    return &decision->contract.val.respond;
}

/* Copied, so that the list may end with the block that it stands in. */
static contract_list_string_t copied(ws_texts texts)
{
    size_t size = texts.count * sizeof(ws_text);
    return (contract_list_string_t){memcpy(malloc(size), texts.items, size), texts.count};
}

/* Room for one more. */
static void *grown(void *items, size_t count, size_t size)
{
    return realloc(items, (count + 1) * size);
}

void ws_header(ws_decision *decision, ws_text name, ws_text value)
{
    if (decision->contract.tag == PROCEED) {
        ws_change(decision, (ws_header_change){.operation = WS_SET, .name = name, .value = value});
        return;
    }
    response *response = responding(decision);
    response->headers.ptr = grown(response->headers.ptr, response->headers.len, sizeof(header));
    response->headers.ptr[response->headers.len++] = (header){lower(name), lower(value)};
}

void ws_sharing(ws_decision *decision, ws_sharing_rule rule)
{
    if (decision->contract.tag == PROCEED) {
        proceeding(decision)->sharing = (uint8_t)rule;
    } else {
        responding(decision)->sharing = (uint8_t)rule;
    }
}

void ws_paths(ws_decision *decision, ws_texts paths)
{
    proceeding(decision)->paths = copied(paths);
}

void ws_place(ws_decision *decision, ws_text root, ws_text directory)
{
    changes *changes = proceeding(decision);
    changes->place.is_some = true;
    changes->place.val.root = lower(root);
    changes->place.val.directory = lower(directory);
}

void ws_missing(ws_decision *decision, uint16_t status, ws_texts paths)
{
    changes *changes = proceeding(decision);
    changes->missing.is_some = true;
    changes->missing.val.paths = copied(paths);
    changes->missing.val.status = status;
}

void ws_missing_redirect(ws_decision *decision, uint16_t status, ws_text location)
{
    ws_missing(decision, status, (ws_texts){0});
    ws_change(decision, (ws_header_change){
                            .operation = WS_SET, .name = WS("Location"), .value = location, .when = WS_REDIRECTED});
}

void ws_append_header(ws_decision *decision, ws_text name, ws_text value)
{
    ws_change(decision, (ws_header_change){.operation = WS_APPEND, .name = name, .value = value});
}

void ws_remove_header(ws_decision *decision, ws_text name)
{
    ws_change(decision, (ws_header_change){.operation = WS_REMOVE, .name = name});
}

void ws_change(ws_decision *decision, ws_header_change change)
{
    changes *changes = proceeding(decision);
    changes->headers.ptr = grown(changes->headers.ptr, changes->headers.len, sizeof(header_change));
    changes->headers.ptr[changes->headers.len++] = (header_change){
        .operation = (uint8_t)change.operation,
        .name = lower(change.name),
        .value = lower(change.value),
        .when = (uint8_t)change.when,
        .types = copied(change.types),
    };
}

void ws_establish(ws_decision *decision, ws_text name, ws_text value)
{
    changes *changes = proceeding(decision);
    changes->facts.ptr = grown(changes->facts.ptr, changes->facts.len, sizeof(contract_tuple2_string_string_t));
    changes->facts.ptr[changes->facts.len++] = (contract_tuple2_string_string_t){lower(name), lower(value)};
}

void ws_pace(ws_decision *decision, uint64_t bytes_per_second)
{
    changes *changes = proceeding(decision);
    changes->pace.is_some = true;
    changes->pace.val = bytes_per_second;
}

void ws_body(ws_decision *decision, ws_text media_type, ws_text body)
{
    responding(decision)->body = (contract_list_u8_t){(uint8_t *)body.data, body.size};
    ws_header(decision, WS("Content-Type"), media_type);
}

void ws_text_body(ws_decision *decision, ws_text text)
{
    ws_body(decision, WS("text/plain; charset=utf-8"), text);
}

void ws_html_body(ws_decision *decision, ws_text html)
{
    ws_body(decision, WS("text/html; charset=utf-8"), html);
}
